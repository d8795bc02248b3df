"""Everything that has to be known before the first sample: framing, probes, directions, and what draws are like."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceaug.analysis.axes import Axis, attribute, cell_codes
from faceaug.appearance.framing import Framing, apply_framing, measure_framing
from faceaug.appearance.harmonize import ColourMatch, Harmonizer, match_colour
from faceaug.appearance.image_stats import ImageStatsSample, dataset_image_stats, measure_image_stats
from faceaug.appearance.scene import FaceEllipse
from faceaug.classifiers.classifier import Classifier, Task
from faceaug.classifiers.face_quality import FAR, MODERATE, train_face_quality
from faceaug.classifiers.training import tasks_of, train_classifiers
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.thumbnails import common_aspect
from faceaug.generators.base import Generator
from faceaug.generators.sampling import latent_seeds, sample_latents, synthesize
from faceaug.latents.algebra import covariance_given
from faceaug.latents.directions import Directions
from faceaug.synthesis.acceptance.gates import AcceptanceThresholds
from faceaug.synthesis.editing.objectives import AttributeGoal
from faceaug.synthesis.editing.pose_readout import LearnedDirections, PoseLightReader
from faceaug.synthesis.editing.readout import FaceReader, kind_of
from faceaug.synthesis.latent_survey import DIRECTIONS, DRAWS, LatentSurvey, RealFaces, survey
from faceaug.utils.files import read_json, write_json
from faceaug.utils.images import Codec
from faceaug.utils.tensors import thumbnails, to_uint8, unsqueezed
from faceaug.utils.threads import StageProgress
from faceaug.utils.typing import Floats

FRAMING_DRAWS = 1024
PROBES = ("steering.safetensors", "judge.safetensors", "probes.json")
LAST = "guide.json"
FILES = (*PROBES, "soundness.safetensors", DIRECTIONS, DRAWS, LAST)
"""What `fit_models` leaves in its folder; guide.json comes last and says that the others are whole. There is no steering
probe where every attribute was measured."""
COMPARED = 512  # draws on which readings of the generator's pictures are put in the terms of measurements
ATOMS_STAY = 0.5  # of their spread: how firmly edits of view and light hold the atoms


@dataclass(frozen=True)
class FittedModels:
    """What steers and judges a run.

    Attributes
    ----------
    reader : FaceReader
        The steering probe with the framing, the overall colour, view and light where they can be read, and the scene.
    held_out : Classifier
        Trained apart from the steering probe.
    axes, tasks
        The plan's axes, and a task for each, followed by tasks of attributes that are only kept.
    survey : LatentSurvey
        What draws are like, with the directions.
    reach : float
        Mahalanobis distance that the stated quantile of draws stays within.
    real : RealFaces
    harmonizer : Harmonizer or None
        Gives accepted faces the dataset's size and look; None leaves them raw.
    figures : dict
        What was measured on the way, as JSON values.
    found : LearnedDirections, optional
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
    figures: dict[str, Any]
    found: LearnedDirections | None = None

    @property
    def directions(self) -> Directions:
        """Of everything that the reader reads."""
        return self.survey.directions

    @cached_property
    def _sparing(self) -> Floats | None:
        if self.found is None or not self.found.bundle.atoms:
            return None
        return covariance_given(self.found.bundle.directions, self.found.bundle.atoms, ATOMS_STAY)

    def covariance(self, goals: Sequence[AttributeGoal]) -> Floats | None:
        """Return by which edits of a cell are likely: those of view and light alone spare the atoms, too."""
        free = any(kind_of(goal.task.name) == "attribute" for goal in goals)
        return None if free else self._sparing

    @property
    def measured(self) -> tuple[str, ...]:
        """Attributes that were measured and are read by what measured them."""
        return self.found.measured if self.found else ()

    def kept(self) -> tuple[str, ...]:
        """Names of the semantics of attributes that are kept and not asked for."""
        return tuple(name for task in self.tasks[len(self.axes) :] for name in task.semantics)


def fit_models(
    dataset: FaceDataset,
    arrays: NDArray[np.uint8],
    axes: Sequence[Axis],
    generator: Generator,
    folder: Path,
    *,
    seed: int,
    keep: Sequence[Axis],
    survey_samples: int,
    thresholds: AcceptanceThresholds,
    harmonize: bool,
    codec: Codec,
    workers: int,
    batch_size: int,
    device: str,
    progress: StageProgress,
    found: LearnedDirections | None = None,
) -> FittedModels:
    """Learn everything that a run needs, or read what an interrupted run has learnt already in `folder`.

    Parameters
    ----------
    thumbnails : uint8 [N, 64, 64, 3]
        The dataset's pictures, squeezed into squares.
    axes, keep : sequences of Axis
        Attributes to steer, and attributes only to be kept.
    survey_samples : int
        Generated samples that directions are fitted on.
    codec : Codec
        Of the samples to be written.
    folder : Path
        Where probes and directions are kept (`FILES`).
    found : LearnedDirections, optional
        Directions found without labels; attributes that they measured need no steering probe.
    """
    tasks, labels = tasks_of(dataset.table, [*axes, *keep])
    if not (folder / LAST).exists():
        clock = [time.perf_counter()]
        if not (folder / PROBES[-1]).exists():
            learnt = train_classifiers(
                arrays, tasks, labels, seed=seed, measured=found.measured if found else (), device=device,
                progress=lambda d, n: progress("probes", d, n),
            )  # fmt: skip
            if learnt.guidance is not None:
                learnt.guidance.save(folder / PROBES[0])
            learnt.held_out.save(folder / PROBES[1])
            write_json(folder / PROBES[2], learnt.figures)
        guidance, held_out = _steering(folder), Classifier.load(folder / PROBES[1])
        clock.append(time.perf_counter())
        reader, image_stats = _looks(
            dataset, arrays, axes, generator, held_out, seed, min(survey_samples, FRAMING_DRAWS), harmonize, batch_size
        )
        pose_light = _environment(found, generator, reader, seed, batch_size) if found else None
        reader = replace(reader, probe=guidance, pose_light=pose_light)
        clock.append(time.perf_counter())
        cells = cells_of(dataset, axes)
        real = RealFaces.from_thumbnails(held_out, arrays, cells, seed)
        reader = replace(
            reader,
            face_quality=_soundness(arrays, generator, reader, seed, survey_samples, batch_size, device, progress),
        )
        clock.append(time.perf_counter())
        drawn = survey(
            generator, reader, held_out, real, seed=seed, survey_samples=survey_samples, workers=workers, batch_size=batch_size,
            progress=progress,
        )  # fmt: skip
        clock.append(time.perf_counter())
        stages = ("probes", "framing and photometry", "soundness", "directions")
        figures = dict(
            probes=read_json(folder / PROBES[2], "the probes' figures"), framing=reader.framing.to_dict(),
            survey_samples=len(drawn.w), image_stats=image_stats.summary() if image_stats else None,
            r2=dict(zip(reader.semantics, np.round(drawn.directions.r2, 4).tolist(), strict=True)),
            found=_summary(found, pose_light) if found and pose_light else None,
            seconds=dict(zip(stages, np.round(np.diff(clock), 2).tolist(), strict=True)),
        )  # fmt: skip
        reader.face_quality.save(folder / FILES[3])
        drawn.save(folder)
        known = dict(
            framing=reader.framing.to_dict(), ellipse=asdict(reader.ellipse),
            pose_light=pose_light.state() if pose_light else None,
            colour=asdict(reader.colour) if reader.colour else None,
            image_stats=image_stats.to_dict() if image_stats else None, figures=figures,
        )  # fmt: skip
        write_json(folder / LAST, known)
    return _reopened(folder, dataset, arrays, axes, tasks, generator, seed, thresholds, codec, found)


def _looks(
    dataset: FaceDataset, arrays: NDArray[np.uint8], axes: Sequence[Axis], generator: Generator,
    held_out: Classifier, seed: int, survey_samples: int, harmonize: bool, batch_size: int,
) -> tuple[FaceReader, ImageStatsSample | None]:  # fmt: skip
    """Measure how the dataset frames faces and, where samples are to be finished, what its photographs look like."""
    pictures = synthesize(generator, sample_latents(generator, latent_seeds(seed, 0, survey_samples)), batch_size)
    framing = measure_framing(_evenly(arrays, 2000), thumbnails(pictures), common_aspect(dataset))
    image_stats = colour = None
    if harmonize:
        image_stats = dataset_image_stats(dataset, seed=seed, weights=cell_weights(dataset, axes).tolist())
        framed = to_uint8(apply_framing(pictures, framing))
        colour = match_colour(measure_image_stats([(picture, None) for picture in framed]), image_stats)
    # No soundness is known yet; the judge stands in until `fit_models` has trained it.
    return FaceReader(None, framing, getattr(generator, "ellipse", FaceEllipse()), held_out, colour), image_stats


def _steering(folder: Path) -> Classifier | None:
    return Classifier.load(folder / PROBES[0]) if (folder / PROBES[0]).exists() else None


def _environment(
    found: LearnedDirections, generator: Generator, reader: FaceReader, seed: int, batch_size: int
) -> PoseLightReader:
    """Put readings of the generator's pictures in the terms of measurements, where attributes were measured."""
    if not found.measured:
        return found.pose_light
    images = synthesize(generator, sample_latents(generator, latent_seeds(seed, 2**25, COMPARED)), batch_size)
    pictures = [unsqueezed(picture, reader.framing.aspect) for picture in to_uint8(reader.view(images))]
    return found.pose_light.in_terms_of(found.pose_light(images), found.measure(pictures))


def _summary(found: LearnedDirections, pose_light: PoseLightReader) -> dict[str, Any]:
    """Say what was found without labels, and in whose terms it reads."""
    return dict(generator=found.bundle.directions.generator, reconstruction=found.bundle.reconstruction,
                made_by=found.bundle.made_by, measured=list(found.measured), **pose_light.state())  # fmt: skip


def _reopened(
    folder: Path, dataset: FaceDataset, arrays: NDArray[np.uint8], axes: Sequence[Axis], tasks: Sequence[Task],
    generator: Generator, seed: int, thresholds: AcceptanceThresholds, codec: Codec, found: LearnedDirections | None,
) -> FittedModels:  # fmt: skip
    """Read back what `fit_models` has written: a run and its continuation work with the very same numbers."""
    known = read_json(folder / LAST, "what the run has learnt")
    held_out, drawn = Classifier.load(folder / PROBES[1]), LatentSurvey.load(folder)
    drawn.directions.check_generator(generator.sha256)
    framing = Framing.from_dict(known["framing"])
    colour = ColourMatch(**{k: tuple(v) for k, v in known["colour"].items()}) if known["colour"] else None
    reader = FaceReader(
        _steering(folder), framing, FaceEllipse(**known["ellipse"]), Classifier.load(folder / FILES[3]), colour,
        found.pose_light.with_state(known["environment"]) if found else None,
    )  # fmt: skip
    image_stats = ImageStatsSample.from_dict(known["photometry"]) if known["photometry"] else None
    return FittedModels(
        found=found, reader=reader, held_out=held_out, axes=tuple(axes), tasks=tuple(tasks),
        survey=drawn, reach=float(np.quantile(drawn.distance, thresholds.plausible)),
        real=RealFaces.from_thumbnails(held_out, arrays, cells_of(dataset, axes), seed),
        harmonizer=Harmonizer(image_stats, aspect=framing.aspect, codec=codec) if image_stats else None,
        figures=known["figures"],
    )  # fmt: skip


def _soundness(
    arrays: NDArray[np.uint8], generator: Generator, reader: FaceReader, seed: int, survey_samples: int, batch_size: int,
    device: str, progress: StageProgress,
) -> Classifier:  # fmt: skip
    """Train the network that knows melted faces, on draws of its own seeds."""
    count = int(np.clip(survey_samples // 4, 64, 2048))

    def seen(first: int, stretch: float) -> NDArray[np.uint8]:
        w = sample_latents(generator, latent_seeds(seed, 2**24 + first, count), stretch)
        return thumbnails(reader.view(synthesize(generator, w, batch_size)))

    moderate, far = seen(0, MODERATE), seen(count, FAR)
    return train_face_quality(arrays, moderate, far, seed, device, lambda done, of: progress("soundness", done, of))


def cells_of(dataset: FaceDataset, axes: Sequence[Axis]) -> NDArray[np.int64]:
    """Return the cell [N] of each picture of the dataset, -1 where a label is missing."""
    return cell_codes([axis.assign(attribute(dataset.table, axis.name)) for axis in axes], axes)


def cell_weights(dataset: FaceDataset, axes: Sequence[Axis]) -> Floats:
    """Return a weight for each picture, the inverse of its cell's count: the majority's looks are not everybody's."""
    codes = cells_of(dataset, axes)
    counts = np.bincount(codes[codes >= 0], minlength=1)
    return np.asarray(np.where(codes >= 0, 1 / np.maximum(counts[np.maximum(codes, 0)], 1), 0.0), np.float64)


def _evenly(arrays: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    return arrays[:: max(1, -(-len(arrays) // most))]
