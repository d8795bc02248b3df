"""What reads generated faces: the estimator and guidance classifiers by which directions are found, and the held-out
classifiers by which edits are judged.

The held-out classifier of view, light and parts of the face learns, on other samples and other features, to read what
the estimator reads; the estimator itself found some of the directions, so that it does not judge them. Both share its
errors. For labels it is trained on the labelled faces, with another split, seed and layer than the guidance classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceaug.analysis.axes import build_axis, parse_by
from faceaug.appearance.framing import Framing, apply_framing, measure_framing
from faceaug.appearance.scene import FaceEllipse, measure_scene
from faceaug.bench.directions.direction_recipe import DirectionRecipe, LabelledFaces
from faceaug.bench.recipe import expand_path
from faceaug.classifiers.classifier import Classifier, Task
from faceaug.classifiers.training import tasks_of, train_classifiers
from faceaug.datasets.dataset import FaceDataset, load_dataset
from faceaug.datasets.splits import ALL_SPLITS
from faceaug.datasets.thumbnails import common_aspect, load_thumbnails
from faceaug.discovery.fit import BATCH_SIZE, read_scalars, stack_maps
from faceaug.errors import UsageError
from faceaug.generators.base import Generator
from faceaug.generators.pool import sample_stream, synthesize_at
from faceaug.latents.bundle import Bundle
from faceaug.measurement.estimator import FaceEstimator
from faceaug.measurement.measure import estimator_from_bundle
from faceaug.reconstruction.networks import mirror_averaged_factors
from faceaug.synthesis.editing.pose_readout import find_directions
from faceaug.synthesis.editing.readout import OUTSIDE
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import to_uint8
from faceaug.utils.text import shown
from faceaug.utils.threads import StageProgress
from faceaug.utils.typing import Floats

READ_SIDE = 64
"""Side in pixels at which all readers see generated faces."""
FIT_STREAM, HELD_OUT_SAMPLES_STREAM = 0xD1, 0xD2
"""Streams of the samples that methods learn from, and of those that the held-out classifier learns from."""
SPREAD_SAMPLES = 1000
"""Samples over which the standard deviation of a reading is taken, at most."""


@dataclass(frozen=True, eq=False)
class FitSamples:
    """Samples that methods learn from.

    Attributes
    ----------
    w : float64 [N, D]
    values : float64 [N, S]
        In the order of `AttributeReaders.semantics`.
    """

    w: Floats
    values: Floats


@dataclass(frozen=True, eq=False)
class LabelReaders:
    """Classifiers of a labelled data set.

    Attributes
    ----------
    names : tuple of str
        Attributes: "gender=male".
    guidance, held_out : Classifier
    framing : Framing
        The window of generated faces that has the framing of the data set.
    metrics : dict
        Of both classifiers, on test images.
    """

    names: tuple[str, ...]
    guidance: Classifier
    held_out: Classifier
    framing: Framing
    metrics: dict[str, Any]

    def read(self, classifier: Classifier, images: Tensor) -> Floats:
        """Return the log-odds or values [N, L] of the attributes on images [N, 3, S, S]."""
        values, _ = classifier.read(apply_framing(images, self.framing))
        return values[:, [classifier.semantics.index(name) for name in self.names]]


@dataclass(frozen=True, eq=False)
class AttributeReaders:
    """Readers of the attributes on generated faces of `READ_SIDE` pixels, float32 [N, 3, S, S] in [-1, 1].

    Attributes
    ----------
    names : tuple of str
        The A attributes: those that are measured, then those of labels.
    bundle : Bundle
    estimator : FaceEstimator
        That of the bundle, by which its directions were found.
    ellipse : FaceEllipse
    judge : Classifier
        The held-out classifier of the attributes that are measured.
    labels : LabelReaders, optional
    spread : float64 [A]
        Standard deviations of the held-out readings over samples.
    metrics : dict
        How well the held-out classifier reads each attribute, on test images.
    """

    names: tuple[str, ...]
    bundle: Bundle
    estimator: FaceEstimator
    ellipse: FaceEllipse
    judge: Classifier
    labels: LabelReaders | None
    spread: Floats
    metrics: dict[str, Any]

    @property
    def semantics(self) -> tuple[str, ...]:
        """Names of the columns of `guidance`: all semantics of the bundle, labels, and the colour outside the face."""
        return (*self.bundle.directions.names, *(self.labels.names if self.labels else ()), *OUTSIDE)

    def guidance(self, images: Tensor) -> Floats:
        """Read images by what directions are found with: float64 [N, S]."""
        return read_guidance(self.bundle, self.estimator, self.labels, self.ellipse, images)

    def held_out(self, images: Tensor) -> Floats:
        """Read the attributes of images by the held-out classifiers: float64 [N, A]."""
        measured = self.judge.read(images)[0]
        if self.labels is None:
            return measured
        return np.concatenate([measured, self.labels.read(self.labels.held_out, images)], 1)


def read_guidance(
    bundle: Bundle, estimator: FaceEstimator, labels: LabelReaders | None, ellipse: FaceEllipse, images: Tensor
) -> Floats:
    """Return the readings float64 [N, S] of images; see `AttributeReaders.semantics`."""
    parts = []
    for batch in torch.split(images, BATCH_SIZE):
        factors = mirror_averaged_factors(estimator.reconstruct, batch)
        maps = stack_maps(factors).double().cpu().numpy()
        scene = measure_scene(batch, ellipse)[:, : len(OUTSIDE)].double().cpu().numpy()
        found = [read_scalars(factors, batch, estimator.reader), bundle.values(maps[:, 0], maps[:, 1:])]
        found += [labels.read(labels.guidance, batch)] if labels else []
        parts.append(np.concatenate([*found, scene], 1))
    return np.concatenate(parts)


def generator_of(recipe: DirectionRecipe, folder: Path) -> str:
    """Return the name of the generator, or the path of its file, which is meant from a folder if it is relative."""
    is_file = recipe.generator.endswith(".safetensors")
    return str(expand_path(recipe.generator, folder, "generator")) if is_file else recipe.generator


def shipped_or_given(recipe: DirectionRecipe, generator: Generator, folder: Path) -> Bundle:
    """Return the directions of the generator, with the network that found them.

    Raises
    ------
    UsageError
        When there are none, or an attribute is not among them.
    """
    file = None if recipe.directions is None else expand_path(recipe.directions, folder, "directions")
    bundle = find_directions(generator, file)
    if bundle is None:
        raise UsageError(
            f"no directions of the generator {generator.name!r} are included: find them with faceaug discover, and "
            "give the file as directions"
        )
    bundle.directions.index(recipe.attributes)
    return bundle


def fit_readers(
    recipe: DirectionRecipe,
    generator: Generator,
    bundle: Bundle,
    labelled: FaceDataset | None,
    progress: StageProgress,
) -> tuple[AttributeReaders, FitSamples]:
    """Train the classifiers, and read the samples that methods learn from.

    Parameters
    ----------
    recipe, generator, bundle
    labelled : FaceDataset, optional
        The faces of `recipe.labelled`.
    progress : callable (stage, done, total)

    Raises
    ------
    DatasetError
        When a label has too few faces to be learnt.
    """
    estimator = estimator_from_bundle(bundle, device=generator.device)
    ellipse = getattr(generator, "ellipse", FaceEllipse())
    learn, fit = (
        sample_stream(generator, recipe.samples, (recipe.seed, stream))
        for stream in (HELD_OUT_SAMPLES_STREAM, FIT_STREAM)
    )
    labels = None
    if recipe.labelled is not None and labelled is not None:
        framed = synthesize_at(generator, fit[:SPREAD_SAMPLES], READ_SIDE)
        labels = _learn_labels(labelled, recipe.labelled.columns, recipe.seed, framed, progress)

    def read(w: Tensor, images: Tensor, reader: LabelReaders | None, stage: str) -> Floats:
        parts = []
        for start in range(0, len(w), BATCH_SIZE):
            parts.append(read_guidance(bundle, estimator, reader, ellipse, images[start : start + BATCH_SIZE]))
            progress(stage, min(start + BATCH_SIZE, len(w)), len(w))
        return np.concatenate(parts)

    images = synthesize_at(generator, learn, READ_SIDE).clamp(-1, 1)
    values = read(learn, images, None, "reading samples for the held-out classifier")
    judge, metrics = _learn_measured(recipe, bundle, to_uint8(images), values, progress)
    images = synthesize_at(generator, fit, READ_SIDE).clamp(-1, 1)
    values = read(fit, images, labels, "reading samples for the methods")
    names = (*recipe.attributes, *(labels.names if labels else ()))
    readers = AttributeReaders(names, bundle, estimator, ellipse, judge, labels, np.ones(len(names)), metrics)
    readers = replace(readers, spread=readers.held_out(images[:SPREAD_SAMPLES]).std(0))
    return readers, FitSamples(fit.double().cpu().numpy(), values)


def _learn_measured(
    recipe: DirectionRecipe, bundle: Bundle, images: Rgb, values: Floats, progress: StageProgress
) -> tuple[Classifier, dict[str, Any]]:
    """Train the held-out classifier of the measured attributes; return it with the correlations on test images."""
    columns = [values[:, column] for column in bundle.directions.index(recipe.attributes)]
    tasks = [
        Task(name, "value", (), float(column.mean()), max(float(column.std()), 1e-9))
        for name, column in zip(recipe.attributes, columns, strict=True)
    ]
    trained = train_classifiers(
        images,
        tasks,
        columns,
        seed=recipe.seed,
        measured=recipe.attributes,
        progress=lambda done, total: progress("held-out classifier", done, total),
    )
    return trained.held_out, {each["attribute"]: each["correlation"] for each in trained.metrics["held_out"]}


def _learn_labels(
    dataset: FaceDataset, columns: Sequence[str], seed: int, generated: Tensor, progress: StageProgress
) -> LabelReaders:
    """Train guidance and held-out classifier on labelled faces."""
    images, _ = load_thumbnails(dataset, READ_SIDE)
    tasks, labels = tasks_of(dataset.table, [build_axis(dataset.table, spec) for spec in parse_by(columns)])
    trained = train_classifiers(
        images, tasks, labels, seed=seed, progress=lambda done, total: progress("label classifiers", done, total)
    )
    assert trained.guidance is not None
    names = tuple(name for task in tasks for name in _attributes_of(task))
    framing = measure_framing(images, to_uint8(generated.clamp(-1, 1)), common_aspect(dataset))
    return LabelReaders(names, trained.guidance, trained.held_out, framing, trained.metrics)


def _attributes_of(task: Task) -> tuple[str, ...]:
    """Return the attributes of a task: the log-odds of two classes are one another's negative."""
    return task.semantics[1:] if len(task.levels) == 2 else task.semantics


def read_labelled(labelled: LabelledFaces, seed: int, folder: Path, bundle: Bundle) -> FaceDataset:
    """Read the labelled faces, or as many of them as are to be used.

    Raises
    ------
    UsageError, DatasetError
        When they cannot be read, or a column is unknown or has the name of a semantic of the bundle.
    """
    labels = None if labelled.labels is None else expand_path(labelled.labels, folder, "labelled.labels")
    path = expand_path(labelled.path, folder, "labelled.path")
    dataset = load_dataset(path, labels, reader=labelled.reader, split=ALL_SPLITS)
    for spec in parse_by(labelled.columns):
        build_axis(dataset.table, spec)
        if spec.column in bundle.directions.names:
            raise UsageError(
                f"labelled.columns names {shown(spec.column)}, which the estimator measures: name it in attributes"
            )
    if labelled.most is None or labelled.most >= len(dataset):
        return dataset
    rows = np.random.default_rng((seed, FIT_STREAM)).choice(len(dataset), labelled.most, replace=False)
    return dataset.select(np.sort(rows))
