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
from faceaug.generators.base import CPU_TILE, GPU_TILE, Generator

Floats = NDArray[np.float64]

SMALLEST_VARIANCE = 1e-4
"""Share of the largest variance of w below which a direction is left out: no picture shows it."""


def latents(generator: Generator, n: int, stream: Sequence[int]) -> Tensor:
    """Draw n latents w, float32 [n, D] on the generator's device; the same numbers in `stream` give the same ones."""
    z = np.random.default_rng(tuple(stream)).standard_normal((n, generator.z_dim), dtype=np.float32)
    with torch.no_grad():
        return generator.map(torch.from_numpy(z).to(generator.device))


FULL_SIZE = 2**27
"""Bytes of pictures in the generator's own size that are held at a time, before they are made smaller."""


def at_once(generator: Generator) -> int:
    """Return how many pictures are drawn before they are made smaller: a power of two, so that tiles are full."""
    least = CPU_TILE if generator.device.type == "cpu" else GPU_TILE
    fitting = max(1, FULL_SIZE // (12 * generator.resolution**2))
    return max(least, 1 << (fitting.bit_length() - 1))


def pictures(generator: Generator, w: Tensor, side: int) -> Tensor:
    """Draw the pictures of w [N, D] at `side` pixels: float32 [N, 3, side, side] in [-1, 1], with no graph."""
    with torch.no_grad():
        return torch.cat([at_side(generator.synthesize(part), side) for part in torch.split(w, at_once(generator))])


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
"""Latents of a pool that come from one stream of numbers."""
LEARNT, HELD_OUT = 0x3D, 0x3E
"""Streams of a pool that is learnt from, and of one by which it is judged what was learnt."""


def draw_pool(
    generator: Generator,
    n: int,
    seed: int,
    side: int = 64,
    folder: Path | None = None,
    progress: Callable[[int], None] | None = None,
    stream: int = LEARNT,
) -> Pool:
    """Draw a pool, or read what of it is in a folder and draw the rest.

    Parameters
    ----------
    generator, seed, stream
        Same generator, seed and stream, same draws; a longer pool begins like a shorter one.
    n
        Number of pictures, at least 2.
    side
        Pixels of the pictures.
    folder
        Where parts of the pictures are kept, under names that tell what they are; made if it is not there. The larger
        the generator's pictures, the fewer are a part. One that is missing or cannot be read is drawn again.
    progress : callable (pictures), optional
        Told after each part how many it held.
    """
    if n < 2:
        raise FaceaugError(f"{n} draws are too few to find anything: give at least 2")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    latent, images = torch.empty(n, generator.w_dim), torch.empty(n, 3, side, side, dtype=torch.uint8)
    size = min(BLOCK, at_once(generator))
    for start in range(0, n, BLOCK):
        w = latents(generator, BLOCK, (seed, stream, start // BLOCK))[: n - start]
        latent[start : start + BLOCK] = w.cpu()
        for first, part in zip(range(start, n, size), torch.split(w, size), strict=False):
            name = f"{generator.sha256[:12]}-{seed}-{stream:x}-{side}-{first:06d}-{len(part)}.npy"
            images[first : first + len(part)] = _part(generator, part, side, folder and folder / name)
            if progress:
                progress(len(part))
    return Pool(latent, images)


def _part(generator: Generator, w: Tensor, side: int, path: Path | None) -> Tensor:
    """Return the pictures of w, uint8 [N, 3, side, side], read back from `path` or drawn and kept there."""
    found = _read_part(path, (len(w), 3, side, side)) if path is not None else None
    if found is None:
        found = as_bytes(pictures(generator, w, side)).numpy()
        if path is not None:
            with atomic(path) as temporary, open(temporary, "wb") as file:
                np.save(file, found)
    return torch.from_numpy(found)


def as_bytes(images: Tensor) -> Tensor:
    """Return pictures in [-1, 1] as uint8 on the CPU."""
    return images.clamp(-1, 1).add(1).mul(127.5).round().byte().cpu()


def _read_part(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    try:
        part = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return part if part.shape == shape and part.dtype == np.uint8 else None


def _like(array: Floats, tensor: Tensor) -> Tensor:
    return torch.tensor(array, dtype=torch.float32, device=tensor.device)
