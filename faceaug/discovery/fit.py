"""Fit of directions: factors of samples are regressed on the latent, and the regression of maps is cut into atoms.

See docs/method.md, sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceaug.cluster.ray_cluster import RayCluster, cluster_of, prepared
from faceaug.discovery.config import FACTOR_STAGE, DiscoveryRun
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
from faceaug.utils.threads import map_in_order, single_threaded, worker_count
from faceaug.utils.typing import Floats

SCALAR_UNITS = dict(FACTOR_UNITS, tx="half pictures", ty="half pictures", tz="share", ambient="share", diffuse="share")
"""Unit of every scalar factor, in order; the first ones are those that `faceaug measure` gives."""
BATCH_SIZE = 200
"""Images that go through the network together; fixed, since another batch size changes the last bits of a value."""
SUMMED_TOGETHER = 5 * BATCH_SIZE
"""Samples whose sums of the regression are one part; fixed as well."""
_MOST_THREADS = 4
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
    run: DiscoveryRun,
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
    run : DiscoveryRun

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
        run.progress(FACTOR_STAGE, done, total, {})

    with cluster_of(run.placement, str(generator.device)) as cluster:
        estimate = _FactorEstimate(network, reader, w_dim, generator.device)
        training, held_out = (
            _regress_factors(estimate, pool, cluster, count) for pool in (pools.training, pools.held_out)
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
        ranges=semantic_ranges(np.concatenate([np.concatenate(held_out.values), values], 1)),
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
class _FactorEstimate:
    """What estimates the factors of samples, and the width of their latents."""

    network: Reconstructor
    reader: FactorReader | None
    w_dim: int
    device: torch.device

    def sums(self, pool: SamplePool) -> _FactorSums:
        """Estimate the factors of samples in one thread, and return the sums of their regression on the latents."""
        torch.set_num_threads(1)
        sums = _FactorSums.empty(self)
        for w, images in _batches(pool, self.device):
            factors = mirror_averaged_factors(self.network, images)
            sums.values.append(read_scalars(factors, images, self.reader))
            sums.scalars.update(w, sums.values[-1])
            sums.maps.update(w, stack_maps(factors).flatten(1))
        return sums


@dataclass(frozen=True, eq=False)
class _FactorSums:
    """Scalar factors of samples, float64 [n, 11] each, and the regressions of scalars and maps on w."""

    values: list[Floats]
    scalars: StreamingRegression
    maps: StreamingRegression

    @classmethod
    def empty(cls, estimate: _FactorEstimate) -> _FactorSums:
        """Return the sums of no samples."""
        d = estimate.w_dim
        return cls([], StreamingRegression(d, len(SCALAR_UNITS)), StreamingRegression(d, 4 * estimate.network.side**2))

    def add(self, other: _FactorSums) -> None:
        """Add the samples of a part."""
        self.values.extend(other.values)
        self.scalars.merge(other.scalars)
        self.maps.merge(other.maps)


def _regress_factors(
    estimate: _FactorEstimate, pool: SamplePool, cluster: RayCluster | None, count: Callable[[int], None]
) -> _FactorSums:
    """Regress the factors of samples on their latents, here or by a cluster.

    The sums of parts of `SUMMED_TOGETHER` samples, each computed in one thread, are added in their order, so that the
    result is the same to the last bit wherever they are computed.
    """
    parts = (
        SamplePool(pool.w[rows], pool.images[rows])
        for rows in (slice(start, start + SUMMED_TOGETHER) for start in range(0, len(pool), SUMMED_TOGETHER))
    )
    total = _FactorSums.empty(estimate)
    for sums in _here(estimate, parts) if cluster is None else _on_ray(estimate, parts, cluster):
        total.add(sums)
        count(sum(map(len, sums.values)))
    return total


def _here(estimate: _FactorEstimate, parts: Iterator[SamplePool]) -> Iterator[_FactorSums]:
    """Yield the sums of parts, computed by few threads, since the sums of each take a hundred megabytes."""
    threads = min(_MOST_THREADS, worker_count(None)) if estimate.device.type == "cpu" else 1
    with single_threaded(), ThreadPoolExecutor(threads, thread_name_prefix="faceaug-factors") as pool:
        yield from map_in_order(pool, estimate.sums, parts, threads)


def _on_ray(estimate: _FactorEstimate, parts: Iterator[SamplePool], cluster: RayCluster) -> Iterator[_FactorSums]:
    """Yield the sums of parts, computed by a cluster."""
    box = cluster.share(estimate)
    yield from cluster.in_order(cluster.submit(_sums_remotely, box, part) for part in parts)


def _sums_remotely(box: list[Any], part: SamplePool) -> _FactorSums:
    estimate: _FactorEstimate = prepared(box)
    return estimate.sums(part)


def _scalar_directions(generator: Generator, training: _FactorSums, held_out: _FactorSums) -> Directions:
    """Return the directions of the scalar factors."""
    scalars = training.scalars.solve()
    mean, covariance = (np.array(getattr(generator, name), np.float64) for name in ("w_mean", "w_covariance"))
    return Directions(
        names=tuple(SCALAR_UNITS),
        kinds=tuple("light" if name in _LIGHT_NAMES else "view" for name in SCALAR_UNITS),
        units=tuple(SCALAR_UNITS.values()),
        B=scalars.B,
        offset=scalars.predict(mean[None])[0],
        spread=np.concatenate(training.values).std(0),
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
