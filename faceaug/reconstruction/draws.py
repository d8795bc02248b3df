"""What discovery draws from a generator: latents from numbered streams, pictures of any side, and white coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from faceaug.errors import FaceaugError, GeneratorError
from faceaug.files import atomic
from faceaug.generators.base import Generator

Floats = NDArray[np.float64]

SMALLEST_VARIANCE = 1e-4
"""Share of the largest variance of w below which a direction is left out: no picture shows it."""


def latents(generator: Generator, n: int, stream: Sequence[int]) -> Tensor:
    """Draw n latents w, float32 [n, D] on the generator's device; the same numbers in `stream` give the same ones."""
    z = np.random.default_rng(tuple(stream)).standard_normal((n, generator.z_dim), dtype=np.float32)
    with torch.no_grad():
        return generator.map(torch.from_numpy(z).to(generator.device))


def pictures(generator: Generator, w: Tensor, side: int) -> Tensor:
    """Draw the pictures of w [N, D] at `side` pixels: float32 [N, 3, side, side] in [-1, 1], with no graph."""
    with torch.no_grad():
        return at_side(generator.synthesize(w), side)


def at_side(images: Tensor, side: int) -> Tensor:
    """Return pictures [N, C, R, R] at `side` pixels: averaged over areas when smaller, bilinear when larger."""
    if images.shape[-1] == side:
        return images
    if images.shape[-1] > side:
        return F.interpolate(images, size=(side, side), mode="area")
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)


@dataclass(frozen=True, eq=False)
class Whitening:
    """The coordinates u = (w - mean) forward, of which each has the variance 1 and no two are correlated.

    Attributes
    ----------
    mean : float64 [D]
        Mean of w.
    forward : float64 [D, K]
        From w to u; K <= D where the covariance is deficient.
    back : float64 [K, D]
        From u to the likeliest w.
    """

    mean: Floats
    forward: Floats
    back: Floats

    @property
    def width(self) -> int:
        """Number K of white coordinates."""
        return int(self.forward.shape[1])

    def white(self, w: Tensor) -> Tensor:
        """Return u [N, K], float32 on the device of w [N, D]."""
        return (w - _like(self.mean, w)) @ _like(self.forward, w)

    def latent(self, u: Tensor) -> Tensor:
        """Return w [N, D], float32, of u [N, K]."""
        return _like(self.mean, u) + u @ _like(self.back, u)


def whitening(generator: Generator) -> Whitening:
    """Return the white coordinates of a generator's w, the direction of most variance first.

    Raises
    ------
    GeneratorError
        When the generator has no mean and covariance that can be used.
    """
    mean, covariance = (_array(getattr(generator, name, None)) for name in ("w_mean", "w_covariance"))
    d = generator.w_dim
    if mean.shape != (d,) or covariance.shape != (d, d):
        raise _unusable(generator, f"their shapes are {mean.shape} and {covariance.shape}, not ({d},) and ({d}, {d})")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise _unusable(generator, "they hold numbers that are NaN or infinite")
    variance, basis = np.linalg.eigh((covariance + covariance.T) / 2)
    variance, basis = variance[::-1], basis[:, ::-1]
    if variance[0] <= 0 or variance[-1] < -1e-6 * variance[0]:
        raise _unusable(generator, f"the variances run from {variance[-1]:.3g} to {variance[0]:.3g}")
    kept = variance > SMALLEST_VARIANCE * variance[0]
    spread, basis = np.sqrt(variance[kept]), basis[:, kept]
    # An eigenvector's sign is the library's whim: the largest coordinate is made positive.
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(basis.shape[1])])
    return Whitening(mean, basis / spread, (basis * spread).T)


def _array(value: object) -> Floats:
    return np.empty(0) if value is None else np.array(value, np.float64)


def _unusable(generator: Generator, why: str) -> GeneratorError:
    return GeneratorError(
        f"the generator {generator.name!r} has no usable mean and covariance of w ({why}): directions cannot be found "
        "without them; faceaug.generators.base.statistics estimates both from draws"
    )


@dataclass(frozen=True, eq=False)
class Pool:
    """Draws that are kept, since drawing a picture can cost as much as learning from it.

    Attributes
    ----------
    w : Tensor, float32 [N, D]
    images : Tensor, uint8 [N, 3, S, S]
        On the CPU, as `w` is.
    """

    w: Tensor
    images: Tensor

    def __len__(self) -> int:
        return len(self.w)

    @property
    def side(self) -> int:
        """Pixels S of the pictures."""
        return int(self.images.shape[-1])

    def pictures(self, rows: Tensor | slice, device: torch.device | None = None) -> Tensor:
        """Return pictures float32 [n, 3, S, S] in [-1, 1]."""
        return self.images[rows].to(device).float() / 127.5 - 1


BLOCK = 500
"""Pictures of a pool that are drawn, and kept in a file, together."""


def draw_pool(
    generator: Generator,
    n: int,
    seed: int,
    side: int = 64,
    folder: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Pool:
    """Draw a pool, or read what of it is in a folder and draw the rest.

    Parameters
    ----------
    generator, seed
        Same generator and seed, same draws; a longer pool begins like a shorter one.
    n
        Number of pictures, at least 2.
    side
        Pixels of the pictures.
    folder
        Where blocks of pictures are kept, under names that tell what they are; made if it is not there. A block that
        is missing or cannot be read is drawn again.
    progress : callable (pictures), optional
        Told after each block how many it held.
    """
    if n < 2:
        raise FaceaugError(f"{n} draws are too few to find anything: give at least 2")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    latent, images = [], []
    for block in range(-(-n // BLOCK)):
        w = latents(generator, BLOCK, (seed, 0x3D, block))
        path = folder / f"{generator.sha256[:12]}-{seed}-{side}-{block:04d}.npy" if folder is not None else None
        found = _read_block(path, side) if path is not None else None
        if found is None:
            found = pictures(generator, w, side).clamp(-1, 1).add(1).mul(127.5).round().byte().cpu().numpy()
            if path is not None:
                with atomic(path) as temporary, open(temporary, "wb") as file:
                    np.save(file, found)
        latent.append(w.cpu())
        images.append(torch.from_numpy(found))
        if progress:
            progress(min(BLOCK, n - block * BLOCK))
    return Pool(torch.cat(latent)[:n], torch.cat(images)[:n])


def _read_block(path: Path, side: int) -> NDArray[np.uint8] | None:
    try:
        block = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return block if block.shape == (BLOCK, 3, side, side) and block.dtype == np.uint8 else None


def _like(array: Floats, tensor: Tensor) -> Tensor:
    return torch.tensor(array, dtype=torch.float32, device=tensor.device)
