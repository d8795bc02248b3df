"""Fixtures: probes that are quickly taught."""

import pytest


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let probes read pictures of 32 px, four times as fast."""
    monkeypatch.setattr("faceaug.classifiers.classifier.INPUT_SIZE", 32)


@pytest.fixture(scope="session")
def taught():
    """Both probes, taught for a few seconds what `fakes.signs` shows, with a few labels missing."""
    import numpy as np
    from fakes import signs

    from faceaug.classifiers.classifier import ClassifierSchedule, Task
    from faceaug.classifiers.training import train_classifiers

    images, patch, roll = signs(400, 0)
    labels = [patch.astype(float), roll.copy()]
    labels[0][::17], labels[1][::13] = np.nan, np.nan
    tasks = (Task("patch", "classes", ("no", "yes")), Task("roll", "value", (), float(roll.mean()), float(roll.std())))
    calls = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("faceaug.classifiers.classifier.INPUT_SIZE", 32)
        learnt = train_classifiers(
            images,
            tasks,
            labels,
            seed=3,
            schedule=ClassifierSchedule(40, batch=32),
            progress=lambda *c: calls.append(c),
        )
    return learnt, calls
