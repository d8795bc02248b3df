"""A survey of a generator: many generated faces are measured, and directions are fitted on them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, load_file, save
from torch import Tensor

from faceaug.appearance import scene
from faceaug.cache.arrays import cached_arrays
from faceaug.cache.key import CacheKey, array_sha256
from faceaug.classifiers.classifier import Classifier
from faceaug.errors import GeneratorError, IntegrityError
from faceaug.generators.base import Generator
from faceaug.generators.sampling import latent_seeds, sample_latents, synthesize
from faceaug.latents.directions import Directions, read_directions
from faceaug.latents.regression import LinearFit, StreamingRegression
from faceaug.synthesis.acceptance.near_duplicates import hashes
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.editing.closed_loop import distance
from faceaug.synthesis.editing.readout import FaceReader
from faceaug.utils.files import read_regular, write_bytes
from faceaug.utils.tensors import as_tensor
from faceaug.utils.threads import StageProgress, map_in_order, worker_count
from faceaug.utils.typing import Floats

SURVEY_BLOCK = 64
"""Generated faces are read in blocks of this many, whatever the number of workers."""
NEIGHBOURS = 5
ENOUGH = 30  # real faces of a cell, for quantiles of its own
MOST_REAL = 20_000  # real faces that realism is measured against
READINGS_VERSION = 1
"""Raised whenever the same pictures and classifier give other readings than before."""
DIRECTIONS_FILE, SURVEY_FILE = "directions.safetensors", "survey.safetensors"
SAVE_EVERY = 10.0
"""Seconds of work that an interruption of a survey may lose."""
_ARRAYS = ("w", "read", "distance", "remoteness", "tints")
_PART_FILE, _PART = "survey.part.safetensors", ("w", "read", "remoteness", "tints")


@dataclass(frozen=True)
class RealFaces:
    """The data set's faces in the features of the held-out classifier.

    Attributes
    ----------
    features : Tensor [M, F]
        Standardized, of at most `MOST_REAL` faces.
    mean, scale : float32 [F]
        How they were standardized.
    hashes : uint64 [N]
        Perceptual hashes of all faces.
    exposure : float64 [M, 2]
        `scene.measure_exposure` of the faces in `features`.
    tints : float64 [M, 2]
        `scene.measure_tints` of them.
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
        cls, held_out: Classifier, thumbnails: NDArray[np.uint8], cells: NDArray[np.int64], seed: int, sha256: str = ""
    ) -> RealFaces:
        """Read thumbnails, uint8 [N, 64, 64, 3]; `cells` [N] is the cell of each, -1 for none.

        What is read is cached where the classifier has a hash (`sha256`).
        """
        rows = np.arange(len(thumbnails))
        if len(rows) > MOST_REAL:
            rows = np.sort(np.random.default_rng([seed, 0x52]).choice(rows, MOST_REAL, replace=False))
        if sha256:
            pictures = array_sha256(thumbnails)
            parts = {"version": READINGS_VERSION, "pictures": pictures, "rows": array_sha256(rows), "by": sha256}
            arrays = cached_arrays(
                CacheKey("readings", parts), lambda: dict(_read_thumbnails(held_out, thumbnails, rows))
            )
        else:
            arrays = _read_thumbnails(held_out, thumbnails, rows)
        features = arrays["features"]
        mean, scale = features.mean(0), np.maximum(features.std(0), 1e-6)
        return cls(
            torch.from_numpy((features - mean) / scale),
            mean,
            scale,
            arrays["hashes"],
            arrays["exposure"],
            arrays["tints"],
            cells[rows],
        )

    def bright(self, share: float, cell: int | None = None) -> tuple[float, float]:
        """Return the luminances of the face than which a `share` of real faces is darker, and brighter.

        Of the cell's own faces, where there are enough of them.
        """
        own = self.cells == cell
        light = self.exposure[own if own.sum() >= ENOUGH else slice(None), 0]
        low, high = np.quantile(light, [share, 1 - share])
        return float(low), float(max(high, low + 1e-3))

    def misexposure(self, views: Tensor, share: float) -> Floats:
        """Return how badly images [N, 3, S, S] are exposed in comparison with real faces; up to 1 passes.

        A `share` of the real faces is darker than what counts as 1, as many are brighter, and as many have more clipped
        highlights and shadows.
        """
        low, high = self.bright(share)
        most = max(float(np.quantile(self.exposure[:, 1], 1 - share)), 0.02)
        exposure = scene.measure_exposure(views).double().numpy()
        off = np.abs(exposure[:, 0] - (low + high) / 2) / ((high - low) / 2)
        return np.asarray(np.maximum(off, exposure[:, 1] / most), np.float64)

    def discolouring(self, views: Tensor, share: float) -> Floats:
        """Return how much bluer or greener faces are than real ones; all but a `share` of these have at most 1."""
        return self.coldness(scene.measure_tints(views).double().numpy(), share)

    def coldness(self, tints: Floats, share: float) -> Floats:
        """Return how much bluer or greener than real faces those of `scene.measure_tints` [N, 2] are."""
        middle, most = np.quantile(self.tints, [0.5, 1 - share], axis=0)
        return np.asarray(((tints - middle) / np.maximum(most - middle, 0.05)).max(1), np.float64)

    def remoteness(self, features: NDArray[np.float32]) -> Floats:
        """Return the distance [N] of features [N, F] of the held-out classifier to their fifth-nearest real face."""
        standardized = np.ascontiguousarray((features - self.mean) / self.scale, np.float32)
        distances = torch.cdist(torch.from_numpy(standardized), self.features)
        nearest = distances.topk(min(NEIGHBOURS, len(self.features)), largest=False).values
        return np.asarray(nearest[:, -1].double().numpy(), np.float64)


def _read_thumbnails(
    held_out: Classifier, thumbnails: NDArray[np.uint8], rows: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Return what is read from thumbnails: hashes of all, and features, exposure and tints of some.

    Parts of fixed size are read by as many threads as there are processors, each by one.
    """

    def read_part(part: NDArray[np.int64]) -> tuple[NDArray[np.float32], Floats, Floats]:
        torch.set_num_threads(1)
        images = as_tensor(thumbnails[part])
        exposure, tints = scene.measure_exposure(images), scene.measure_tints(images)
        return held_out.read(images)[1], exposure.double().numpy(), tints.double().numpy()

    def hash_part(part: NDArray[np.int64]) -> NDArray[np.uint64]:
        torch.set_num_threads(1)
        return hashes(as_tensor(thumbnails[part]))

    everything = np.arange(len(thumbnails))
    with ThreadPoolExecutor(worker_count(None)) as pool:
        features, exposure, tints = zip(
            *pool.map(read_part, np.array_split(rows, max(1, len(rows) // 1024))), strict=True
        )
        image_hashes = list(pool.map(hash_part, np.array_split(everything, max(1, len(everything) // 1024))))
    return {
        "features": np.concatenate(features),
        "exposure": np.concatenate(exposure),
        "tints": np.concatenate(tints),
        "hashes": np.concatenate(image_hashes),
    }


@dataclass(frozen=True)
class LatentSurvey:
    """Measured latents of generated faces, and the directions that were fitted on them.

    Attributes
    ----------
    directions : Directions
        Fitted on them.
    w, read : float32 [P, D], [P, S]
        Latents, from which attempts begin, and the semantics of their faces in the order of the directions' names.
    distance, remoteness : float64 [P]
        Mahalanobis distance of w; distance of the face to real faces in the features of the held-out classifier.
    tints : float64 [P, 2]
        `scene.measure_tints` of the faces.
    """

    directions: Directions
    w: NDArray[np.float32]
    read: NDArray[np.float32]
    distance: Floats
    remoteness: Floats
    tints: Floats

    def column(self, semantic: str) -> Floats:
        """Return one semantic of all generated faces, float64 [P]."""
        return np.asarray(self.read[:, self.directions.index([semantic])[0]], np.float64)

    def range_of(self, semantic: str) -> tuple[float, float]:
        """Return the 0.5% and the 99.5% quantile of a semantic over generated faces."""
        low, high = np.quantile(self.column(semantic), [0.005, 0.995])
        return float(low), float(high)

    def save(self, folder: Path) -> None:
        """Write directions.safetensors and survey.safetensors."""
        self.directions.save(folder / DIRECTIONS_FILE)
        write_bytes(folder / SURVEY_FILE, save({name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}))

    @classmethod
    def load(cls, folder: Path) -> LatentSurvey:
        """Read what `save` wrote and remove what an interrupted `survey` has left; IntegrityError for damage."""
        (folder / _PART_FILE).unlink(missing_ok=True)
        directions = read_directions(folder / DIRECTIONS_FILE)
        try:
            stored = load_file(folder / SURVEY_FILE)
            arrays = {name: stored[name] for name in _ARRAYS}
        except (SafetensorError, OSError, KeyError) as error:
            raise IntegrityError(
                f"{folder / SURVEY_FILE} cannot be read ({error}); start again in another folder"
            ) from error
        n, (s, d) = len(arrays["w"]), directions.B.shape
        shapes = dict(zip(_ARRAYS, ((n, d), (n, s), (n,), (n,), (n, 2)), strict=True))
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise IntegrityError(
                    f"{folder / SURVEY_FILE} has {name} of shape {arrays[name].shape}, expected {shape}: it is damaged"
                )
            if not np.isfinite(arrays[name]).all():
                raise IntegrityError(f"{folder / SURVEY_FILE} has {name} that is not finite: it is damaged")
        return cls(directions, **arrays)


def survey(
    generator: Generator,
    reader: FaceReader,
    held_out: Classifier,
    real: RealFaces,
    config: RunConfig,
    progress: StageProgress,
    folder: Path | None = None,
) -> LatentSurvey:
    """Read `config.survey_samples` generated faces and fit the directions on them (docs/method.md, section 3).

    Every eighth block is held out for R². The result does not depend on the number of workers. Every `SAVE_EVERY`
    seconds what was read is written to a file of `folder`, from which a call after an interruption goes on.

    Raises
    ------
    GeneratorError
        When the generator synthesizes images that are not finite.
    """
    d, names = generator.w_dim, reader.semantics
    fitted, validation = StreamingRegression(d, len(names), ridge=1e-6), StreamingRegression(d, len(names))
    blocks = max(2, -(-config.survey_samples // SURVEY_BLOCK))
    every, workers = min(8, blocks), config.worker_threads

    def read_block(block: int) -> tuple[Floats, Floats, Floats, Floats]:
        torch.set_num_threads(1)
        w = sample_latents(generator, latent_seeds(config.seed, block * SURVEY_BLOCK, SURVEY_BLOCK))
        images = synthesize(generator, w, config.batch_size)
        views = reader.view(images)
        features = held_out.read(views)[1]
        return w, reader(images), real.remoteness(features), scene.measure_tints(views).double().numpy()

    part = folder / _PART_FILE if folder else None
    before, saved = _read_part(part) if part else [], time.monotonic()
    latents, readings, remoteness, tints = [], [], [], []
    with ThreadPoolExecutor(workers) as pool:
        following = map_in_order(pool, read_block, iter(range(len(before), blocks)), 2 * workers)
        for block, (w, read, remote, tint) in enumerate(itertools.chain(before, following)):
            if not np.isfinite(read).all():
                raise GeneratorError(
                    f"the generator {generator.name!r} synthesizes images that cannot be measured: they hold NaN"
                )
            (validation if block % every == every - 1 else fitted).update(w, read)
            latents.append(w)
            readings.append(read)
            remoteness.append(remote)
            tints.append(tint)
            progress("directions", block + 1, blocks)
            if part and time.monotonic() - saved >= SAVE_EVERY:
                _write_part(part, latents, readings, remoteness, tints)
                saved = time.monotonic()
    w, read = np.concatenate(latents), np.concatenate(readings)
    directions = _directions(generator, reader, fitted.solve(), validation, read.std(0))
    lengths = distance(w, directions.w_mean, directions.precision)
    return LatentSurvey(
        directions,
        w.astype(np.float32),
        read.astype(np.float32),
        lengths,
        np.concatenate(remoteness),
        np.concatenate(tints),
    )


def _write_part(path: Path, *columns: Sequence[NDArray[Any]]) -> None:
    """Write the blocks of w, readings, remoteness and tints that there are."""
    write_bytes(path, save({name: np.stack(blocks) for name, blocks in zip(_PART, columns, strict=True)}))


def _read_part(path: Path) -> list[tuple[Floats, Floats, Floats, Floats]]:
    """Return the blocks that an interrupted survey has written; none where the file is missing or damaged."""
    try:
        stored = load(read_regular(path))
        return list(zip(*(stored[name] for name in _PART), strict=True))
    except (OSError, SafetensorError, KeyError, ValueError):
        return []


def _directions(
    generator: Generator, reader: FaceReader, fit: LinearFit, validation: StreamingRegression, spread: Floats
) -> Directions:
    """Return the fit of the reader's semantics on w as directions about the generator's mean latent."""
    w_mean, covariance = np.asarray(generator.w_mean, np.float64), np.asarray(generator.w_covariance, np.float64)
    return Directions(
        names=reader.semantics,
        kinds=reader.kinds,
        units=reader.units,
        B=fit.B,
        offset=fit.c + (w_mean - fit.w_mean) @ fit.B.T,
        spread=spread,
        r2=fit.r2(validation),
        w_mean=w_mean,
        covariance=covariance,
        generator=generator.sha256,
    )
