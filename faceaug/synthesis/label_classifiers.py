"""The classifiers of a run, learnt from the labels of its data set or read back from its folder of models.

Any engine may call `fit_label_classifiers` when it prepares. Engines of one run share the folder, so what one of them
has learnt is read by the next.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from faceaug.classifiers.classifier import Classifier, Task
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.training import tasks_of, train_classifiers
from faceaug.synthesis.engines.base import PreparationInputs
from faceaug.synthesis.request import RunRequest
from faceaug.utils.files import read_json, write_json

GUIDANCE_FILE, HELD_OUT_FILE, METRICS_FILE = "guidance.safetensors", "held_out.safetensors", "classifiers.json"
CLASSIFIER_FILES = (GUIDANCE_FILE, HELD_OUT_FILE, METRICS_FILE)
"""What `fit_label_classifiers` may leave in the folder of models. The metrics come last and say that the others are
whole. There is no guidance classifier where none was needed, or every attribute was measured."""


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
        trained = train_classifiers(
            inputs.thumbnails,
            tasks,
            labels,
            seed=request.config.seed,
            measured=measured if guided else [task.name for task in tasks],
            config=ClassifierConfig.for_size(len(inputs.thumbnails), request.config.device),
            progress=lambda done, total: inputs.progress("classifiers", done, total),
        )
        if trained.guidance is not None:
            trained.guidance.save(folder / GUIDANCE_FILE)
        trained.held_out.save(folder / HELD_OUT_FILE)
        write_json(folder / METRICS_FILE, trained.metrics)
    return LabelClassifiers(
        Classifier.load(folder / GUIDANCE_FILE) if guided else None,
        Classifier.load(folder / HELD_OUT_FILE),
        tasks,
        read_json(folder / METRICS_FILE, "the classifiers' metrics"),
    )
