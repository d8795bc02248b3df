"""Samples of a generator for training: latents from numbered streams, and a pool of them with their images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.errors import FaceaugError
from faceaug.generators.base import CPU_TILE, GPU_TILE, Generator
from faceaug.utils.files import atomic
from faceaug.utils.tensors import normalize_pixels, quantize_pixels, resize_tensor

FULL_SIZE_BYTES = 2**27
"""Memory for images in the generator's own resolution, before they are reduced."""
POOL_BLOCK_SIZE = 500
"""Latents of a pool that come from one stream of numbers."""
TRAINING_STREAM, HELD_OUT_STREAM = 0x3D, 0x3E
"""Streams of the pool for training and of the pool for evaluation."""


def sample_stream(generator: Generator, n: int, stream: Sequence[int]) -> Tensor:
    """Sample latents w from a stream of random numbers.

    Parameters
    ----------
    generator
    n
        Number of latents.
    stream
        Seed of the stream; the same numbers give the same latents.

    Returns
    -------
    float32 [n, D] on the generator's device
    """
    z = np.random.default_rng(tuple(stream)).standard_normal((n, generator.z_dim), dtype=np.float32)
    with torch.no_grad():
        return generator.map(torch.from_numpy(z).to(generator.device))


def full_size_batch(generator: Generator) -> int:
    """Return how many images are synthesized before they are reduced: a power of two, so that tiles are full."""
    least = CPU_TILE if generator.device.type == "cpu" else GPU_TILE
    fitting = max(1, FULL_SIZE_BYTES // (12 * generator.resolution**2))
    return max(least, 1 << (fitting.bit_length() - 1))


def synthesize_at(generator: Generator, w: Tensor, side: int) -> Tensor:
    """Synthesize images at another side, with no autograd graph.

    Parameters
    ----------
    generator
    w : float32 [N, D]
    side
        Side S of the images in pixels.

    Returns
    -------
    float32 [N, 3, S, S] in [-1, 1]
    """
    batch_size = full_size_batch(generator)
    with torch.no_grad():
        return torch.cat([resize_tensor(generator.synthesize(batch), side) for batch in torch.split(w, batch_size)])


@dataclass(frozen=True, eq=False)
class SamplePool:
    """Samples that are kept, since synthesizing an image can cost as much as training on it.

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
        """Side S of the images in pixels."""
        return int(self.images.shape[-1])

    def float_images(self, rows: Tensor | slice, device: torch.device | None = None) -> Tensor:
        """Return images float32 [n, 3, S, S] in [-1, 1]."""
        return normalize_pixels(self.images[rows].to(device))


def sample_pool(
    generator: Generator,
    n: int,
    seed: int,
    side: int = 64,
    folder: Path | None = None,
    progress: Callable[[int], object] | None = None,
    stream: int = TRAINING_STREAM,
) -> SamplePool:
    """Sample a pool, or read the blocks that a folder holds and sample the rest.

    Parameters
    ----------
    generator, seed, stream
        The same generator, seed and stream give the same samples; a longer pool begins like a shorter one.
    n
        Number of samples, at least 2.
    side
        Side S of the images in pixels.
    folder
        Where images are cached, a file for each batch, under names that state what they hold; made if it does not
        exist. The larger the generator's images, the fewer a file holds. A file that is missing or cannot be read is
        written anew.
    progress : callable, optional
        Called with the number of images of each batch.

    Raises
    ------
    FaceaugError
        When fewer than 2 samples are requested.
    """
    if n < 2:
        raise FaceaugError(f"{n} samples are too few to learn from: give at least 2")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    pool_w, images = torch.empty(n, generator.w_dim), torch.empty(n, 3, side, side, dtype=torch.uint8)
    for batch in pool_batches(generator, n, seed, side, stream):
        rows = slice(batch.first, batch.first + len(batch.w))
        pool_w[rows] = batch.w.cpu()
        images[rows] = _cached_images(generator, batch.w, side, folder and folder / batch.name)
        if progress:
            progress(len(batch.w))
    return SamplePool(pool_w, images)


@dataclass(frozen=True, eq=False)
class PoolBatch:
    """Samples of a pool whose images are in one file.

    Attributes
    ----------
    first : int
        Place of the first one in the pool.
    w : float32 [n, D]
        On the generator's device.
    name : str
        Of the file, which states what it holds.
    """

    first: int
    w: Tensor
    name: str


def pool_batches(generator: Generator, n: int, seed: int, side: int, stream: int) -> Iterator[PoolBatch]:
    """Yield the samples of a pool in their order, as `sample_pool` makes them."""
    batch_size = min(POOL_BLOCK_SIZE, full_size_batch(generator))
    for start in range(0, n, POOL_BLOCK_SIZE):
        w = sample_stream(generator, POOL_BLOCK_SIZE, (seed, stream, start // POOL_BLOCK_SIZE))[: n - start]
        for first, batch in zip(range(start, n, batch_size), torch.split(w, batch_size), strict=False):
            name = f"{generator.sha256[:12]}-{seed}-{stream:x}-{side}-{first:06d}-{len(batch)}.npy"
            yield PoolBatch(first, batch, name)


def _cached_images(generator: Generator, w: Tensor, side: int, path: Path | None) -> Tensor:
    """Return the images of w, uint8 [N, 3, side, side], read from `path` or synthesized and written there."""
    images = _read_images(path, (len(w), 3, side, side)) if path is not None else None
    if images is None:
        images = pool_images(generator, w, side)
        if path is not None:
            write_pool_images(path, images)
    return torch.from_numpy(images)


def pool_images(generator: Generator, w: Tensor, side: int) -> NDArray[np.uint8]:
    """Synthesize the images of latents as a pool holds them, uint8 [n, 3, side, side]."""
    images: NDArray[np.uint8] = quantize_pixels(synthesize_at(generator, w, side)).cpu().numpy()
    return images


def write_pool_images(path: Path, images: NDArray[np.uint8]) -> None:
    """Write the file of a batch, whole or not at all."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.save(file, images)


def _read_images(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    try:
        images = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None
