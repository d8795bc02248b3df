"""Everything that has to be known before the first sample: framing, probes, directions, and what draws are like."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from faceaug.axes import Axis, attribute, cell_codes
from faceaug.errors import IntegrityError
from faceaug.files import atomic, read_json, write_json
from faceaug.finishing import ColourMatch, Finisher, match_colour
from faceaug.framing import Framing, apply_framing, measure_framing
from faceaug.generators.base import Generator
from faceaug.images import Codec, ImageInfo
from faceaug.photometry import Photometry, measure_photometry, target_photometry
from faceaug.semantics.directions import Directions, read_directions
from faceaug.semantics.learning import learn, tasks_of
from faceaug.semantics.probes import Probe, Task
from faceaug.semantics.reading import Reader
from faceaug.semantics.scene import FaceEllipse
from faceaug.synthesis.extrapolate import synthesize
from faceaug.synthesis.gates import Limits
from faceaug.synthesis.survey import Progress, RealFaces, draw, draw_seeds, survey
from faceaug.targets.table import Target

Floats = NDArray[np.float64]
FRAMING_DRAWS = 1024
FILES = ("steering.safetensors", "judge.safetensors", "directions.safetensors", "survey.safetensors", "guide.json")
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
    directions : Directions
        Of everything that the reader reads.
    axes, tasks
        The plan's axes, and a task for each, followed by tasks of attributes that are only kept.
    w, read : float32 [P, D], [P, S]
        Draws that directions were fitted on, and how they read: where attempts begin.
    ranges : dict
        Semantic -> (0.5%, 99.5%) quantile over draws.
    reach : float
        Mahalanobis distance that the stated quantile of draws stays within.
    near : float
        Distance to real faces in feature space that the stated quantile of draws stays within.
    real : RealFaces
    finisher : Finisher or None
        Gives accepted faces the target's size and look; None leaves them raw.
    figures : dict
        What was measured on the way, as JSON values.
    """

    reader: Reader
    judge: Probe
    directions: Directions
    axes: tuple[Axis, ...]
    tasks: tuple[Task, ...]
    w: NDArray[np.float32]
    read: NDArray[np.float32]
    ranges: dict[str, tuple[float, float]]
    reach: float
    near: float
    real: RealFaces
    finisher: Finisher | None
    figures: dict[str, Any]

    def kept(self) -> tuple[str, ...]:
        """Names of the semantics of attributes that are kept and not asked for."""
        return tuple(name for task in self.tasks[len(self.axes) :] for name in task.semantics)


def prepare(
    target: Target,
    arrays: NDArray[np.uint8],
    infos: Sequence[ImageInfo],
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
    arrays, infos : uint8 [N, 64, 64, 3], N ImageInfo
        The target's pictures, squeezed into squares, and what their files say.
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
    if not (folder / FILES[-1]).exists():
        clock = [time.perf_counter()]
        learnt = learn(arrays, tasks, labels, seed=seed, device=device, progress=lambda d, n: progress("probes", d, n))
        clock.append(time.perf_counter())
        reader, photometry = _looks(
            target, arrays, infos, axes, generator, learnt.steering, seed, min(draws, FRAMING_DRAWS), finish, batch_size
        )
        clock.append(time.perf_counter())
        real = RealFaces.seen_by(learnt.judge, arrays, seed, batch_size)
        found = survey(
            generator, reader, learnt.judge, real, seed=seed, draws=draws, workers=workers, batch_size=batch_size,
            progress=progress,
        )  # fmt: skip
        clock.append(time.perf_counter())
        stages = ("probes", "framing and photometry", "directions")
        figures = dict(
            probes=learnt.figures, framing=reader.framing.to_dict(), draws=len(found.w),
            photometry=photometry.summary() if photometry else None,
            r2=dict(zip(reader.names, np.round(found.directions.r2, 4).tolist(), strict=True)),
            seconds=dict(zip(stages, np.round(np.diff(clock), 2).tolist(), strict=True)),
        )  # fmt: skip
        for probe, name in ((learnt.steering, FILES[0]), (learnt.judge, FILES[1])):
            probe.save(folder / name)
        found.directions.save(folder / FILES[2])
        with atomic(folder / FILES[3]) as temporary:
            save_file({"w": found.w, "read": found.read}, temporary)
        low, high = np.quantile(found.read, [0.005, 0.995], axis=0)
        known = dict(
            framing=reader.framing.to_dict(), ellipse=asdict(reader.ellipse),
            colour=asdict(reader.colour) if reader.colour else None,
            photometry=photometry.to_dict() if photometry else None,
            ranges={n: (float(a), float(b)) for n, a, b in zip(reader.names, low, high, strict=True)},
            reach=float(np.quantile(found.distance, limits.plausible)),
            near=float(np.quantile(found.remoteness, limits.realistic)), figures=figures,
        )  # fmt: skip
        write_json(folder / FILES[-1], known)
    return _reopened(folder, arrays, axes, tasks, generator, seed, codec, batch_size)


def _looks(
    target: Target, arrays: NDArray[np.uint8], infos: Sequence[ImageInfo], axes: Sequence[Axis], generator: Generator,
    steering: Probe, seed: int, draws: int, finish: bool, batch_size: int,
) -> tuple[Reader, Photometry | None]:  # fmt: skip
    """Measure how the target frames faces and, where samples are to be finished, what its photographs look like."""
    pictures = synthesize(generator, draw(generator, draw_seeds(seed, 0, draws)), batch_size)
    aspect = float(np.median([info.width / info.height for info in infos]))
    framing = measure_framing(_evenly(arrays, 2000), thumbnails(pictures), aspect)
    photometry = colour = None
    if finish:
        photometry = target_photometry(target, seed=seed, weights=cell_weights(target, axes).tolist())
        framed = to_uint8(apply_framing(pictures, framing))
        colour = match_colour(measure_photometry([(picture, None) for picture in framed]), photometry)
    return Reader(steering, framing, getattr(generator, "ellipse", FaceEllipse()), colour), photometry


def _reopened(
    folder: Path, arrays: NDArray[np.uint8], axes: Sequence[Axis], tasks: Sequence[Task], generator: Generator,
    seed: int, codec: Codec, batch_size: int,
) -> Guide:  # fmt: skip
    """Read back what `prepare` has written: a run and its continuation work with the very same numbers."""
    known = read_json(folder / FILES[-1], "what the run has learnt")
    judge, directions = Probe.load(folder / FILES[1]), read_directions(folder / FILES[2])
    directions.check_generator(generator.sha256)
    framing = Framing.from_dict(known["framing"])
    colour = ColourMatch(**{k: tuple(v) for k, v in known["colour"].items()}) if known["colour"] else None
    reader = Reader(Probe.load(folder / FILES[0]), framing, FaceEllipse(**known["ellipse"]), colour)
    photometry = Photometry.from_dict(known["photometry"]) if known["photometry"] else None
    w, read = _read_survey(folder / FILES[3], generator.w_dim, len(reader.names))
    return Guide(
        reader=reader, judge=judge, directions=directions, axes=tuple(axes), tasks=tuple(tasks), w=w, read=read,
        ranges={k: (v[0], v[1]) for k, v in known["ranges"].items()}, reach=known["reach"], near=known["near"],
        real=RealFaces.seen_by(judge, arrays, seed, batch_size),
        finisher=Finisher(photometry, aspect=framing.aspect, codec=codec) if photometry else None,
        figures=known["figures"],
    )  # fmt: skip


def _read_survey(path: Path, d: int, s: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    try:
        held = load_file(path)
        w, read = held["w"], held["read"]
    except (SafetensorError, OSError, KeyError) as error:
        raise IntegrityError(f"{path} cannot be read ({error}); start again in another folder") from error
    if w.shape[1:] != (d,) or read.shape != (len(w), s):
        raise IntegrityError(f"{path} holds arrays {w.shape} and {read.shape}, expected [N, {d}] and [N, {s}]")
    return w, read


def cell_weights(target: Target, axes: Sequence[Axis]) -> Floats:
    """Return a weight for each picture, the inverse of its cell's count: the majority's looks are not everybody's."""
    codes = cell_codes([axis.assign(attribute(target.table, axis.name)) for axis in axes], axes)
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
