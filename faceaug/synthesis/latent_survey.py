"""A survey of a generator: many draws are read, directions fitted on them, and it is noted what draws are like."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from faceaug.appearance import scene
from faceaug.classifiers.classifier import Classifier
from faceaug.errors import GeneratorError, IntegrityError
from faceaug.generators.base import Generator
from faceaug.generators.sampling import latent_seeds, sample_latents, synthesize
from faceaug.latents.directions import Directions, read_directions
from faceaug.latents.regression import StreamingRegression
from faceaug.synthesis.acceptance.near_duplicates import hashes
from faceaug.synthesis.editing.closed_loop import distance
from faceaug.synthesis.editing.readout import FaceReader
from faceaug.utils.files import atomic
from faceaug.utils.tensors import as_tensor
from faceaug.utils.threads import StageProgress, in_order
from faceaug.utils.typing import Floats

BLOCK = 64
"""Attempts and draws are computed in blocks of this many, whatever the number of workers."""
NEIGHBOURS = 5
ENOUGH = 30  # real faces of a cell, for quantiles of its own
MOST_REAL = 20_000  # real faces that realism is measured against


@dataclass(frozen=True)
class RealFaces:
    """The dataset's faces as the judge sees them.

    Attributes
    ----------
    features : Tensor [M, F]
        Standardised, of at most `MOST_REAL` faces.
    mean, scale : float32 [F]
        How they were standardised.
    hashes : uint64 [N]
        Perceptual hashes of all faces.
    exposure : float64 [M, 2]
        `scene.exposure` of the faces in `features`.
    tints : float64 [M, 2]
        `scene.tints` of them.
    cells : int64 [M]
        Their cells.
    """

    features: Tensor
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    hashes: NDArray[np.uint64]
    exposure: Floats
    tints: Floats
    cells: NDArray[np.int64]

    @classmethod
    def from_thumbnails(
        cls, held_out: Classifier, thumbnails: NDArray[np.uint8], cells: NDArray[np.int64], seed: int
    ) -> RealFaces:
        """Read the dataset's pictures, uint8 [N, 64, 64, 3]; `cells` [N] is the cell of each, -1 for none."""
        rows = np.arange(len(thumbnails))
        if len(rows) > MOST_REAL:
            rows = np.sort(np.random.default_rng([seed, 0x52]).choice(rows, MOST_REAL, replace=False))
        goals = np.array_split(rows, max(1, len(rows) // 1024))
        features = np.concatenate([held_out.read(as_tensor(thumbnails[goal]))[1] for goal in goals])
        mean, scale = features.mean(0), np.maximum(features.std(0), 1e-6)
        pieces = np.array_split(np.arange(len(thumbnails)), max(1, len(thumbnails) // 1024))
        stored_hashes = np.concatenate([hashes(as_tensor(thumbnails[piece])) for piece in pieces])
        light = np.concatenate([scene.exposure(as_tensor(thumbnails[goal])).double().numpy() for goal in goals])
        tints = np.concatenate([scene.tints(as_tensor(thumbnails[goal])).double().numpy() for goal in goals])
        return cls(torch.from_numpy((features - mean) / scale), mean, scale, stored_hashes, light, tints, cells[rows])

    def bright(self, unreachable: float, cell: int | None = None) -> tuple[float, float]:
        """Return luminances of the face that a share `unreachable` of real faces is darker or brighter than.

        Of the cell's own faces, where there are enough of them to say.
        """
        own = self.cells == cell
        light = self.exposure[own if own.sum() >= ENOUGH else slice(None), 0]
        low, high = np.quantile(light, [unreachable, 1 - unreachable])
        return float(low), float(max(high, low + 1e-3))

    def misexposure(self, views: Tensor, unreachable: float) -> Floats:
        """Return how badly pictures [N, 3, S, S] are exposed, against real faces; up to 1 is fine.

        A share `unreachable` of the real faces is darker, as many are brighter, and as many have more burnt-out or drowned
        pixels than what counts as 1: half of the luminance's range between those limits, and that share of pixels.
        """
        low, high = self.bright(unreachable)
        most = max(float(np.quantile(self.exposure[:, 1], 1 - unreachable)), 0.02)
        found = scene.exposure(views).double().numpy()
        off = np.abs(found[:, 0] - (low + high) / 2) / ((high - low) / 2)
        return np.asarray(np.maximum(off, found[:, 1] / most), np.float64)

    def discolouring(self, views: Tensor, unreachable: float) -> Floats:
        """Return how much colder the faces' colours are than real ones; up to 1 is fine, as all but `unreachable` are."""
        middle, most = np.quantile(self.tints, [0.5, 1 - unreachable], axis=0)
        found = scene.tints(views).double().numpy()
        return np.asarray(((found - middle) / np.maximum(most - middle, 0.05)).max(1), np.float64)

    def remoteness(self, features: NDArray[np.float32]) -> Floats:
        """Return the distance [N] of the judge's features [N, F] to their fifth-nearest real face."""
        required = np.ascontiguousarray((features - self.mean) / self.scale, np.float32)
        distances = torch.cdist(torch.from_numpy(required), self.features)
        nearest = distances.topk(min(NEIGHBOURS, len(self.features)), largest=False).values
        return np.asarray(nearest[:, -1].double().numpy(), np.float64)


@dataclass(frozen=True)
class LatentSurvey:
    """What draws are like.

    Attributes
    ----------
    directions : Directions
        Fitted on them.
    w, read : float32 [P, D], [P, S]
        Latents of the draws and how they read, in the order of the directions' names: where attempts begin.
    distance, remoteness : float64 [P]
        Mahalanobis distance of w; distance of the picture to real faces in the judge's features.
    """

    directions: Directions
    w: NDArray[np.float32]
    read: NDArray[np.float32]
    distance: Floats
    remoteness: Floats

    def column(self, semantic: str) -> Floats:
        """Return how all draws read in one semantic, float64 [P]."""
        return np.asarray(self.read[:, self.directions.index([semantic])[0]], np.float64)

    def range_of(self, semantic: str) -> tuple[float, float]:
        """Return the 0.5% and 99.5% quantile of a semantic over draws."""
        low, high = np.quantile(self.column(semantic), [0.005, 0.995])
        return float(low), float(high)

    def save(self, folder: Path) -> None:
        """Write directions.safetensors and survey.safetensors."""
        self.directions.save(folder / DIRECTIONS)
        with atomic(folder / DRAWS) as temporary:
            save_file({name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}, temporary)

    @classmethod
    def load(cls, folder: Path) -> LatentSurvey:
        """Read what `save` wrote; IntegrityError when it is damaged."""
        directions = read_directions(folder / DIRECTIONS)
        try:
            held = load_file(folder / DRAWS)
            thumbnails = {name: held[name] for name in _ARRAYS}
        except (SafetensorError, OSError, KeyError) as error:
            raise IntegrityError(f"{folder / DRAWS} cannot be read ({error}); start again in another folder") from error
        n, (s, d) = len(thumbnails["w"]), directions.B.shape
        shapes = dict(zip(_ARRAYS, ((n, d), (n, s), (n,), (n,)), strict=True))
        for name, shape in shapes.items():
            if thumbnails[name].shape != shape:
                found = thumbnails[name].shape
                raise IntegrityError(f"{folder / DRAWS} has {name} of shape {found}, expected {shape}: it is damaged")
            if not np.isfinite(thumbnails[name]).all():
                raise IntegrityError(f"{folder / DRAWS} has {name} that is not finite: it is damaged")
        return cls(directions, **thumbnails)


DIRECTIONS, DRAWS = "directions.safetensors", "survey.safetensors"
_ARRAYS = ("w", "read", "distance", "remoteness")


def survey(
    generator: Generator,
    reader: FaceReader,
    held_out: Classifier,
    real: RealFaces,
    *,
    seed: int,
    survey_samples: int,
    workers: int,
    batch_size: int,
    progress: StageProgress,
) -> LatentSurvey:
    """Read `survey_samples` draws and fit the directions on them; every eighth block is held out for R2.

    Raises
    ------
    GeneratorError
        When the generator draws pictures that cannot be read.
    """
    d, names = generator.w_dim, reader.semantics
    fitted, held_out = StreamingRegression(d, len(names), ridge=1e-6), StreamingRegression(d, len(names))
    blocks = max(2, -(-survey_samples // BLOCK))
    every = min(8, blocks)

    def look(block: int) -> tuple[Floats, Floats, Floats]:
        torch.set_num_threads(1)
        w = sample_latents(generator, latent_seeds(seed, block * BLOCK, BLOCK))
        images = synthesize(generator, w, batch_size)
        views = reader.view(images)
        features = held_out.read(views)[1]
        return w, reader(images), real.remoteness(features)

    rows, values, far = [], [], []
    with ThreadPoolExecutor(workers) as pool:
        for block, (w, read, away) in enumerate(in_order(pool, look, iter(range(blocks)), 2 * workers)):
            if not np.isfinite(read).all():
                raise GeneratorError(
                    f"the generator {generator.name!r} draws pictures that cannot be read: they hold NaN"
                )
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
    lengths = distance(w, w_mean, directions.precision)
    return LatentSurvey(directions, w.astype(np.float32), read.astype(np.float32), lengths, np.concatenate(far))
