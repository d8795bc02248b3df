"""Fixtures: classifiers that are trained in seconds."""

import pytest


@pytest.fixture(scope="session")
def trained():
    """Both classifiers, trained for seconds on what `fakes.signs` shows, some labels missing; the progress calls."""
    import numpy as np
    from fakes import signs

    from faceaug.classifiers.classifier import Task
    from faceaug.classifiers.config import ClassifierConfig
    from faceaug.classifiers.training import train_classifiers

    images, patch, roll = signs(400, 0)
    labels = [patch.astype(float), roll.copy()]
    labels[0][::17], labels[1][::13] = np.nan, np.nan
    tasks = (Task("patch", "classes", ("no", "yes")), Task("roll", "value", (), float(roll.mean()), float(roll.std())))
    calls = []
    config = ClassifierConfig(40, batch_size=32, input_size=32)
    classifiers = train_classifiers(
        images, tasks, labels, seed=3, config=config, progress=lambda *call: calls.append(call)
    )
    return classifiers, calls
