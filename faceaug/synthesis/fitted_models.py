"""What is fitted before the first edit: classifiers, framing and image statistics, face quality, a survey of latents.

Each stage is a function of `FitInputs` and of what the stages before it gave. Everything that is fitted is written to
the run's folder of models and read back from there, so a run and its continuation work with the very same numbers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faceaug.analysis.axes import Axis
from faceaug.appearance.framing import Framing, apply_framing, measure_framing
from faceaug.appearance.harmonize import ColourMatch, Harmonizer, match_colour
from faceaug.appearance.image_stats import ImageStatsSample, dataset_image_stats, measure_image_stats
from faceaug.appearance.scene import FaceEllipse
from faceaug.cache.arrays import keep_files, restore_files
from faceaug.cache.key import CacheKey, array_sha256, device_identity
from faceaug.cache.store import open_cache
from faceaug.classifiers.classifier import Classifier, Task
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.face_quality import DISTORTED_TRUNCATION, INTACT_TRUNCATION, train_face_quality
from faceaug.classifiers.feature_training import FEATURES_VERSION
from faceaug.classifiers.training import tasks_of
from faceaug.datasets.content import content_sha256
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.thumbnails import common_aspect
from faceaug.errors import IntegrityError
from faceaug.generators.base import Generator
from faceaug.generators.sampling import latent_seeds, sample_latents, synthesize
from faceaug.latents.algebra import covariance_given
from faceaug.latents.directions import Directions
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.editing.objectives import AttributeGoal
from faceaug.synthesis.editing.pose_readout import LearnedDirections, PoseLightReader
from faceaug.synthesis.editing.readout import FaceReader, kind_of
from faceaug.synthesis.engines.base import PreparationInputs
from faceaug.synthesis.label_classifiers import (
    CLASSIFIER_FILES,
    GUIDANCE_FILE,
    HELD_OUT_FILE,
    TRAINING_VERSION,
    fit_label_classifiers,
)
from faceaug.synthesis.latent_survey import (
    DIRECTIONS_FILE,
    READINGS_VERSION,
    SURVEY_FILE,
    LatentSurvey,
    RealFaces,
    survey,
)
from faceaug.synthesis.request import RunRequest, cell_weights, cells_of
from faceaug.synthesis.stages import SAMPLE_STREAM
from faceaug.utils.files import read_json, sha256_file, write_json
from faceaug.utils.images import Rgb, restore_aspect
from faceaug.utils.tensors import thumbnails, to_uint8
from faceaug.utils.threads import StageProgress
from faceaug.utils.typing import Floats

FACE_QUALITY_FILE, STATE_FILE = "face_quality.safetensors", "fitted.json"
MODEL_FILES = (*CLASSIFIER_FILES, FACE_QUALITY_FILE, DIRECTIONS_FILE, SURVEY_FILE, STATE_FILE)
"""What `fit_models` leaves in its folder. The state comes last and says that the others are whole. There is no guidance
classifier where every attribute was measured."""
FRAMING_SAMPLES = 1024  # generated faces by which the framing is measured
FRAMING_IMAGES = 2000  # images of the data set, at most
COMPARED = 512  # generated faces on which readings are put in the terms of measurements
ATOMS_STAY = 0.5  # of their spread: how firmly edits of view and light hold the atoms
_WITHOUT_EFFECT = frozenset(
    {
        *("workers", "batch_size", "report", "tries", "origins", "corrections", "max_uses", "layout"),
        *("image_format", "thresholds", "engine", "from_real", "donors", "embedder", "allow_same_identity"),
        *("extrapolate", "licence", "consent", "allow_research_only", "keep_refused", "executor", "address"),
    }
)
"""Settings that take no part in what is fitted."""
_FACE_QUALITY_SEEDS, _COMPARED_SEEDS = 2**24, 2**25  # first numbers of the latents of these stages


@dataclass(frozen=True, eq=False)
class FitInputs:
    """What the stages of fitting start from.

    Attributes
    ----------
    request : RunRequest
    preparation : PreparationInputs
        Thumbnails of the data set, the folder of models, the codec of the samples.
    generator : Generator
    learned : LearnedDirections, optional
        Directions found without labels; attributes that they measured need no guidance classifier.
    """

    request: RunRequest
    preparation: PreparationInputs
    generator: Generator
    learned: LearnedDirections | None

    @property
    def dataset(self) -> FaceDataset:
        """The data set of the request."""
        return self.request.dataset

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Attributes to edit; those that are only to be kept are not among them."""
        return self.request.plan.axes

    @property
    def config(self) -> RunConfig:
        """That of the run."""
        return self.request.config

    @property
    def thumbnails(self) -> Rgb:
        """All images of the data set [N, 64, 64, 3], squeezed into squares."""
        return self.preparation.thumbnails

    @property
    def folder(self) -> Path:
        """Where models of the run are kept."""
        return self.preparation.folder

    @property
    def progress(self) -> StageProgress:
        """That of the preparation."""
        return self.preparation.progress

    @property
    def measured(self) -> tuple[str, ...]:
        """Attributes that were measured and are read by what measured them."""
        return self.learned.measured if self.learned else ()

    def synthesize(self, first: int, count: int, stretch: float = 1.0) -> torch.Tensor:
        """Return generated faces [count, 3, R, R] of the latents numbered from `first`."""
        w = sample_latents(self.generator, latent_seeds(self.config.seed, first, count), stretch)
        return synthesize(self.generator, w, self.config.batch_size)


@dataclass(frozen=True)
class FittedModels:
    """What guides and checks the edits of a run.

    Attributes
    ----------
    reader : FaceReader
        The guidance classifier with the framing, the overall colour, view and light where they can be read, the scene.
    held_out : Classifier
        The held-out classifier, trained apart from the guidance classifier.
    axes : tuple of Axis
        The plan's.
    tasks : tuple of Task
        One for each axis, followed by those of attributes that are only kept.
    survey : LatentSurvey
        Measured latents of generated faces, with the directions.
    reach : float
        Mahalanobis distance that the stated quantile of generated latents stays within.
    real : RealFaces
    harmonizer : Harmonizer or None
        Gives accepted faces the size and image statistics of the data set; None leaves them raw.
    metrics : dict
        What was measured on the way, as JSON values.
    learned : LearnedDirections, optional
        Directions found without labels.
    """

    reader: FaceReader
    held_out: Classifier
    axes: tuple[Axis, ...]
    tasks: tuple[Task, ...]
    survey: LatentSurvey
    reach: float
    real: RealFaces
    harmonizer: Harmonizer | None
    metrics: dict[str, Any]
    learned: LearnedDirections | None = None

    @property
    def directions(self) -> Directions:
        """Of everything that the reader reads."""
        return self.survey.directions

    @cached_property
    def _covariance_sparing_atoms(self) -> Floats | None:
        if self.learned is None or not self.learned.bundle.atoms:
            return None
        return covariance_given(self.learned.bundle.directions, self.learned.bundle.atoms, ATOMS_STAY)

    def covariance(self, goals: Sequence[AttributeGoal]) -> Floats | None:
        """Return the covariance of w in whose metric edits of a cell are smallest; None for that of generated latents.

        Edits of view and light alone spare the atoms, too.
        """
        edits_attribute = any(kind_of(goal.task.name) == "attribute" for goal in goals)
        return None if edits_attribute else self._covariance_sparing_atoms

    def kept(self) -> tuple[str, ...]:
        """Return the names of the semantics of attributes that are only kept."""
        return tuple(name for task in self.tasks[len(self.axes) :] for name in task.semantics)


def fit_models(inputs: FitInputs) -> FittedModels:
    """Fit everything that edits need, or read what an interrupted run has fitted already.

    Raises
    ------
    DatasetError
        When an attribute cannot be learnt.
    GeneratorError
        When generated faces cannot be measured.
    IntegrityError
        When a file that was written before is damaged.
    """
    real = None
    if not (inputs.folder / STATE_FILE).exists():
        key = _key(inputs) if open_cache().enabled else None
        if key and restore_files(key, inputs.folder, MODEL_FILES):
            for stage in ("classifiers", "face quality", "directions"):
                inputs.progress(stage, 1, 1)
        else:
            real = _fit(inputs)
            if key:
                keep_files(key, inputs.folder, MODEL_FILES)
    return _load(inputs, real)


def _key(inputs: FitInputs) -> CacheKey:
    """Return the key of all that is fitted in the cache: every setting that is not known to take no part is in it."""
    learned, generator, config = inputs.learned, inputs.generator, inputs.config
    settings = {name: value for name, value in config.to_json().items() if name not in _WITHOUT_EFFECT}
    count = len(inputs.thumbnails)
    return CacheKey(
        "fits",
        {
            "version": [SAMPLE_STREAM, TRAINING_VERSION, FEATURES_VERSION, READINGS_VERSION],
            "pictures": content_sha256(inputs.dataset.encoded, len(inputs.dataset)),
            "thumbnails": array_sha256(inputs.thumbnails),
            "labels": inputs.dataset.fingerprint(),
            "axes": [[asdict(axis) for axis in axes] for axes in (inputs.axes, inputs.request.kept)],
            "generator": [generator.sha256, getattr(generator, "synthesis_key", None)],
            "learned": learned
            and [learned.bundle.directions.sha256(), learned.bundle.reconstruction, learned.measured, learned.aligned],
            "config": settings,
            "device": device_identity(config.device),
            "training": [asdict(ClassifierConfig.for_size(count)), asdict(ClassifierConfig.for_face_quality(count))],
            "codec": inputs.preparation.codec,
        },
    )


def _fit(inputs: FitInputs) -> RealFaces:
    """Run the stages and write what they give; return the real faces that were read on the way."""
    clock = [time.perf_counter()]
    classifiers = fit_label_classifiers(inputs.request, inputs.preparation, measured=inputs.measured)
    held_out = classifiers.held_out
    clock.append(time.perf_counter())
    reader, image_stats = _measure_appearance(inputs, held_out)
    pose_light = _fit_pose_light(inputs, reader) if inputs.learned else None
    reader = replace(reader, classifier=classifiers.guidance, pose_light=pose_light)
    clock.append(time.perf_counter())
    real = _read_real_faces(inputs, held_out)
    if not (quality := inputs.folder / FACE_QUALITY_FILE).exists():  # else an interrupted run has come so far
        _fit_face_quality(inputs, reader).save(quality)
    reader = replace(reader, face_quality=Classifier.load(quality))
    clock.append(time.perf_counter())
    latents = survey(inputs.generator, reader, held_out, real, inputs.config, inputs.progress, inputs.folder)
    clock.append(time.perf_counter())
    stages = ("classifiers", "framing and image statistics", "face quality", "directions")
    metrics = {
        "classifiers": classifiers.metrics,
        "framing": reader.framing.to_dict(),
        "survey_samples": len(latents.w),
        "image_stats": image_stats.summary() if image_stats else None,
        "r2": dict(zip(reader.semantics, np.round(latents.directions.r2, 4).tolist(), strict=True)),
        "learned_directions": _summary(inputs.learned, pose_light) if inputs.learned and pose_light else None,
        "seconds": dict(zip(stages, np.round(np.diff(clock), 2).tolist(), strict=True)),
    }
    latents.save(inputs.folder)
    state = {
        "framing": reader.framing.to_dict(),
        "ellipse": asdict(reader.ellipse),
        "pose_light": pose_light.state() if pose_light else None,
        "colour": asdict(reader.colour) if reader.colour else None,
        "image_stats": image_stats.to_dict() if image_stats else None,
        "metrics": metrics,
    }
    write_json(inputs.folder / STATE_FILE, state)
    return real


def _load(inputs: FitInputs, real: RealFaces | None) -> FittedModels:
    """Read back what `_fit` has written."""
    folder = inputs.folder
    state = read_json(folder / STATE_FILE, "what the run has fitted")
    held_out, latents = Classifier.load(folder / HELD_OUT_FILE), LatentSurvey.load(folder)
    latents.directions.check_generator(inputs.generator.sha256)
    try:
        framing = Framing.from_dict(state["framing"])
        colour = ColourMatch(**{k: tuple(v) for k, v in state["colour"].items()}) if state["colour"] else None
        reader = FaceReader(
            _load_guidance(folder),
            framing,
            FaceEllipse(**state["ellipse"]),
            Classifier.load(folder / FACE_QUALITY_FILE),
            colour,
            inputs.learned.pose_light.with_state(state["pose_light"]) if inputs.learned else None,
        )
        image_stats = ImageStatsSample.from_dict(state["image_stats"]) if state["image_stats"] else None
        metrics = dict(state["metrics"])
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{folder / STATE_FILE} is damaged; start again in another folder") from error
    return FittedModels(
        reader=reader,
        held_out=held_out,
        axes=inputs.axes,
        tasks=tuple(tasks_of(inputs.dataset.table, inputs.request.axes)[0]),
        survey=latents,
        reach=float(np.quantile(latents.distance, inputs.config.thresholds.plausible)),
        real=real or _read_real_faces(inputs, held_out),
        harmonizer=Harmonizer(image_stats, aspect=framing.aspect, codec=inputs.preparation.codec)
        if image_stats
        else None,
        metrics=metrics,
        learned=inputs.learned,
    )


def _load_guidance(folder: Path) -> Classifier | None:
    return Classifier.load(folder / GUIDANCE_FILE) if (folder / GUIDANCE_FILE).exists() else None


def _measure_appearance(inputs: FitInputs, held_out: Classifier) -> tuple[FaceReader, ImageStatsSample | None]:
    """Measure how the data set frames faces and, where samples are harmonized, the statistics of its images.

    The face quality is not known yet; the held-out classifier stands in its place until it is.
    """
    dataset, generator = inputs.dataset, inputs.generator
    images = inputs.synthesize(0, min(inputs.config.survey_samples, FRAMING_SAMPLES))
    step = max(1, -(-len(inputs.thumbnails) // FRAMING_IMAGES))
    framing = measure_framing(inputs.thumbnails[::step], thumbnails(images), common_aspect(dataset))
    image_stats = colour = None
    if inputs.config.harmonize:
        weights = cell_weights(dataset, inputs.axes).tolist()
        image_stats = dataset_image_stats(dataset, seed=inputs.config.seed, weights=weights)
        framed = to_uint8(apply_framing(images, framing))
        colour = match_colour(measure_image_stats([(image, None) for image in framed]), image_stats)
    return FaceReader(None, framing, getattr(generator, "ellipse", FaceEllipse()), held_out, colour), image_stats


def _fit_pose_light(inputs: FitInputs, reader: FaceReader) -> PoseLightReader:
    """Put readings of generated faces in the terms of measurements, where attributes were measured."""
    assert inputs.learned is not None
    if not inputs.learned.measured:
        return inputs.learned.pose_light
    images = inputs.synthesize(_COMPARED_SEEDS, COMPARED)
    photographs = [restore_aspect(image, reader.framing.aspect) for image in to_uint8(reader.view(images))]
    return inputs.learned.pose_light.in_terms_of(inputs.learned.pose_light(images), inputs.learned.measure(photographs))


def _read_real_faces(inputs: FitInputs, held_out: Classifier) -> RealFaces:
    cells = cells_of(inputs.dataset, inputs.axes)
    sha256 = sha256_file(inputs.folder / HELD_OUT_FILE)
    return RealFaces.from_thumbnails(held_out, inputs.thumbnails, cells, inputs.config.seed, sha256)


def _fit_face_quality(inputs: FitInputs, reader: FaceReader) -> Classifier:
    """Train the classifier of face quality, on generated faces of its own latents."""
    count = int(np.clip(inputs.config.survey_samples // 4, 64, 2048))

    def views(first: int, stretch: float) -> Rgb:
        return thumbnails(reader.view(inputs.synthesize(_FACE_QUALITY_SEEDS + first, count, stretch)))

    intact, distorted = views(0, INTACT_TRUNCATION), views(count, DISTORTED_TRUNCATION)
    config = inputs.config
    return train_face_quality(
        inputs.thumbnails,
        intact,
        distorted,
        config.seed,
        ClassifierConfig.for_face_quality(len(inputs.thumbnails), config.device),
        lambda done, total: inputs.progress("face quality", done, total),
    )


def _summary(learned: LearnedDirections, pose_light: PoseLightReader) -> dict[str, Any]:
    """Return what was found without labels, and in whose terms it reads, as JSON values."""
    return {
        "generator": learned.bundle.directions.generator,
        "reconstruction": learned.bundle.reconstruction,
        "made_by": learned.bundle.made_by,
        "measured": list(learned.measured),
        **pose_light.state(),
    }
