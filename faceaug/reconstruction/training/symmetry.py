"""The mirror split: the directions of a latent whose effect on the image changes sign when the image is mirrored.

A mirrored face is a face. With J = d image / d u the regression of images on the white latent,
J_odd = (J - mirror(J)) / 2 and J_even = (J + mirror(J)) / 2. As far as the generator's distribution is symmetric, the
leading eigenvectors of J_oddᵀ J_odd span yaw, roll, tx and light-x, and all symmetric factors depend on the rest
(docs/method.md, section 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faceaug.errors import FaceaugError, GeneratorError
from faceaug.generators.base import Generator
from faceaug.generators.pool import POOL_BLOCK_SIZE, SamplePool
from faceaug.latents.regression import StreamingRegression
from faceaug.latents.whitening import Whitening, whitening
from faceaug.utils.tensors import resize_tensor
from faceaug.utils.typing import Floats

ODD_DIRECTIONS = 8
"""Mirror-odd directions: yaw, roll, tx and light-x, and as many that mix with them (background, hair)."""
MAX_EVEN_DIRECTIONS = 128
"""Mirror-even directions at most, those that change the image most."""
SAMPLES_PER_DIRECTION = 10


@dataclass(frozen=True, eq=False)
class MirrorSplit:
    """White coordinates of a latent, split by the effect of the mirror on the image.

    Attributes
    ----------
    whitening : Whitening
        From w to white coordinates u [N, K].
    odd : float64 [K, O]
        Orthonormal; u @ odd changes sign with the mirror. The largest odd energy first.
    even : float64 [K, E]
        Orthonormal and orthogonal to `odd`; u @ even does not change. The largest even energy first.
    odd_energy, even_energy : float64 [K]
        Summed squared change of an image in [-1, 1] along each white coordinate, odd and even part.
    """

    whitening: Whitening
    odd: Floats
    even: Floats
    odd_energy: Floats
    even_energy: Floats


def check_sample_count(generator: Generator, n: int) -> Whitening:
    """Return the whitening of a generator, of whose latents n samples suffice for the mirror split.

    Raises
    ------
    GeneratorError
        When its mean or covariance of w cannot be used.
    FaceaugError
        When the samples are too few.
    """
    white = whitening(generator)
    least = SAMPLES_PER_DIRECTION * white.width
    if n < least:
        raise FaceaugError(
            f"{n} samples are too few for the {white.width} directions of {generator.name!r}: give at least {least}"
        )
    return white


def mirror_split(
    generator: Generator, pool: SamplePool, side: int = 32, *, odd_directions: int = ODD_DIRECTIONS
) -> MirrorSplit:
    """Split the latent of a generator by the mirror.

    Parameters
    ----------
    generator
        Its w has a mean and a covariance.
    pool
        Samples of it, at least `SAMPLES_PER_DIRECTION` for each white coordinate.
    side
        Side at which the images are regressed on the latent, in pixels.
    odd_directions
        Number O of odd directions, at most half of the white coordinates.

    Raises
    ------
    GeneratorError
        When the covariance cannot be used, or the images do not change with the latent.
    FaceaugError
        When the samples are too few.
    """
    white = check_sample_count(generator, len(pool))
    regression = StreamingRegression(white.width, 3 * side * side)
    for start in range(0, len(pool), POOL_BLOCK_SIZE):
        rows = slice(start, start + POOL_BLOCK_SIZE)
        regression.update(white.white(pool.w[rows]), resize_tensor(pool.float_images(rows), side).flatten(1))
    slopes = regression.solve().B.reshape(3, side, side, white.width)
    if not np.abs(slopes).max() > 0:
        raise GeneratorError(f"the images of {generator.name!r} do not change with w: it has no directions")
    mirrored = slopes[:, :, ::-1]
    odd, even = ((slopes - sign * mirrored).reshape(-1, white.width) / 2 for sign in (1, -1))
    leading = _eigenvectors(odd.T @ odd)
    count = min(odd_directions, max(1, white.width // 2))
    rest = leading[:, count:]
    order = _eigenvectors(rest.T @ (even.T @ even) @ rest)[:, :MAX_EVEN_DIRECTIONS]
    return MirrorSplit(white, leading[:, :count], rest @ order, np.square(odd).sum(0), np.square(even).sum(0))


def _eigenvectors(matrix: Floats) -> Floats:
    """Return the eigenvectors of a symmetric matrix as columns, by descending eigenvalue, with fixed signs."""
    basis = np.linalg.eigh((matrix + matrix.T) / 2)[1][:, ::-1]
    signs = np.sign(basis[np.abs(basis).argmax(0), np.arange(len(basis))])
    return np.asarray(basis * signs, np.float64)
