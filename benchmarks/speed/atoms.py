"""Localized atoms beside scikit-learn's MiniBatchSparsePCA, which is given the iterations that it needs to be as good.

Both decompose the change of a generator's images with its whitened latents, X [N, D], into sparse maps S [N, K] and
readings A [D, K] of length 1. As good means that the objective of sparse PCA, |X - S A^T|^2 / 2 + alpha |S|_1, is no
larger than that of the atoms, whose own objective is another one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import MiniBatchSparsePCA

from benchmarks.speed.protocol import OURS, Case, Size, Work
from faceaug.generators.base import sample_z
from faceaug.generators.registry import load_generator
from faceaug.latents.localization import AtomConfig, localize
from faceaug.latents.regression import StreamingRegression
from faceaug.utils.typing import Floats

TITLE = "sparse decomposition of the change of images"
AIM = 5.0
ATOMS, SAMPLES = {"full": 48, "tiny": 4}, {"full": 4096, "tiny": 128}
SIDE = {"full": 64, "tiny": 16}
ALPHA, ITERATIONS = 0.5, (1, 2, 4, 8, 16, 32, 64)


def cases(size: Size, folder: Path) -> Iterator[Case]:
    """Yield the one case."""
    count, white = ATOMS[size], _white_slopes(SAMPLES[size], SIDE[size])
    rows = white[:, :, white.shape[2] // 2 :].reshape(-1, white.shape[3])  # the left half is the mirror image
    rows = rows / np.sqrt((rows**2).mean())
    ours = _objective(rows, *_localized(white, count))
    tried = {number: _objective(rows, *_sparse_pca(rows, count, number)) for number in _needed(rows, count, ours)}
    number, theirs = list(tried.items())[-1]

    def agree() -> str:
        return f"objective of sparse PCA {theirs:.4g} after {number} iterations, {ours:.4g} of the atoms"

    works: dict[str, Work] = {
        OURS: lambda: _localized(white, count),
        f"scikit-learn MiniBatchSparsePCA, {number} iterations": lambda: _sparse_pca(rows, count, number),
    }
    name = f"{count} atoms of {len(rows):,} values on {rows.shape[1]} latents"
    yield Case(name, "decompositions", 1, works, agree, aim=AIM, rounds=3)


def _needed(rows: Floats, count: int, ours: float) -> Iterator[int]:
    """Yield numbers of iterations until one is as good as the atoms."""
    for number in ITERATIONS:
        yield number
        if _objective(rows, *_sparse_pca(rows, count, number)) <= ours:
            return


def _white_slopes(samples: int, side: int) -> Floats:
    """Return the mirror-even change [3, S, S, D] of the embedded generator's images with whitened latents."""
    generator = load_generator("embedded")
    sums = StreamingRegression(generator.w_dim, 3 * side * side)
    for start in range(0, samples, 256):
        z = np.stack([sample_z(generator.z_dim, (0, k)) for k in range(start, min(start + 256, samples))])
        with torch.inference_mode():
            w = generator.map(torch.from_numpy(z))
            images = torch.nn.functional.adaptive_avg_pool2d(generator.synthesize(w), side)
        sums.update(w.numpy(), images.flatten(1).numpy())
    slopes = sums.solve().B.reshape(3, side, side, -1)
    scale, basis = np.linalg.eigh(generator.w_covariance)
    white = slopes @ ((basis * np.sqrt(np.maximum(scale, 0))) @ basis.T)
    return np.asarray((white + white[:, :, ::-1]) / 2, np.float64)


def _localized(white: Floats, count: int) -> tuple[Floats, Floats]:
    """Return the maps of the right half [N, K], in the units of X, and the readings [D, K] of atoms."""
    config = AtomConfig(count=count, groups=((0, 1, 2),))
    atoms = localize(white, np.eye(white.shape[3]), config=config)
    half = atoms.maps[..., white.shape[2] // 2 :].reshape(len(atoms.maps), -1).T
    right = white[:, :, white.shape[2] // 2 :]
    return half / np.sqrt((right**2).mean()), atoms.reading


def _sparse_pca(rows: Floats, count: int, iterations: int) -> tuple[Floats, Floats]:
    """Return maps and readings of sparse PCA, whose samples are the latents and whose features are the pixels."""
    model = MiniBatchSparsePCA(
        count, alpha=ALPHA, max_iter=iterations, batch_size=25, method="cd", tol=0, max_no_improvement=None,
        random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lassos that stop before they have converged
        maps = model.fit(rows.T).components_.T
    used = (maps**2).sum(0) > 0
    return maps[:, used], np.asarray(np.linalg.pinv(maps[:, used]) @ rows).T


def _objective(rows: Floats, maps: Floats, reading: Floats) -> float:
    """Return |X - S A^T|^2 / 2 + alpha |S|_1 with readings of length 1."""
    length = np.linalg.norm(reading, axis=0)
    maps, reading = maps * length, reading / length
    return float(((rows - maps @ reading.T) ** 2).sum() / 2 + ALPHA * np.abs(maps).sum())
