"""The mirror split: which directions of a latent turn into their opposite when the picture is mirrored.

A mirrored face is a face. Regress the pictures on the whitened latent, J = d image / d u, and split J into
J_odd = (J - mirror(J)) / 2 and J_even = (J + mirror(J)) / 2. As far as the generator's distribution is symmetric, yaw,
roll, tx and light-x move along the leading eigenvectors of J_odd J_odd^T, everything symmetric along the rest
(method.md, section 2, "beyond the paper").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faceaug.errors import FaceaugError, GeneratorError
from faceaug.generators.base import Generator
from faceaug.generators.pool import POOL_BLOCK_SIZE, SamplePool
from faceaug.latents.regression import StreamingRegression
from faceaug.latents.whitening import Whitening, whitening
from faceaug.utils.tensors import at_side
from faceaug.utils.typing import Floats

ODD = 8
"""Mirror-odd directions that are kept: yaw, roll, tx and light-x, and as many that mix with them (background, hair)."""
MOST_EVEN = 128
"""Mirror-even directions that are kept at most, those that change the picture most."""


@dataclass(frozen=True, eq=False)
class MirrorSplit:
    """White coordinates of a latent, split by what the mirror does to the picture.

    Attributes
    ----------
    whitening : Whitening
        From w to white coordinates u [N, K].
    odd : float64 [K, O]
        Orthonormal; u @ odd changes sign with the mirror. The most odd energy first.
    even : float64 [K, E]
        Orthonormal and orthogonal to `odd`; u @ even stays. The most even energy first.
    odd_energy, even_energy : float64 [K]
        Summed squared change of a picture in [-1, 1] along each white coordinate, odd and even part.
    """

    whitening: Whitening
    odd: Floats
    even: Floats
    odd_energy: Floats
    even_energy: Floats


def check_draws(generator: Generator, n: int) -> Whitening:
    """Return the white coordinates of a generator of whose latents n draws are enough to split them by the mirror.

    Raises
    ------
    GeneratorError
        When its covariance cannot be used.
    FaceaugError
        When the draws are too few.
    """
    white = whitening(generator)
    if n < 10 * white.width:
        raise FaceaugError(
            f"{n} draws are too few for the {white.width} directions of {generator.name!r}: "
            f"give at least {10 * white.width}"
        )
    return white


def mirror_split(generator: Generator, pool: SamplePool, side: int = 32) -> MirrorSplit:
    """Split the latent of a generator by the mirror.

    Parameters
    ----------
    generator
        Its w must have a mean and a covariance.
    pool
        Draws of it, at least 10 for each white coordinate.
    side
        Pixels at which the pictures are regressed on their latents.

    Raises
    ------
    GeneratorError
        When the covariance cannot be used, or the pictures do not change with the latent.
    FaceaugError
        When the draws are too few.
    """
    white = check_draws(generator, len(pool))
    regression = StreamingRegression(white.width, 3 * side * side)
    for start in range(0, len(pool), POOL_BLOCK_SIZE):
        rows = slice(start, start + POOL_BLOCK_SIZE)
        regression.update(white.white(pool.w[rows]), at_side(pool.float_images(rows), side).flatten(1))
    slopes = regression.solve().B.reshape(3, side, side, white.width)
    if not np.abs(slopes).max() > 0:
        raise GeneratorError(f"the pictures of {generator.name!r} do not change with w: there is nothing to find")
    mirrored = slopes[:, :, ::-1]
    odd, even = ((slopes - sign * mirrored).reshape(-1, white.width) / 2 for sign in (1, -1))
    leading = _eigenvectors(odd.T @ odd)
    kept = min(ODD, max(1, white.width // 2))
    rest = leading[:, kept:]
    order = _eigenvectors(rest.T @ (even.T @ even) @ rest)[:, :MOST_EVEN]
    return MirrorSplit(white, leading[:, :kept], rest @ order, np.square(odd).sum(0), np.square(even).sum(0))


def _eigenvectors(matrix: Floats) -> Floats:
    """Return the eigenvectors of a symmetric matrix as columns, the largest eigenvalue first, the signs fixed."""
    basis = np.linalg.eigh((matrix + matrix.T) / 2)[1][:, ::-1]
    signs = np.sign(basis[np.abs(basis).argmax(0), np.arange(len(basis))])
    return np.asarray(basis * signs, np.float64)
