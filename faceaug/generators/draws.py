"""What discovery samples from a generator: latents from numbered streams, and pictures of any side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.errors import FaceaugError
from faceaug.generators.base import CPU_TILE, GPU_TILE, Generator
from faceaug.utils.files import atomic
from faceaug.utils.tensors import as_bytes, at_side

FULL_SIZE = 2**27
"""Bytes of pictures in the generator's own size that are held at a time, before they are made smaller."""
BLOCK = 500
"""Latents of a pool that come from one stream of numbers."""
LEARNT, HELD_OUT = 0x3D, 0x3E
"""Streams of a pool that is learnt from, and of one by which it is judged what was learnt."""


def latents(generator: Generator, n: int, stream: Sequence[int]) -> Tensor:
    """Draw n latents w, float32 [n, D] on the generator's device; the same numbers in `stream` give the same ones."""
    z = np.random.default_rng(tuple(stream)).standard_normal((n, generator.z_dim), dtype=np.float32)
    with torch.no_grad():
        return generator.map(torch.from_numpy(z).to(generator.device))


def at_once(generator: Generator) -> int:
    """Return how many pictures are drawn before they are made smaller: a power of two, so that tiles are full."""
    least = CPU_TILE if generator.device.type == "cpu" else GPU_TILE
    fitting = max(1, FULL_SIZE // (12 * generator.resolution**2))
    return max(least, 1 << (fitting.bit_length() - 1))


def pictures(generator: Generator, w: Tensor, side: int) -> Tensor:
    """Draw the pictures of w [N, D] at `side` pixels: float32 [N, 3, side, side] in [-1, 1], with no graph."""
    with torch.no_grad():
        return torch.cat([at_side(generator.synthesize(part), side) for part in torch.split(w, at_once(generator))])


@dataclass(frozen=True, eq=False)
class SamplePool:
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


def sample_pool(
    generator: Generator,
    n: int,
    seed: int,
    side: int = 64,
    folder: Path | None = None,
    progress: Callable[[int], None] | None = None,
    stream: int = LEARNT,
) -> SamplePool:
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
    return SamplePool(latent, images)


def _part(generator: Generator, w: Tensor, side: int, path: Path | None) -> Tensor:
    """Return the pictures of w, uint8 [N, 3, side, side], read back from `path` or drawn and kept there."""
    found = _read_part(path, (len(w), 3, side, side)) if path is not None else None
    if found is None:
        found = as_bytes(pictures(generator, w, side)).numpy()
        if path is not None:
            with atomic(path) as temporary, open(temporary, "wb") as file:
                np.save(file, found)
    return torch.from_numpy(found)


def _read_part(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    try:
        part = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return part if part.shape == shape and part.dtype == np.uint8 else None
