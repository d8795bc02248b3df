"""A survey of a generator: many draws are read, directions fitted on them, and it is noted what draws are like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.generators.base import Generator, sample_z
from faceaug.semantics.calibration import as_tensor
from faceaug.semantics.directions import Directions
from faceaug.semantics.probes import Probe
from faceaug.semantics.reading import Reader
from faceaug.semantics.regression import StreamingRegression
from faceaug.synthesis.duplicates import hashes
from faceaug.synthesis.extrapolate import distance, inverse_of, synthesize

Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
BLOCK = 64
"""Attempts and draws are computed in blocks of this many, whatever the number of workers."""
DRAWS_KEY = 2**32 - 1  # spawn key of the draws' seeds; cells use their index
NEIGHBOURS = 5
MOST_REAL = 20_000  # real faces that realism is measured against
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class RealFaces:
    """The target's faces as the judge sees them.

    Attributes
    ----------
    features : Tensor [M, F]
        Standardised, of at most `MOST_REAL` faces.
    mean, scale : float32 [F]
        How they were standardised.
    hashes : uint64 [N]
        Perceptual hashes of all faces.
    """

    features: Tensor
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    hashes: NDArray[np.uint64]

    @classmethod
    def seen_by(cls, judge: Probe, arrays: NDArray[np.uint8], seed: int, batch_size: int) -> RealFaces:
        """Read the target's pictures, uint8 [N, 64, 64, 3]."""
        rows = np.arange(len(arrays))
        if len(rows) > MOST_REAL:
            rows = np.sort(np.random.default_rng([seed, 0x52]).choice(rows, MOST_REAL, replace=False))
        parts = np.array_split(rows, max(1, len(rows) // 1024))
        features = np.concatenate([judge.read(as_tensor(arrays[part]), batch_size)[1] for part in parts])
        mean, scale = features.mean(0), np.maximum(features.std(0), 1e-6)
        pieces = np.array_split(np.arange(len(arrays)), max(1, len(arrays) // 1024))
        marks = np.concatenate([hashes(as_tensor(arrays[piece])) for piece in pieces])
        return cls(torch.from_numpy((features - mean) / scale), mean, scale, marks)

    def remoteness(self, features: NDArray[np.float32]) -> Floats:
        """Return the distance [N] of the judge's features [N, F] to their fifth-nearest real face."""
        standard = np.ascontiguousarray((features - self.mean) / self.scale, np.float32)
        distances = torch.cdist(torch.from_numpy(standard), self.features)
        nearest = distances.topk(min(NEIGHBOURS, len(self.features)), largest=False).values
        return np.asarray(nearest[:, -1].double().numpy(), np.float64)


@dataclass(frozen=True)
class Survey:
    """What draws are like.

    Attributes
    ----------
    directions : Directions
    w, read : float32 [P, D], [P, S]
        Latents of the draws and how they read, in the order of the directions' names.
    distance, remoteness : float64 [P]
        Mahalanobis distance of w, and distance of the picture to real faces in the judge's features.
    """

    directions: Directions
    w: NDArray[np.float32]
    read: NDArray[np.float32]
    distance: Floats
    remoteness: Floats


def draw(generator: Generator, seeds: Sequence[np.random.SeedSequence], truncation: float = 1.0) -> Floats:
    """Return latents w, float64 [N, D], one for each seed; truncation 1 leaves them as they are, 0 gives the mean."""
    z = np.stack([sample_z(generator.z_dim, seed) for seed in seeds])
    with torch.inference_mode():
        w = generator.map(torch.from_numpy(z).to(generator.device)).double().cpu().numpy()
    return np.asarray(generator.w_mean + truncation * (w - generator.w_mean), np.float64)


def draw_seeds(seed: int, first: int, count: int) -> list[np.random.SeedSequence]:
    """Return the seeds of `count` of the survey's draws from number `first` on."""
    return [np.random.SeedSequence(seed, spawn_key=(DRAWS_KEY, first + i)) for i in range(count)]


def in_order(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterator[T], ahead: int) -> Iterator[R]:
    """Yield work(item) for each item in order, keeping at most `ahead` under way."""
    waiting = [pool.submit(work, item) for item in islice(items, ahead)]
    while waiting:
        result = waiting.pop(0).result()
        waiting.extend(pool.submit(work, item) for item in islice(items, 1))
        yield result


def survey(
    generator: Generator,
    reader: Reader,
    judge: Probe,
    real: RealFaces,
    *,
    seed: int,
    draws: int,
    workers: int,
    batch_size: int,
    progress: Progress,
) -> Survey:
    """Read `draws` draws and fit the directions on them; every eighth block is held out for R2.

    Raises
    ------
    GeneratorError
        When the generator draws pictures that cannot be read.
    """
    d, names = generator.w_dim, reader.names
    fitted, held_out = StreamingRegression(d, len(names), ridge=1e-6), StreamingRegression(d, len(names))
    blocks = max(2, -(-draws // BLOCK))
    every = min(8, blocks)

    def look(block: int) -> tuple[Floats, Floats, Floats]:
        torch.set_num_threads(1)
        w = draw(generator, draw_seeds(seed, block * BLOCK, BLOCK))
        images = synthesize(generator, w, batch_size)
        features = judge.read(reader.view(images), batch_size)[1]
        return w, reader(images), real.remoteness(features)

    rows, values, far = [], [], []
    with ThreadPoolExecutor(workers) as pool:
        for block, (w, read, away) in enumerate(in_order(pool, look, iter(range(blocks)), 2 * workers)):
            if not np.isfinite(read).all():
                raise GeneratorError(f"the generator {generator.name!r} draws pictures that cannot be read: they hold NaN")
            (held_out if block % every == every - 1 else fitted).update(w, read)
            rows.append(w)
            values.append(read)
            far.append(away)
            progress("directions", block + 1, blocks)
    w, read = np.concatenate(rows), np.concatenate(values)
    fit = fitted.solve()
    w_mean, covariance = np.asarray(generator.w_mean, np.float64), np.asarray(generator.w_covariance, np.float64)
    directions = Directions(
        names=names, kinds=reader.kinds, units=reader.units, B=fit.B, offset=fit.c + (w_mean - fit.w_mean) @ fit.B.T,
        spread=read.std(0), r2=fit.r2(held_out), w_mean=w_mean, covariance=covariance, generator=generator.sha256,
    )  # fmt: skip
    lengths = distance(w, w_mean, inverse_of(covariance))
    return Survey(directions, w.astype(np.float32), read.astype(np.float32), lengths, np.concatenate(far))
