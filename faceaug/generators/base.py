"""The protocol of a generator, latents by seed, statistics of w, and synthesis in tiles of one fixed size.

A generator is any object with a latent vector that is roughly Gaussian and a synthesis function. It plugs in through
the entry point group ``faceaug.generators`` (a callable ``load(device) -> Generator``); no base class is needed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.utils.typing import Floats

# Images synthesized together, whatever the caller's batch. Convolutions choose their algorithm by the shape of the
# batch, so a fixed shape is what makes an image the same bit for bit in any batch (see `in_tiles`).
CPU_TILE = 8
GPU_TILE = 64

log = logging.getLogger(__name__)


@runtime_checkable
class Generator(Protocol):
    """A source of images with a linear-friendly latent space: ``w = map(z)``, ``images = synthesize(w)``.

    One machine and one thread count give the same image bit for bit for the same latent, whatever batch it comes in.
    Calls build no autograd graph unless the latents themselves require gradients.
    """

    @property
    def name(self) -> str:
        """Short name, as `load_generator` knows it or as the weights file states it."""

    @property
    def z_dim(self) -> int:
        """Width Z of the latent that is sampled from a standard normal distribution."""

    @property
    def w_dim(self) -> int:
        """Width D of the latent in which semantics are linear; edits happen here."""

    @property
    def resolution(self) -> int:
        """Side R of the square images, in pixels."""

    @property
    def licence(self) -> str:
        """What is known of the licence of the weights, in a sentence."""

    @property
    def origin(self) -> str:
        """Where the weights come from, in a sentence."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the file that holds the weights (64 hexadecimal digits)."""

    @property
    def w_mean(self) -> Floats:
        """Mean of ``map(z)`` over z, float64 [D]."""

    @property
    def w_covariance(self) -> Floats:
        """Covariance of ``map(z)`` over z, float64 [D, D]."""

    @property
    def device(self) -> torch.device:
        """Where the weights are and where results are computed."""

    def map(self, z: Tensor) -> Tensor:
        """Turn normal latents z [N, Z] into w, float32 [N, D]."""

    def synthesize(self, w: Tensor) -> Tensor:
        """Synthesize the images of w [N, D]: float32 [N, 3, R, R] in [-1, 1], RGB."""

    def to(self, device: str | torch.device) -> Generator:
        """Move the weights to `device` and return the generator itself."""


GENERATOR_MEMBERS = (
    *("name", "z_dim", "w_dim", "resolution", "licence", "origin", "sha256", "w_mean", "w_covariance", "device"),
    *("map", "synthesize", "to"),
)
"""Names of the protocol's members, for the error that lists the missing ones."""


def sample_z(z_dim: int, seed: int | Sequence[int] | np.random.SeedSequence) -> npt.NDArray[np.float32]:
    """Sample one standard normal latent, the same on every machine and for every version of numpy.

    Only parts of numpy that are guaranteed to stay are used (seed sequences and raw bits of PCG64). The normal deviates
    come from the inverse distribution function in double precision, rounded to float32.

    Parameters
    ----------
    z_dim
        Width Z of the latent.
    seed
        Seed sequence of this one latent, or entropy for one, for example ``(seed, cell, attempt)``.

    Returns
    -------
    float32 [Z]
    """
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    raw = np.random.PCG64(sequence).random_raw(z_dim) >> np.uint64(12)
    quantile = NormalDist().inv_cdf
    # 52 bits and a half step: never 0 or 1, and exact in double precision.
    return np.array([quantile((int(bits) + 0.5) * 2.0**-52) for bits in raw], dtype=np.float32)


def estimate_statistics(generator: Generator, n: int = 50_000, seed: int = 0) -> tuple[Floats, Floats]:
    """Estimate mean and covariance of w from `n` samples, a block at a time.

    Parameters
    ----------
    generator
        Only its ``map``, its widths and its device are used.
    n
        Number of samples, at least 2.
    seed
        Seed of the samples.

    Returns
    -------
    float64 [D] and float64 [D, D]

    Raises
    ------
    GeneratorError
        When fewer than 2 samples are requested.
    """
    if n < 2:
        raise GeneratorError(f"mean and covariance cannot be estimated from {n} samples: at least 2 are needed")
    rng = np.random.default_rng(seed)
    shift = np.zeros(generator.w_dim)
    total, products = np.zeros(generator.w_dim), np.zeros((generator.w_dim, generator.w_dim))
    for start in range(0, n, 1024):
        z = rng.standard_normal((min(1024, n - start), generator.z_dim), dtype=np.float32)
        with torch.no_grad():
            w = generator.map(torch.from_numpy(z).to(generator.device)).cpu().numpy().astype(np.float64)
        if start == 0:
            shift = w.mean(0)  # sums around a point near the mean do not cancel
        total += (w - shift).sum(0)
        products += (w - shift).T @ (w - shift)
    covariance = (products - np.outer(total, total) / n) / (n - 1)
    return shift + total / n, (covariance + covariance.T) / 2


def read_only(array: Floats) -> Floats:
    """Return a float64 copy that cannot be written to, for statistics that are returned again and again."""
    copy = np.array(array, dtype=np.float64)
    copy.setflags(write=False)
    return copy


def check_latents(latents: Tensor, width: int, device: torch.device, symbol: str) -> Tensor:
    """Return latents as float32 [N, `width`] on `device`; `symbol` is their letter in the error ("z" or "w").

    Raises
    ------
    GeneratorError
        When the shape is not [N, width] or the type is not floating point.
    """
    if latents.ndim != 2 or latents.shape[1] != width or not latents.is_floating_point():
        raise GeneratorError(
            f"the latents {symbol} are {latents.dtype} of the shape {tuple(latents.shape)}; "
            f"this generator takes floating point numbers of the shape (N, {width})"
        )
    return latents.to(device, torch.float32)


_FITTING_TILES: dict[tuple[str, str, int], int] = {}  # tile that fits into memory, by function, device, planned tile


def in_tiles(synthesize: Callable[[Tensor], Tensor], latents: Tensor, tile: int | None = None) -> Tensor:
    """Apply `synthesize` to latents [N, D] in tiles of one fixed size, the last one padded with zeros.

    Libraries pick another order of summation for another batch size, which changes the last bits of an image. With one
    shape for every call an image depends on its latent alone, not on the batch that it is computed in. A tile that does
    not fit into memory is halved, which changes those last bits, until a single image does not fit; the size that
    fits is remembered for later calls of this process.

    Parameters
    ----------
    synthesize
        Returns the images of latents [tile, D].
    latents
        Any number of latents.
    tile
        Images that are synthesized together; by default the tile of small images (`tile_size`).
    """
    planned = tile or tile_size(0, latents.device)
    key = getattr(synthesize, "__qualname__", ""), str(latents.device), planned
    tile = _FITTING_TILES.get(key, planned)
    images: list[Tensor] = []
    start = 0
    while start < max(len(latents), 1):
        batch = latents[start : start + tile]
        missing = tile - len(batch)
        padded = torch.cat([batch, batch.new_zeros(missing, batch.shape[1])]) if missing else batch
        try:
            images.append(synthesize(padded)[: len(batch)])
        except RuntimeError as error:
            if tile == 1 or not _is_out_of_memory(error):
                raise
            tile //= 2
            _FITTING_TILES[key] = tile
            log.warning("%d images do not fit into memory together; %d are synthesized at a time", 2 * tile, tile)
            continue
        start += tile
    return torch.cat(images).contiguous()


def tile_size(values: int, device: torch.device) -> int:
    """Return how many images are synthesized together, a power of two, so that activations fit into memory.

    Parameters
    ----------
    values
        Number of values in the largest layer for one image. A few layers are in memory at a time: about 16 bytes a
        value.
    device
        The budget is a gigabyte on a CPU and eight on a GPU.
    """
    largest, memory = (CPU_TILE, 2**30) if device.type == "cpu" else (GPU_TILE, 2**33)
    fitting = max(1, memory // (16 * max(values, 1)))
    return min(largest, 1 << (fitting.bit_length() - 1))


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether torch ran out of memory: it has an exception class for a GPU, and only a message for a CPU."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)
