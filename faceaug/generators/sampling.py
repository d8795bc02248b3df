"""Images of sampled latents: by seed and truncation, in batches, and as a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.generators.base import Generator, sample_z
from faceaug.generators.stylegan import Precision, StyleGAN2, check_truncation_psi
from faceaug.utils.images import Rgb, contact_sheet, resize
from faceaug.utils.tensors import to_uint8
from faceaug.utils.typing import Floats

BATCH_PIXELS = 2**22  # pixels that are synthesized before they are converted to bytes and, where requested, reduced
SURVEY_SPAWN_KEY = 2**32 - 1  # spawn key of the survey's seeds; cells use their index


def sample_w(generator: Generator, n: int, seed: int = 0, truncation_psi: float | None = None) -> Tensor:
    """Sample latents w; sample k depends on (seed, k) alone.

    Parameters
    ----------
    generator : Generator
    n, seed : int
    truncation_psi : float, optional
        Latents are pulled toward the mean, ``mean + psi (w - mean)``. By default the generator's own truncation.

    Returns
    -------
    float32 [n, D]

    Raises
    ------
    GeneratorError
        When `truncation_psi` is not above 0 and at most 2.
    """
    z = torch.from_numpy(np.stack([sample_z(generator.z_dim, (seed, k)) for k in range(n)]))
    with torch.no_grad():
        if truncation_psi is None:
            return generator.map(z)
        if isinstance(generator, StyleGAN2):  # truncates toward the running mean of its training
            return generator.with_config(truncation_psi=truncation_psi).map(z)
        check_truncation_psi(truncation_psi)
        mean = torch.tensor(generator.w_mean, dtype=torch.float32, device=generator.device)
        return mean + truncation_psi * (generator.map(z) - mean)


def iterate_images(generator: Generator, w: Tensor, side: int | None = None) -> Iterator[Rgb]:
    """Yield the images of latents w [N, D] as uint8 [side, side, 3]; few are in memory at a time."""
    side = side or generator.resolution
    step = max(1, BATCH_PIXELS // generator.resolution**2)
    for start in range(0, len(w), step):
        with torch.no_grad():
            images = generator.synthesize(w[start : start + step])
        yield from (resize(image, (side, side)) for image in to_uint8(images))


def sample_grid(
    generator: Generator,
    n: int,
    *,
    truncation_psi: float | None = None,
    seed: int = 0,
    side: int | None = None,
    precision: Precision = "float32",
    progress: Callable[[int], object] | None = None,
) -> Rgb:
    """Sample n faces and lay them out in a square, or as near to one as n allows.

    Parameters
    ----------
    generator, n, truncation_psi, seed
        As for `sample_w`.
    side : int, optional
        Side of a face in pixels; by default the generator's resolution.
    precision : str
        Precision of a StyleGAN's activations (`SynthesisConfig`).
    progress : callable, optional
        Called with the number of faces since the last call.

    Returns
    -------
    uint8 [rows * side, columns * side, 3]

    Raises
    ------
    GeneratorError
        When the truncation is out of range or the generator does not compute in that precision.
    """
    if precision != "float32":
        if not isinstance(generator, StyleGAN2):
            raise GeneratorError(f"{generator.name} computes in float32 alone; {precision} is for StyleGANs")
        generator = generator.with_config(precision=precision)
    if truncation_psi is not None and isinstance(generator, StyleGAN2):  # layers behind a cutoff undo the same psi
        generator = generator.with_config(truncation_psi=truncation_psi)
    faces = []
    for face in iterate_images(generator, sample_w(generator, n, seed, truncation_psi), side):
        faces.append(face)
        if progress is not None:
            progress(1)
    return contact_sheet(faces, math.ceil(math.sqrt(n)))


def latent_seeds(seed: int, first: int, count: int) -> list[np.random.SeedSequence]:
    """Return the seeds of `count` samples of a run's survey, from number `first` on."""
    return [np.random.SeedSequence(seed, spawn_key=(SURVEY_SPAWN_KEY, first + i)) for i in range(count)]


def sample_latents(
    generator: Generator, seeds: Sequence[np.random.SeedSequence], truncation_psi: float = 1.0
) -> Floats:
    """Return latents w, float64 [N, D], one for each seed; with `truncation_psi` 1 unchanged, with 0 the mean."""
    z = np.stack([sample_z(generator.z_dim, seed) for seed in seeds])
    with torch.inference_mode():
        w = generator.map(torch.from_numpy(z).to(generator.device)).double().cpu().numpy()
    return np.asarray(generator.w_mean + truncation_psi * (w - generator.w_mean), np.float64)


def synthesize(generator: Generator, w: Floats | NDArray[np.float32], batch_size: int) -> Tensor:
    """Return the images [N, 3, R, R] of latents [N, D] on the CPU, synthesized `batch_size` at a time."""
    with torch.inference_mode():
        batches = torch.split(torch.from_numpy(np.asarray(w, np.float32)), batch_size)
        images = [generator.synthesize(batch.to(generator.device)).float().cpu() for batch in batches]
    return torch.cat(images).clamp(-1, 1) if images else torch.empty(0, 3, generator.resolution, generator.resolution)
