"""Draws of a generator to look at: faces at a truncation, laid out in one picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.generators.base import Generator, sample_z
from faceaug.generators.stylegan import Precision, StyleGAN2
from faceaug.utils.images import Rgb, contact_sheet, resize
from faceaug.utils.typing import Floats

AT_ONCE = 2**22  # pixels that are drawn before they are turned to bytes and, where asked, made smaller


def sample_w(generator: Generator, n: int, seed: int = 0, psi: float | None = None) -> Tensor:
    """Draw latents w, float32 [n, D]; draw k depends on (seed, k) alone.

    Parameters
    ----------
    generator : Generator
    n, seed : int
    psi : float, optional
        Truncation: latents are pulled toward the mean, ``mean + psi (w - mean)``. Without it the generator's own.

    Raises
    ------
    GeneratorError
        When `psi` is not above 0 and at most 2.
    """
    z = torch.from_numpy(np.stack([sample_z(generator.z_dim, (seed, k)) for k in range(n)]))
    with torch.no_grad():
        if psi is None:
            return generator.map(z)
        if isinstance(generator, StyleGAN2):  # truncates toward the mean that its training kept
            return generator.with_settings(psi=psi).map(z)
        if not 0 < psi <= 2:
            raise GeneratorError(f"truncation psi is {psi}; it must be above 0 and at most 2, 1 for none")
        mean = torch.from_numpy(generator.w_mean).to(generator.device, torch.float32)
        return mean + psi * (generator.map(z) - mean)


def sample_faces(generator: Generator, w: Tensor, side: int | None = None) -> Iterator[Rgb]:
    """Yield the pictures of latents w [N, D] as bytes, `side` pixels wide; few are held at a time."""
    side = side or generator.resolution
    step = max(1, AT_ONCE // generator.resolution**2)
    for start in range(0, len(w), step):
        with torch.no_grad():
            images = generator.synthesize(w[start : start + step])
        pixels = images.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
        yield from (resize(face, (side, side)) for face in pixels)


def sample_grid(
    generator: Generator,
    n: int,
    *,
    psi: float | None = None,
    seed: int = 0,
    side: int | None = None,
    precision: Precision = "float32",
    progress: Callable[[int], None] | None = None,
) -> Rgb:
    """Draw n faces and lay them out in a square, or as near to one as n allows.

    Parameters
    ----------
    generator, n, psi, seed
        As for `sample_w`.
    side : int, optional
        Pixels of a face; the generator's resolution without it.
    precision : str
        In what a StyleGAN computes (`StyleGAN2`).
    progress : callable, optional
        Told how many faces more have been drawn.

    Returns
    -------
    uint8 [rows * side, columns * side, 3]

    Raises
    ------
    GeneratorError
        When the generator cannot be truncated so or does not compute in that precision.
    """
    if precision != "float32":
        if not isinstance(generator, StyleGAN2):
            raise GeneratorError(f"{generator.name} computes in float32 alone; {precision} is for StyleGANs")
        generator = generator.with_settings(precision=precision)
    if psi is not None and isinstance(generator, StyleGAN2):  # layers behind a cut-off undo the same psi
        generator = generator.with_settings(psi=psi)
    faces = []
    for face in sample_faces(generator, sample_w(generator, n, seed, psi), side):
        faces.append(face)
        if progress is not None:
            progress(1)
    return contact_sheet(faces, math.ceil(math.sqrt(n)))


def sample_latents(generator: Generator, seeds: Sequence[np.random.SeedSequence], truncation: float = 1.0) -> Floats:
    """Return latents w, float64 [N, D], one for each seed; truncation 1 leaves them as they are, 0 gives the mean."""
    z = np.stack([sample_z(generator.z_dim, seed) for seed in seeds])
    with torch.inference_mode():
        w = generator.map(torch.from_numpy(z).to(generator.device)).double().cpu().numpy()
    return np.asarray(generator.w_mean + truncation * (w - generator.w_mean), np.float64)


def latent_seeds(seed: int, first: int, count: int) -> list[np.random.SeedSequence]:
    """Return the seeds of `count` of the survey's draws from number `first` on."""
    return [np.random.SeedSequence(seed, spawn_key=(SURVEY_KEY, first + i)) for i in range(count)]


SURVEY_KEY = 2**32 - 1  # spawn key of the draws' seeds; cells use their index


def synthesize(generator: Generator, w: Floats | NDArray[np.float32], batch_size: int) -> Tensor:
    """Return the pictures [N, 3, R, R] of latents [N, D] on the CPU, at most `batch_size` at once."""
    with torch.inference_mode():
        parts = torch.split(torch.from_numpy(np.asarray(w, np.float32)), batch_size)
        pictures = [generator.synthesize(part.to(generator.device)).float().cpu() for part in parts]
    return (
        torch.cat(pictures).clamp(-1, 1) if pictures else torch.empty(0, 3, generator.resolution, generator.resolution)
    )
