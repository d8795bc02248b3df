"""Everything that has to be known before the first sample: framing, probes, directions, and what draws are like."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.axes import Axis, attribute, cell_codes
from faceaug.errors import GeneratorError
from faceaug.files import read_json, write_json
from faceaug.finishing import ColourMatch, Finisher, match_colour
from faceaug.framing import Framing, apply_framing, measure_framing
from faceaug.generators.base import Generator, sample_z
from faceaug.photometry import Photometry, measure_photometry, target_photometry
from faceaug.semantics.calibration import as_tensor
from faceaug.semantics.directions import Directions, read_directions
from faceaug.semantics.learning import learn, tasks_of
from faceaug.semantics.probes import Probe, Task
from faceaug.semantics.reading import Reader
from faceaug.semantics.regression import StreamingRegression
from faceaug.semantics.scene import FaceEllipse
from faceaug.synthesis.duplicates import hashes
from faceaug.synthesis.extrapolate import distance, inverse_of, synthesize
from faceaug.synthesis.gates import Limits
from faceaug.targets.table import Target

Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
BLOCK = 64
"""Attempts and draws are computed in blocks of this many, whatever the number of workers."""
DRAWS_KEY = 2**32 - 1  # spawn key of the draws' seeds; cells use their index
NEIGHBOURS = 5
MOST_REAL = 20_000  # real faces that realism is measured against
FRAMING_DRAWS = 1024
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Guide:
    """What steers and judges a run.

    Attributes
    ----------
    reader : Reader
        The steering probe with the framing and the scene.
    judge : Probe
        Trained apart from the steering probe.
    directions : Directions
        Of everything that the reader reads.
    axes, tasks
        The plan's axes, and a task for each, followed by tasks of attributes that are only kept.
    ranges : dict
        Semantic -> (0.5%, 99.5%) quantile over draws.
    reach : float
        Mahalanobis distance that the stated quantile of draws stays within.
    near : float
        Distance to real faces in feature space that the stated quantile of draws stays within.
    real_features, feature_mean, feature_scale
        Standardised features [M, F] of real faces as the judge sees them, and how they were standardised.
    real_hashes : uint64 [N]
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
    ranges: dict[str, tuple[float, float]]
    reach: float
    near: float
    real_features: Tensor
    feature_mean: NDArray[np.float32]
    feature_scale: NDArray[np.float32]
    real_hashes: NDArray[np.uint64]
    finisher: Finisher | None
    figures: dict[str, Any] = field(default_factory=dict)

    def kept(self) -> tuple[str, ...]:
        """Names of the semantics of attributes that are kept and not asked for."""
        return tuple(name for task in self.tasks[len(self.axes) :] for name in task.semantics)

    def remoteness(self, features: NDArray[np.float32]) -> Floats:
        """Return the distance [N] to the fifth-nearest real face in the judge's features [N, F]."""
        return remoteness((features - self.feature_mean) / self.feature_scale, self.real_features)


def remoteness(features: NDArray[np.float32], real: Tensor) -> Floats:
    """Return the distance [N] of standardised features [N, F] to their fifth-nearest among `real` [M, F]."""
    distances = torch.cdist(torch.from_numpy(np.ascontiguousarray(features, np.float32)), real)
    return distances.topk(min(NEIGHBOURS, len(real)), largest=False).values[:, -1].double().numpy()


def in_order(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterator[T], ahead: int) -> Iterator[R]:
    """Yield work(item) for each item in order, keeping at most `ahead` under way."""
    waiting = [pool.submit(work, item) for item in islice(items, ahead)]
    while waiting:
        result = waiting.pop(0).result()
        waiting.extend(pool.submit(work, item) for item in islice(items, 1))
        yield result


def draw(generator: Generator, seeds: Sequence[np.random.SeedSequence], truncation: float) -> Floats:
    """Return latents w, float64 [N, D], one for each seed; truncation 1 leaves them as they are, 0 gives the mean."""
    z = np.stack([sample_z(generator.z_dim, seed) for seed in seeds])
    with torch.inference_mode():
        w = generator.map(torch.from_numpy(z).to(generator.device)).double().cpu().numpy()
    return np.asarray(generator.w_mean + truncation * (w - generator.w_mean))


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
    truncation: float,
    limits: Limits,
    finish: bool,
    workers: int,
    batch_size: int,
    device: str,
    progress: Progress,
) -> Guide:
    """Learn everything that a run needs, or read what an interrupted run has learnt already in `folder`.

    Parameters
    ----------
    arrays : uint8 [N, 64, 64, 3]
        The target's pictures.
    axes, keep : sequences of Axis
        Attributes to steer, and attributes only to be kept.
    draws : int
        Generated samples that directions are fitted on; an eighth of them is held out for R2.
    folder : Path
        Where probes and directions are kept.
    """
    start = time.perf_counter()
    tasks, labels = tasks_of(target.table, [*axes, *keep])
    timings: dict[str, float] = {}

    def lap(stage: str) -> None:
        nonlocal start
        timings[stage], start = round(time.perf_counter() - start, 2), time.perf_counter()

    learnt_file = folder / "guide.json"
    if learnt_file.exists():
        known = read_json(learnt_file, "what the interrupted run has learnt")
        steering, judge = Probe.load(folder / "steering.safetensors"), Probe.load(folder / "judge.safetensors")
        directions = read_directions(folder / "directions.safetensors")
        directions.check_generator(generator.sha256)
        framing, near, reach = Framing.from_dict(known["framing"]), known["near"], known["reach"]
        ranges, figures = {k: (v[0], v[1]) for k, v in known["ranges"].items()}, known["figures"]
        colour = ColourMatch(**{k: tuple(v) for k, v in known["colour"].items()}) if known["colour"] else None
        reader = Reader(steering, framing, FaceEllipse(**known["ellipse"]), colour)
        photometry = Photometry.from_dict(known["photometry"]) if known["photometry"] else None
        real, mean, scale, real_hashes = _real(arrays, judge, seed, batch_size)
    else:
        learnt = learn(arrays, tasks, labels, seed=seed, device=device, progress=lambda d, n: progress("probes", d, n))
        lap("probes")
        ellipse = getattr(generator, "ellipse", FaceEllipse())
        few = [np.random.SeedSequence(seed, spawn_key=(DRAWS_KEY, i)) for i in range(min(FRAMING_DRAWS, draws))]
        pictures = synthesize(generator, draw(generator, few, truncation), batch_size)
        framing = measure_framing(_evenly(arrays, 2000), thumbnails(pictures))
        photometry = target_photometry(target, seed=seed, weights=cell_weights(target, axes)) if finish else None
        colour = None
        if photometry is not None:
            framed = to_uint8(apply_framing(pictures, framing))
            colour = match_colour(measure_photometry([(picture, None) for picture in framed]), photometry)
        reader, judge = Reader(learnt.steering, framing, ellipse, colour), learnt.judge
        real, mean, scale, real_hashes = _real(arrays, judge, seed, batch_size)
        lap("framing and photometry")
        directions, survey = _survey(
            generator, reader, judge, (mean, scale, real), seed, draws, truncation, workers, batch_size, progress
        )
        lap("directions")
        ranges = {n: (float(a), float(b)) for n, a, b in zip(reader.names, *survey["ranges"], strict=True)}
        reach = float(np.quantile(survey["distance"], limits.plausible))
        near = float(np.quantile(survey["remoteness"], limits.realistic))
        figures = dict(
            probes=learnt.figures, framing=framing.to_dict(), draws=draws, colour=asdict(colour) if colour else None,
            photometry=photometry.summary() if photometry else None,
            r2=dict(zip(directions.names, np.round(directions.r2, 4).tolist(), strict=True)), seconds=timings,
        )  # fmt: skip
        learnt.steering.save(folder / "steering.safetensors")
        judge.save(folder / "judge.safetensors")
        directions.save(folder / "directions.safetensors")
        known = dict(
            framing=framing.to_dict(), near=near, reach=reach, ranges=ranges, figures=figures, ellipse=asdict(ellipse),
            colour=asdict(colour) if colour else None, photometry=photometry.to_dict() if photometry else None,
        )  # fmt: skip
        write_json(learnt_file, known)
    finisher = Finisher(photometry, aspect=framing.aspect) if photometry else None
    return Guide(
        reader,
        judge,
        directions,
        tuple(axes),
        tasks,
        ranges,
        reach,
        near,
        real,
        mean,
        scale,
        real_hashes,
        finisher,
        figures,
    )


def cell_weights(target: Target, axes: Sequence[Axis]) -> Floats:
    """Return a weight for each picture, the inverse of its cell's count: the majority's looks are not everybody's."""
    codes = cell_codes([axis.assign(attribute(target.table, axis.name)) for axis in axes], axes)
    counts = np.bincount(codes[codes >= 0], minlength=1)
    return np.asarray(np.where(codes >= 0, 1 / np.maximum(counts[np.maximum(codes, 0)], 1), 0.0), np.float64)


def _real(arrays: NDArray[np.uint8], judge: Probe, seed: int, batch_size: int) -> tuple[Any, Any, Any, Any]:
    """Return standardised features of (at most MOST_REAL) real faces, their mean and scale, and hashes of all."""
    rows = np.arange(len(arrays))
    if len(rows) > MOST_REAL:
        rows = np.sort(np.random.default_rng([seed, 0x52]).choice(rows, MOST_REAL, replace=False))
    parts = [
        judge.read(as_tensor(part), batch_size)[1] for part in np.array_split(arrays[rows], max(1, len(rows) // 1024))
    ]
    features = np.concatenate(parts)
    mean, scale = features.mean(0), np.maximum(features.std(0), 1e-6)
    split = np.array_split(arrays, max(1, len(arrays) // 1024))
    real_hashes = np.concatenate([hashes(as_tensor(part)) for part in split])
    return torch.from_numpy((features - mean) / scale), mean, scale, real_hashes


def _survey(
    generator: Generator, reader: Reader, judge: Probe, real: tuple[Any, Any, Any], seed: int, draws: int,
    truncation: float, workers: int, batch_size: int, progress: Progress,
) -> tuple[Directions, dict[str, Any]]:  # fmt: skip
    """Read many draws: fit the directions (every eighth block is held out), and note what draws are like."""
    d, names = generator.w_dim, reader.names
    fitted, held_out = StreamingRegression(d, len(names), ridge=1e-6), StreamingRegression(d, len(names))
    blocks = range(max(2, -(-draws // BLOCK)))
    mean, scale, bank = real

    def look(block: int) -> tuple[Floats, Floats, Floats]:
        torch.set_num_threads(1)
        seeds = [np.random.SeedSequence(seed, spawn_key=(DRAWS_KEY, block * BLOCK + i)) for i in range(BLOCK)]
        w = draw(generator, seeds, truncation)
        images = synthesize(generator, w, batch_size)
        features = judge.read(reader.view(images), batch_size)[1]
        return w, reader(images), remoteness((features - mean) / scale, bank)

    rows, far, values = [], [], []
    with ThreadPoolExecutor(workers) as pool:
        for block, (w, read, away) in enumerate(in_order(pool, look, iter(blocks), 2 * workers)):
            (held_out if block % 8 == 7 or (len(blocks) < 8 and block == len(blocks) - 1) else fitted).update(w, read)
            rows.append(w)
            far.append(away)
            values.append(read)
            progress("directions", block + 1, len(blocks))
    every = np.concatenate(values)
    if not np.isfinite(every).all():
        raise GeneratorError(f"the generator {generator.name!r} draws pictures that cannot be read: they hold NaN")
    fit = fitted.solve()
    # Truncation narrows the draws; plausibility is still that of the generator's own spread.
    w_mean, covariance = np.asarray(generator.w_mean, np.float64), np.asarray(generator.w_covariance, np.float64)
    offset = fit.c + (w_mean - fit.w_mean) @ fit.B.T
    directions = Directions(
        names,
        reader.kinds,
        reader.units,
        fit.B,
        offset,
        every.std(0),
        fit.r2(held_out),
        w_mean,
        covariance,
        generator.sha256,
    )
    inverse = inverse_of(covariance)
    untruncated = (np.concatenate(rows) - w_mean) / max(truncation, 1e-6) + w_mean
    return directions, dict(
        ranges=np.quantile(every, [0.005, 0.995], axis=0),
        distance=distance(untruncated, w_mean, inverse), remoteness=np.concatenate(far),
    )  # fmt: skip


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
