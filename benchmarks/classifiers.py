"""Compare classifiers from nothing with those on frozen features: accuracy on held-out faces, and seconds.

    python benchmarks/classifiers.py IMAGES LABELS [--sides 64 96 128] [--scratch]

learns gender, ethnicity and age of photographs (a table with these columns) and writes
benchmarks/results/classifiers.json: the two classifiers of a run as it trains them, those from nothing with --scratch,
and a grid of other features (stages of the network, sides of its input, larger crops), each with and without mirrored
images. Nothing is cached. Weights trained on photographs are not kept.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["FACEAUG_CACHE"] = "off"

import numpy as np
import torch
from _record import environment, write_result

from faceaug.analysis.analyze import analyze
from faceaug.classifiers import feature_net
from faceaug.classifiers.calibration import calibrate, evaluate_classifier
from faceaug.classifiers.classifier import Classifier, Task, new_net
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.feature_net import FeatureNet, FrozenTrunk
from faceaug.classifiers.feature_training import picture_features, train_on_features
from faceaug.classifiers.training import tasks_of, train_classifiers
from faceaug.datasets import load_dataset
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.thumbnails import load_thumbnails
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import as_tensor
from faceaug.utils.typing import Floats, Indices

BY = "gender,ethnicity,age:0/10/20/30/40/60/120"
TRAINED, TESTED = 5500, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--sides", type=int, nargs="*", default=[64, 96, 128], help="sides of the network's input")
    parser.add_argument("--scratch", action="store_true", help="also train the networks from nothing: minutes")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    dataset = load_dataset(given.images, labels=given.labels)
    tasks, labels = tasks_of(dataset.table, analyze(dataset, BY).axes)
    order = np.random.default_rng(given.seed).permutation(len(dataset))
    rows = order[TESTED : TESTED + TRAINED], order[:TESTED]
    images = load_thumbnails(dataset, 64)[0]
    start = ClassifierConfig.for_size(TRAINED)
    record: dict[str, Any] = {
        **environment(given.seed, ("torch", "numpy")),
        "faces": {"trained": len(rows[0]), "tested": len(rows[1])},
        "run": run(images, tasks, labels, rows, given.seed, start),
    }
    if given.scratch:
        nothing = ClassifierConfig(16 * TRAINED // 64)
        record["from_nothing"] = run(images, tasks, labels, rows, given.seed, nothing)
    record["features"] = grid(dataset, images, tasks, labels, rows, given)
    print(write_result("classifiers", record))


def run(
    images: Rgb,
    tasks: tuple[Task, ...],
    labels: tuple[Floats, ...],
    rows: tuple[Indices, Indices],
    seed: int,
    config: ClassifierConfig,
) -> dict[str, Any]:
    """Train both classifiers as a run does, and measure them on faces that took no part."""
    begin, processor = time.perf_counter(), time.process_time()
    trained = train_classifiers(images[rows[0]], tasks, [y[rows[0]] for y in labels], seed=seed, config=config)
    seconds, processor = time.perf_counter() - begin, time.process_time() - processor
    assert trained.guidance is not None
    tested = [y[rows[1]] for y in labels]
    both = {"guidance": trained.guidance, "held_out": trained.held_out}
    return {
        "pretrained": config.pretrained,
        "steps": config.steps,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        **{name: measured(classifier, images[rows[1]], tested) for name, classifier in both.items()},
        "errors_in_common": errors_in_common(trained.guidance, trained.held_out, images[rows[1]], tested),
    }


def measured(classifier: Classifier, images: Rgb, labels: list[Floats]) -> dict[str, Any]:
    """Return accuracy and calibration on images, also with mirrored ones, and milliseconds for each."""
    x = as_tensor(images)
    begin = time.process_time()
    classifier.read(x)
    milliseconds = (time.process_time() - begin) / len(x) * 1e3
    return {
        "trunk": classifier.trunk,
        "milliseconds": round(milliseconds, 2),
        "tasks": evaluate_classifier(classifier, images, labels),
        "mirror_averaged": mirror_averaged(classifier, images, labels),
    }


def mirror_averaged(classifier: Classifier, images: Rgb, labels: list[Floats]) -> dict[str, float]:
    """Return the accuracy of classes, and the mean absolute error of values, of the mean over image and mirror."""
    x = as_tensor(images)
    values = (classifier.read(x)[0] + classifier.read(x.flip(3))[0]) / 2
    found, start = {}, 0
    for task, y in zip(classifier.tasks, labels, strict=True):
        own = values[:, start : start + task.width]
        start += task.width
        right = own.argmax(1) == y if task.kind == "classes" else np.abs(own[:, 0] - y)
        found[task.name] = round(float(right.mean()), 4)
    return found


def errors_in_common(one: Classifier, other: Classifier, images: Rgb, labels: list[Floats]) -> dict[str, float]:
    """Return how far the errors of two classifiers go together: the correlation of being wrong, or of the errors."""
    x = as_tensor(images)
    values = [classifier.read(x)[0] for classifier in (one, other)]
    found, start = {}, 0
    for task, y in zip(one.tasks, labels, strict=True):
        own = [v[:, start : start + task.width] for v in values]
        start += task.width
        errors = [v.argmax(1) != y if task.kind == "classes" else v[:, 0] - y for v in own]
        found[task.name] = round(float(np.corrcoef(*errors)[0, 1]), 3)
    return found


def grid(
    dataset: FaceDataset,
    images: Rgb,
    tasks: tuple[Task, ...],
    labels: tuple[Floats, ...],
    rows: tuple[Indices, Indices],
    given: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Measure classifiers on other features, one by one."""
    choices = [(64, FrozenTrunk(stages, side, 6)) for side in given.sides for stages in (3, 4)]
    choices += [(64, FrozenTrunk(5, 96, 6)), (64, FrozenTrunk(7, 96, 3))]
    choices += [(64, FrozenTrunk(stages, 96, 1)) for stages in (4, 7)]  # where on the face is not known
    choices += [(128, FrozenTrunk(4, 128, 6))]
    found = []
    larger = load_thumbnails(dataset, 128)[0]
    for crop, source in choices:
        feature_net.FROZEN_TRUNKS["compared"] = source
        config = replace(ClassifierConfig.for_size(TRAINED), input_size=crop)
        seen = images if crop == 64 else larger
        begin = time.process_time()
        features = picture_features(seen[rows[0]], "compared", {"mirror": True})
        computed = time.process_time()
        net = new_net("compared", tasks, given.seed)
        assert isinstance(net, FeatureNet)
        fitted, calibrated = np.arange(TRAINED * 9 // 10), np.arange(TRAINED * 9 // 10, TRAINED)
        own = [y[rows[0]] for y in labels]
        train_on_features(net, tasks, features.rows(fitted), [y[fitted] for y in own], config, given.seed)
        learnt = time.process_time()
        classifier = calibrate(
            net,
            "compared",
            tasks,
            [y[fitted] for y in own],
            seen[rows[0]][calibrated],
            [y[calibrated] for y in own],
            config,
        )
        result = measured(classifier, seen[rows[1]], [y[rows[1]] for y in labels])
        found.append(
            {
                "crop": crop,
                "side": source.side,
                "stages": source.stages,
                "grid": source.grid,
                "processor_seconds": {"features": round(computed - begin, 1), "layers": round(learnt - computed, 1)},
                **{k: v for k, v in result.items() if k != "trunk"},
            }
        )
        print(found[-1], flush=True)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
