"""The classifiers of a run, learnt from the labels of its data set or read back from its folder of models.

Any engine may call `fit_label_classifiers` when it prepares. Engines of one run share the folder, so what one of them
has learnt is read by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faceaug.cache.arrays import keep_files, restore_files
from faceaug.cache.key import CacheKey, array_sha256, device_identity
from faceaug.classifiers.classifier import Classifier, Task
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.feature_net import FROZEN_TRUNKS
from faceaug.classifiers.feature_training import FEATURES_VERSION
from faceaug.classifiers.training import tasks_of, train_classifiers
from faceaug.synthesis.engines.base import PreparationInputs
from faceaug.synthesis.request import RunRequest
from faceaug.utils.files import read_json, write_json
from faceaug.utils.images import Rgb
from faceaug.utils.typing import Floats

GUIDANCE_FILE, HELD_OUT_FILE, METRICS_FILE = "guidance.safetensors", "held_out.safetensors", "classifiers.json"
CLASSIFIER_FILES = (GUIDANCE_FILE, HELD_OUT_FILE, METRICS_FILE)
"""What `fit_label_classifiers` may leave in the folder of models. The metrics come last and say that the others are
whole. There is no guidance classifier where none was needed, or every attribute was measured."""

TRAINING_VERSION = 1
"""Raised whenever the same pictures and labels give other classifiers than before, so that no cached ones are read."""


@dataclass(frozen=True, eq=False)
class LabelClassifiers:
    """The classifiers of a run.

    Attributes
    ----------
    guidance : Classifier or None
        Guides edits; None where the engine asked for none, or where every attribute was measured.
    held_out : Classifier
        Judges results, trained apart from the guidance classifier.
    tasks : tuple of Task
        One for each axis of the plan, followed by those of attributes that are only kept.
    metrics : dict
        "guidance" and "held_out" to their metrics on test images, as JSON values.
    """

    guidance: Classifier | None
    held_out: Classifier
    tasks: tuple[Task, ...]
    metrics: dict[str, Any]


def fit_label_classifiers(
    request: RunRequest, inputs: PreparationInputs, *, measured: Collection[str] = (), guidance: bool = True
) -> LabelClassifiers:
    """Learn to read the attributes of a run, or read the classifiers that an engine of this run has left.

    Parameters
    ----------
    request : RunRequest
    inputs : PreparationInputs
        Its folder takes those of `CLASSIFIER_FILES` that there are.
    measured : collection of str
        Attributes that only the held-out classifier learns, since what measured them guides edits.
    guidance : bool
        False for an engine that only judges: no guidance classifier is trained.

    Raises
    ------
    DatasetError
        When an attribute cannot be learnt.
    IntegrityError
        When a file that was written before is damaged.
    """
    folder = inputs.folder
    tasks, labels = tasks_of(request.dataset.table, request.axes)
    guided = guidance and any(task.name not in measured for task in tasks)
    if not (folder / METRICS_FILE).exists() or (guided and not (folder / GUIDANCE_FILE).exists()):
        job = _TrainingJob(
            inputs.thumbnails,
            tasks,
            labels,
            request.config.seed,
            tuple(sorted(measured) if guided else [task.name for task in tasks]),
            ClassifierConfig.for_size(len(inputs.thumbnails), request.config.device),
        )
        if restore_files(job.key(), folder, CLASSIFIER_FILES):
            inputs.progress("classifiers", 1, 1)
        else:
            job.train(folder, lambda done, total: inputs.progress("classifiers", done, total))
            keep_files(job.key(), folder, CLASSIFIER_FILES)
    return LabelClassifiers(
        Classifier.load(folder / GUIDANCE_FILE) if guided else None,
        Classifier.load(folder / HELD_OUT_FILE),
        tasks,
        read_json(folder / METRICS_FILE, "the classifiers' metrics"),
    )


@dataclass(frozen=True, eq=False)
class _TrainingJob:
    """All that decides the classifiers that are trained."""

    images: Rgb
    tasks: tuple[Task, ...]
    labels: tuple[Floats, ...]
    seed: int
    measured: tuple[str, ...]
    config: ClassifierConfig

    def key(self) -> CacheKey:
        """Return the key of the trained classifiers in the cache."""
        return CacheKey(
            "classifiers",
            {
                "version": [TRAINING_VERSION, FEATURES_VERSION],
                "pictures": array_sha256(self.images),
                "tasks": [asdict(task) for task in self.tasks],
                "labels": array_sha256(*self.labels),
                "seed": self.seed,
                "measured": list(self.measured),
                "config": {**asdict(self.config), "device": device_identity(self.config.device)},
                "trunks": {name: asdict(trunk) for name, trunk in FROZEN_TRUNKS.items()},
            },
        )

    def train(self, folder: Path, progress: Callable[[int, int], None]) -> None:
        """Train the classifiers and write their files."""
        trained = train_classifiers(
            self.images,
            self.tasks,
            self.labels,
            seed=self.seed,
            measured=self.measured,
            config=self.config,
            progress=progress,
        )
        if trained.guidance is not None:
            trained.guidance.save(folder / GUIDANCE_FILE)
        trained.held_out.save(folder / HELD_OUT_FILE)
        write_json(folder / METRICS_FILE, trained.metrics)
