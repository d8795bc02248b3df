"""Everything that has to be known before the first sample: framing, probes, directions, and what draws are like."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.axes import Axis, attribute, cell_codes
from faceaug.files import read_json, write_json
from faceaug.finishing import ColourMatch, Finisher, match_colour
from faceaug.framing import Framing, apply_framing, measure_framing
from faceaug.generators.base import Generator
from faceaug.images import Codec
from faceaug.photometry import Photometry, measure_photometry, target_photometry
from faceaug.semantics.directions import Directions
from faceaug.semantics.learning import learn, tasks_of
from faceaug.semantics.probes import Probe, Task
from faceaug.semantics.reading import Reader
from faceaug.semantics.scene import FaceEllipse
from faceaug.semantics.soundness import FAR, MODERATE, train_soundness
from faceaug.synthesis.extrapolate import synthesize
from faceaug.synthesis.gates import Limits
from faceaug.synthesis.survey import DIRECTIONS, DRAWS, Progress, RealFaces, Survey, draw, draw_seeds, survey
from faceaug.targets.arrays import common_aspect
from faceaug.targets.table import Target

Floats = NDArray[np.float64]
FRAMING_DRAWS = 1024
PROBES = ("steering.safetensors", "judge.safetensors", "probes.json")
LAST = "guide.json"
FILES = (*PROBES, "soundness.safetensors", DIRECTIONS, DRAWS, LAST)
"""What `prepare` leaves in its folder; guide.json comes last and says that the others are whole."""


@dataclass(frozen=True)
class Guide:
    """What steers and judges a run.

    Attributes
    ----------
    reader : Reader
        The steering probe with the framing, the overall colour and the scene.
    judge : Probe
        Trained apart from the steering probe.
    axes, tasks
        The plan's axes, and a task for each, followed by tasks of attributes that are only kept.
    survey : Survey
        What draws are like, with the directions.
    reach : float
        Mahalanobis distance that the stated quantile of draws stays within.
    real : RealFaces
    finisher : Finisher or None
        Gives accepted faces the target's size and look; None leaves them raw.
    figures : dict
        What was measured on the way, as JSON values.
    """

    reader: Reader
    judge: Probe
    axes: tuple[Axis, ...]
    tasks: tuple[Task, ...]
    survey: Survey
    reach: float
    real: RealFaces
    finisher: Finisher | None
    figures: dict[str, Any]

    @property
    def directions(self) -> Directions:
        """Of everything that the reader reads."""
        return self.survey.directions

    def kept(self) -> tuple[str, ...]:
        """Names of the semantics of attributes that are kept and not asked for."""
        return tuple(name for task in self.tasks[len(self.axes) :] for name in task.semantics)


def prepare(
    target: Target,
    arrays: NDArray[np.uint8],
    axes: Sequence[Axis],
    generator: Generator,
    folder: Path,
    *,
    seed: int,
    keep: Sequence[Axis],
    draws: int,
    limits: Limits,
    finish: bool,
    codec: Codec,
    workers: int,
    batch_size: int,
    device: str,
    progress: Progress,
) -> Guide:
    """Learn everything that a run needs, or read what an interrupted run has learnt already in `folder`.

    Parameters
    ----------
    arrays : uint8 [N, 64, 64, 3]
        The target's pictures, squeezed into squares.
    axes, keep : sequences of Axis
        Attributes to steer, and attributes only to be kept.
    draws : int
        Generated samples that directions are fitted on.
    codec : Codec
        Of the samples to be written.
    folder : Path
        Where probes and directions are kept (`FILES`).
    """
    tasks, labels = tasks_of(target.table, [*axes, *keep])
    if not (folder / LAST).exists():
        clock = [time.perf_counter()]
        if not (folder / PROBES[-1]).exists():
            learnt = learn(
                arrays, tasks, labels, seed=seed, device=device, progress=lambda d, n: progress("probes", d, n)
            )
            learnt.steering.save(folder / PROBES[0])
            learnt.judge.save(folder / PROBES[1])
            write_json(folder / PROBES[2], learnt.figures)
        steering, judge = Probe.load(folder / PROBES[0]), Probe.load(folder / PROBES[1])
        clock.append(time.perf_counter())
        reader, photometry = _looks(
            target, arrays, axes, generator, steering, seed, min(draws, FRAMING_DRAWS), finish, batch_size
        )
        clock.append(time.perf_counter())
        cells = cells_of(target, axes)
        real = RealFaces.seen_by(judge, arrays, cells, seed)
        reader = replace(
            reader, soundness=_soundness(arrays, generator, reader, seed, draws, batch_size, device, progress)
        )
        clock.append(time.perf_counter())
        found = survey(
            generator, reader, judge, real, seed=seed, draws=draws, workers=workers, batch_size=batch_size,
            progress=progress,
        )  # fmt: skip
        clock.append(time.perf_counter())
        stages = ("probes", "framing and photometry", "soundness", "directions")
        figures = dict(
            probes=read_json(folder / PROBES[2], "the probes' figures"), framing=reader.framing.to_dict(),
            draws=len(found.w), photometry=photometry.summary() if photometry else None,
            r2=dict(zip(reader.names, np.round(found.directions.r2, 4).tolist(), strict=True)),
            seconds=dict(zip(stages, np.round(np.diff(clock), 2).tolist(), strict=True)),
        )  # fmt: skip
        reader.soundness.save(folder / FILES[3])
        found.save(folder)
        known = dict(
            framing=reader.framing.to_dict(), ellipse=asdict(reader.ellipse),
            colour=asdict(reader.colour) if reader.colour else None,
            photometry=photometry.to_dict() if photometry else None, figures=figures,
        )  # fmt: skip
        write_json(folder / LAST, known)
    return _reopened(folder, target, arrays, axes, tasks, generator, seed, limits, codec)


def _looks(
    target: Target, arrays: NDArray[np.uint8], axes: Sequence[Axis], generator: Generator,
    steering: Probe, seed: int, draws: int, finish: bool, batch_size: int,
) -> tuple[Reader, Photometry | None]:  # fmt: skip
    """Measure how the target frames faces and, where samples are to be finished, what its photographs look like."""
    pictures = synthesize(generator, draw(generator, draw_seeds(seed, 0, draws)), batch_size)
    framing = measure_framing(_evenly(arrays, 2000), thumbnails(pictures), common_aspect(target))
    photometry = colour = None
    if finish:
        photometry = target_photometry(target, seed=seed, weights=cell_weights(target, axes).tolist())
        framed = to_uint8(apply_framing(pictures, framing))
        colour = match_colour(measure_photometry([(picture, None) for picture in framed]), photometry)
    # No soundness is known yet; the steering probe stands in until `prepare` has trained it.
    return Reader(steering, framing, getattr(generator, "ellipse", FaceEllipse()), steering, colour), photometry


def _reopened(
    folder: Path, target: Target, arrays: NDArray[np.uint8], axes: Sequence[Axis], tasks: Sequence[Task],
    generator: Generator, seed: int, limits: Limits, codec: Codec,
) -> Guide:  # fmt: skip
    """Read back what `prepare` has written: a run and its continuation work with the very same numbers."""
    known = read_json(folder / LAST, "what the run has learnt")
    judge, found = Probe.load(folder / PROBES[1]), Survey.load(folder)
    found.directions.check_generator(generator.sha256)
    framing = Framing.from_dict(known["framing"])
    colour = ColourMatch(**{k: tuple(v) for k, v in known["colour"].items()}) if known["colour"] else None
    reader = Reader(
        Probe.load(folder / PROBES[0]), framing, FaceEllipse(**known["ellipse"]), Probe.load(folder / FILES[3]), colour
    )
    photometry = Photometry.from_dict(known["photometry"]) if known["photometry"] else None
    return Guide(
        reader=reader, judge=judge, axes=tuple(axes), tasks=tuple(tasks),
        survey=found, reach=float(np.quantile(found.distance, limits.plausible)),
        real=RealFaces.seen_by(judge, arrays, cells_of(target, axes), seed),
        finisher=Finisher(photometry, aspect=framing.aspect, codec=codec) if photometry else None,
        figures=known["figures"],
    )  # fmt: skip


def _soundness(
    arrays: NDArray[np.uint8], generator: Generator, reader: Reader, seed: int, draws: int, batch_size: int,
    device: str, progress: Progress,
) -> Probe:  # fmt: skip
    """Train the network that knows melted faces, on draws of its own seeds."""
    count = int(np.clip(draws // 4, 64, 2048))

    def seen(first: int, stretch: float) -> NDArray[np.uint8]:
        w = draw(generator, draw_seeds(seed, 2**24 + first, count), stretch)
        return thumbnails(reader.view(synthesize(generator, w, batch_size)))

    moderate, far = seen(0, MODERATE), seen(count, FAR)
    return train_soundness(arrays, moderate, far, seed, device, lambda done, of: progress("soundness", done, of))


def cells_of(target: Target, axes: Sequence[Axis]) -> NDArray[np.int64]:
    """Return the cell [N] of each picture of the target, -1 where a label is missing."""
    return cell_codes([axis.assign(attribute(target.table, axis.name)) for axis in axes], axes)


def cell_weights(target: Target, axes: Sequence[Axis]) -> Floats:
    """Return a weight for each picture, the inverse of its cell's count: the majority's looks are not everybody's."""
    codes = cells_of(target, axes)
    counts = np.bincount(codes[codes >= 0], minlength=1)
    return np.asarray(np.where(codes >= 0, 1 / np.maximum(counts[np.maximum(codes, 0)], 1), 0.0), np.float64)


def _evenly(arrays: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    return arrays[:: max(1, -(-len(arrays) // most))]


def thumbnails(images: Tensor, side: int = 64) -> NDArray[np.uint8]:
    """Return pictures [N, 3, R, R] in [-1, 1] as uint8 [N, side, side, 3]."""
    if images.shape[-1] != side:
        images = torch.nn.functional.interpolate(
            images, size=(side, side), mode="bilinear", antialias=True, align_corners=False
        )
    return to_uint8(images)


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Return pictures [N, 3, H, W] in [-1, 1] as uint8 [N, H, W, 3]."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
