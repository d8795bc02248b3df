"""Fit of directions: factors of samples are regressed on the latent, and the regression of maps is cut into atoms.

See docs/method.md, sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from faceaug.discovery.config import FACTOR_STAGE, DiscoveryProgress
from faceaug.generators.base import Generator
from faceaug.generators.pool import SamplePool
from faceaug.latents.atoms import SparseAtoms
from faceaug.latents.bundle import Bundle, semantic_ranges, with_atoms
from faceaug.latents.directions import Directions
from faceaug.latents.face_regions import face_regions, face_weight, find_landmarks
from faceaug.latents.localization import AtomConfig, localize
from faceaug.latents.regression import StreamingRegression
from faceaug.measurement.reader import FactorReader
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.geometry import FOCAL
from faceaug.reconstruction.networks import Reconstructor, export_weights, mirror_averaged_factors
from faceaug.reconstruction.semantics import FACTOR_UNITS, semantics_of
from faceaug.utils.typing import Floats

SCALAR_UNITS = dict(FACTOR_UNITS, tx="half pictures", ty="half pictures", tz="share", ambient="share", diffuse="share")
"""Unit of every scalar factor, in order; the first ones are those that `faceaug measure` gives."""
BATCH_SIZE = 200
"""Images that go through the network together; fixed, since another batch size changes the last bits of a value."""
_LIGHT_NAMES = ("light_x", "light_y", "light", "ambient", "diffuse")


@dataclass(frozen=True, eq=False)
class SamplePools:
    """Samples of a discovery.

    Attributes
    ----------
    training, held_out : SamplePool
    """

    training: SamplePool
    held_out: SamplePool


def scalar_factors(factors: FaceFactors) -> Tensor:
    """Return the scalar factors, float32 [N, 11], in the order and the units of `SCALAR_UNITS`."""
    shift = factors.view[:, 3:5] * FOCAL
    return torch.cat([semantics_of(factors), shift, factors.view[:, 5:], factors.light[:, :2]], 1)


def read_scalars(factors: FaceFactors, images: Tensor, reader: FactorReader | None) -> Floats:
    """Return the scalar factors, float64 [N, 11], as an estimator gives them.

    Parameters
    ----------
    factors : FaceFactors
        Of the images, by the reconstruction.
    images : float32 [N, 3, S, S] in [-1, 1]
    reader : FactorReader, optional
        Reads those that `faceaug measure` gives, where there is one.
    """
    values: Floats = scalar_factors(factors).cpu().double().numpy()
    if reader:
        values[:, : len(FACTOR_UNITS)] = reader.values(images)
    return values


def stack_maps(factors: FaceFactors) -> Tensor:
    """Return the canonical maps, float32 [N, 4, S, S]: depth and the three channels of albedo."""
    return torch.cat([factors.depth[:, None], factors.albedo], 1)


def fit_bundle(
    generator: Generator,
    network: Reconstructor,
    reader: FactorReader | None,
    pools: SamplePools,
    atoms: int,
    progress: DiscoveryProgress,
) -> Bundle:
    """Regress the factors of samples on the latent, and cut the regression of maps into atoms.

    Parameters
    ----------
    generator
        Its w has a mean and a covariance.
    network, reader
        Estimate the factors; the reader, if there is one, those that `faceaug measure` gives.
    pools
        R², ranges and the values of atoms come from the held-out samples.
    atoms
        Number of atoms.
    progress

    Returns
    -------
    Bundle
        With the weights of the network, and `made_by` empty.
    """
    side, w_dim = network.side, generator.w_dim
    total, done = len(pools.training) + len(pools.held_out), 0

    def count(n: int) -> None:
        nonlocal done
        done += n
        progress(FACTOR_STAGE, done, total, {})

    training, held_out = (
        _regress_factors(network, reader, _batches(pool, generator.device), w_dim, count)
        for pool in (pools.training, pools.held_out)
    )
    maps = training.maps.solve()
    directions = _scalar_directions(generator, training, held_out)
    mean = directions.w_mean
    face = maps.predict(mean[None])[0].reshape(4, side, side)
    regions = face_regions(side, find_landmarks(face[0], face[1:]))
    slopes = maps.B.reshape(4, side, side, w_dim)
    sparse = localize(slopes, directions.covariance, weight=face_weight(regions), config=AtomConfig(count=atoms))
    batches = _batches(pools.held_out, generator.device)
    values = np.concatenate([_atom_values(network, sparse, face, images) for _, images in batches])
    predicted = (pools.held_out.w.double().numpy() - mean) @ sparse.reading
    directions, shares = with_atoms(directions, sparse, regions, _r2(values, predicted))
    return Bundle(
        directions,
        ranges=semantic_ranges(np.concatenate([held_out.values, values], 1)),
        depth=face[0].astype(np.float32),
        albedo=face[1:].clip(0, 1).astype(np.float32),
        regions=regions,
        maps=sparse.maps.astype(np.float32),
        shares=shares.astype(np.float32),
        scale=sparse.scale,
        explained=sparse.explained,
        weights=export_weights(network),
        generator_name=generator.name,
    )


@dataclass(frozen=True, eq=False)
class _FactorRegressions:
    """Scalar factors of N samples, float64 [N, 11], and the regressions of scalars and maps on w."""

    values: Floats
    scalars: StreamingRegression
    maps: StreamingRegression


def _regress_factors(
    network: Reconstructor,
    reader: FactorReader | None,
    batches: Iterator[tuple[Tensor, Tensor]],
    w_dim: int,
    count: Callable[[int], None],
) -> _FactorRegressions:
    """Estimate the factors of batches of latents [n, w_dim] with their images, and regress them on the latents."""
    values = []
    scalars = StreamingRegression(w_dim, len(SCALAR_UNITS))
    maps = StreamingRegression(w_dim, 4 * network.side**2)
    for w, images in batches:
        factors = mirror_averaged_factors(network, images)
        values.append(read_scalars(factors, images, reader))
        scalars.update(w, values[-1])
        maps.update(w, stack_maps(factors).flatten(1))
        count(len(w))
    return _FactorRegressions(np.concatenate(values), scalars, maps)


def _scalar_directions(generator: Generator, training: _FactorRegressions, held_out: _FactorRegressions) -> Directions:
    """Return the directions of the scalar factors."""
    scalars = training.scalars.solve()
    mean, covariance = (np.array(getattr(generator, name), np.float64) for name in ("w_mean", "w_covariance"))
    return Directions(
        names=tuple(SCALAR_UNITS),
        kinds=tuple("light" if name in _LIGHT_NAMES else "view" for name in SCALAR_UNITS),
        units=tuple(SCALAR_UNITS.values()),
        B=scalars.B,
        offset=scalars.predict(mean[None])[0],
        spread=training.values.std(0),
        r2=scalars.r2(held_out.scalars),
        w_mean=mean,
        covariance=covariance,
        generator=generator.sha256,
    )


def _batches(pool: SamplePool, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(pool), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        yield pool.w[rows], pool.float_images(rows, device)


def _atom_values(network: Reconstructor, atoms: SparseAtoms, face: Floats, images: Tensor) -> Floats:
    """Return the values [N, K] of atoms in images."""
    return atoms.values(stack_maps(mirror_averaged_factors(network, images)).cpu().double().numpy(), face)


def _r2(values: Floats, predicted: Floats) -> Floats:
    """Return R² [K] of predictions [N, K]; 0 for values that do not vary."""
    error, variance = np.square(values - predicted).mean(0), values.var(0)
    return np.where(variance > 0, 1 - error / np.where(variance > 0, variance, 1), 0.0)
