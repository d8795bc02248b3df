"""How local, faithful and stable localized atoms are, compared with the sparse decompositions of scikit-learn.

Every method decomposes two regressions on different samples; the atoms of the second are matched to those of the
first. Maps come from `--directions`, whose network reads the samples; or from `--slopes` (two .npz files with slopes
[C, S, S, D], covariance [D, D], albedo [3, S, S], draws and, if C is 4, depth [S, S]), which `--keep` wrote; otherwise
the generator's own images replace canonical maps. Run it from the root of the repository:
`python benchmarks/atoms.py --directions FILE`. The result goes to benchmarks/results/atoms.json.

Metrics of each method: `local` is the share of atoms with 60% or more of their map's energy in one region, also among
the atoms that are not outside the face; `local_effects` is the same for the change of the regression when an atom moves
and the others are held exactly, also within the face only; `effects_in_the_face` is the median share of that change in
the face; `..._held_softly` holds the others softly, as the atlas does; `kept` is the share of the energy of J that maps
and readings reproduce (`kept_at_best`: the readings with their dense maps); `found_again` is the share of atoms whose
cosine to their match is 0.8 or more; `effort` is the distance in latent space for one standard deviation of one atom.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import environment, write_result
from numpy.typing import NDArray
from sklearn.decomposition import MiniBatchDictionaryLearning, MiniBatchSparsePCA

from faceaug.discovery.atlas import HELD_SLACK
from faceaug.discovery.fit import stack_maps
from faceaug.generators.base import sample_z
from faceaug.generators.pool import POOL_BLOCK_SIZE, sample_stream
from faceaug.generators.pool import synthesize_at as images_of
from faceaug.generators.registry import load_generator
from faceaug.latents.atoms import agreement
from faceaug.latents.bundle import MIN_LOCAL_SHARE, read_bundle
from faceaug.latents.face_regions import REGIONS, face_regions, face_weight, find_landmarks, region_shares
from faceaug.latents.localization import AtomConfig, localize
from faceaug.latents.regression import StreamingRegression
from faceaug.measurement.measure import network_from_bundle
from faceaug.reconstruction.networks import mirror_averaged_factors
from faceaug.utils.typing import Floats

MIN_COSINE = 0.8  # from which an atom counts as found again


@dataclass(frozen=True, eq=False)
class Problem:
    """Slopes in whitened latents, mirror-even, channels made comparable: [C, S, S, D]; and the regions."""

    white: Floats
    groups: tuple[tuple[int, ...], ...]
    regions: NDArray[np.uint8]

    @property
    def weight(self) -> Floats:
        """Weight of each pixel: [S, S]."""
        return face_weight(self.regions)

    @property
    def rows(self) -> Floats:
        """The right half of the weighted maps, of which the left one is the mirror image: [C * S * S / 2, D]."""
        side = self.white.shape[2]
        weighted = self.white * self.weight[..., None]
        return np.asarray(weighted[:, :, side // 2 :].reshape(-1, self.white.shape[3]), np.float64)

    def whole(self, half: Floats) -> Floats:
        """Return maps [K, C, S, S] of weighted right halves [C * S * S / 2, K]."""
        channels, side = self.white.shape[0], self.white.shape[1]
        right = half.T.reshape(-1, channels, side, side // 2)
        return np.asarray(np.concatenate([right[..., ::-1], right], 3) / self.weight, np.float64)


Decomposition = tuple[Floats, Floats]
"""Readings [D, K] of length 1 in whitened latents, and maps [K, C, S, S]."""


def ours(evenness: float, count: int) -> Callable[[Problem, int], Decomposition]:
    def find(problem: Problem, seed: int) -> Decomposition:
        config = AtomConfig(count=count, groups=problem.groups, evenness=evenness)
        atoms = localize(problem.white, np.eye(problem.white.shape[3]), weight=problem.weight, config=config)
        return atoms.reading, atoms.maps

    return find


def dictionary(alpha: float, count: int) -> Callable[[Problem, int], Decomposition]:
    """Pixels are samples, their sparse codes the maps, the atoms of the dictionary the readings."""

    def find(problem: Problem, seed: int) -> Decomposition:
        rows = problem.rows
        scale = np.sqrt((rows**2).sum(1).mean())
        model = MiniBatchDictionaryLearning(
            count,
            alpha=alpha,
            max_iter=15,
            batch_size=256,
            fit_algorithm="cd",
            transform_algorithm="lasso_cd",
            transform_alpha=alpha,
            tol=0,
            max_no_improvement=None,
            random_state=seed,
        )
        codes = model.fit_transform(rows / scale) * scale
        return _normed(model.components_.T, problem.whole(codes))

    return find


def sparse_pca(alpha: float, count: int) -> Callable[[Problem, int], Decomposition]:
    """Whitened latents are samples, sparse components the maps; readings are their least squares duals."""

    def find(problem: Problem, seed: int) -> Decomposition:
        rows = problem.rows
        model = MiniBatchSparsePCA(
            count,
            alpha=alpha,
            max_iter=60,
            batch_size=25,
            method="cd",
            tol=0,
            max_no_improvement=None,
            random_state=seed,
        )
        components = model.fit(rows.T / np.sqrt((rows**2).mean())).components_
        used = (components**2).sum(1) > 0
        return _normed(rows.T @ np.linalg.pinv(components[used]), problem.whole(components[used].T))

    return find


def _normed(reading: Floats, maps: Floats) -> Decomposition:
    length = np.linalg.norm(reading, axis=0)
    used = (length > 0) & ((maps**2).sum((1, 2, 3)) > 0)
    return reading[:, used] / length[used], maps[used] * length[used, None, None, None]


def metrics_of(problem: Problem, first: Decomposition, second: Decomposition) -> dict[str, Any]:
    """Return the metrics of a method (see the top of this file)."""
    (reading, maps), (other_reading, other_maps) = first, second
    flat = problem.white.reshape(-1, problem.white.shape[3])
    steps = np.linalg.pinv(reading).T
    effects, soft_effects = ((flat @ move).T.reshape(maps.shape) for move in (steps, soft_steps(reading)))
    map_shares, effect_shares, soft_shares = (
        region_shares((change**2).sum(1), problem.regions) for change in (maps, effects, soft_effects)
    )
    outside = REGIONS.index("outside")
    inside = map_shares.argmax(1) != outside
    face = effect_shares[:, :outside] / np.maximum(effect_shares[:, :outside].sum(1, keepdims=True), 1e-300)
    count = min(len(maps), len(other_maps))
    weighted = (problem.white * problem.weight[..., None]).reshape(flat.shape)
    total = float((weighted**2).sum())
    again = {
        name: round(float((agreement(a[:count], b[:count]) >= MIN_COSINE).mean()), 3)
        for name, a, b in (("maps", maps, other_maps), ("readings", reading.T, other_reading.T))
    }
    effort = np.linalg.norm(steps, axis=0)
    kept = [
        1 - float(((weighted - (change * problem.weight).reshape(len(change), -1).T @ reading.T) ** 2).sum()) / total
        for change in (maps, effects)
    ]
    return {
        "atoms": len(maps),
        "atoms_in_the_face": int(inside.sum()),
        "local": round(float((map_shares.max(1) >= MIN_LOCAL_SHARE).mean()), 3),
        "local_in_the_face": round(float((map_shares[inside].max(1) >= MIN_LOCAL_SHARE).mean()), 3),
        "local_effects": round(float((effect_shares.max(1) >= MIN_LOCAL_SHARE).mean()), 3),
        "local_effects_in_the_face": round(float((face[inside].max(1) >= MIN_LOCAL_SHARE).mean()), 3),
        "effects_in_the_face": round(float(np.median(1 - effect_shares[inside, outside])), 3),
        "local_effects_held_softly": round(float((soft_shares.max(1) >= MIN_LOCAL_SHARE).mean()), 3),
        "pixels_used": round(float((maps != 0).any(1).mean()), 3),
        "kept": round(kept[0], 4),
        "kept_at_best": round(kept[1], 4),
        "found_again": again,
        "effort_median": round(float(np.median(effort)), 2),
        "effort_largest": round(float(effort.max()), 2),
        "effort_held_softly": round(float(np.median(np.linalg.norm(soft_steps(reading), axis=0))), 2),
    }


def soft_steps(reading: Floats) -> Floats:
    """Return the steps [D, K] that move one atom by one and hold the others softly."""
    steps = np.empty_like(reading)
    for k in range(reading.shape[1]):
        others = np.delete(reading, k, 1)
        given = np.eye(len(reading)) - others @ np.linalg.solve(
            others.T @ others + HELD_SLACK**2 * np.eye(others.shape[1]), others.T
        )
        spanned = given @ reading[:, k]
        steps[:, k] = spanned / (reading[:, k] @ spanned)
    return steps


def image_slopes(name: str, draws: int, seed: int) -> dict[str, Floats]:
    """Return slopes and mean of a generator's own images, on [0, 1], which replace canonical maps."""
    generator = load_generator(name)
    side = generator.resolution
    sums = StreamingRegression(generator.w_dim, 3 * side * side)
    for start in range(0, draws, 256):
        z = np.stack([sample_z(generator.z_dim, (seed, k)) for k in range(start, min(start + 256, draws))])
        with torch.inference_mode():
            w = generator.map(torch.from_numpy(z))
            sums.update(w.numpy(), (generator.synthesize(w).flatten(1).numpy() + 1) / 2)
    fit = sums.solve()
    shape = (3, side, side)
    return {
        "slopes": fit.B.reshape(*shape, -1),
        "albedo": fit.c.reshape(shape),
        "covariance": generator.w_covariance,
    }


def canonical_slopes(file: Path, draws: int, seed: int) -> dict[str, Floats]:
    """Return slopes and mean of the canonical maps that the network of a directions file reads off new samples."""
    bundle = read_bundle(file)
    generator = load_generator(bundle.generator_name)
    bundle.directions.check_generator(generator.sha256)
    network = network_from_bundle(bundle)
    side = network.side
    sums = StreamingRegression(generator.w_dim, 4 * side * side)
    for start in range(0, draws, POOL_BLOCK_SIZE):
        w = sample_stream(generator, min(POOL_BLOCK_SIZE, draws - start), (seed, 0xA7, start))
        sums.update(w, stack_maps(mirror_averaged_factors(network, images_of(generator, w, side))).flatten(1))
    fit = sums.solve()
    face = fit.predict(np.array(generator.w_mean, np.float64)[None])[0].reshape(4, side, side)
    return {
        "slopes": fit.B.reshape(4, side, side, -1),
        "depth": face[0],
        "albedo": face[1:],
        "covariance": np.array(generator.w_covariance, np.float64),
        "draws": np.array(draws),
    }


def whiten(given: dict[str, Floats]) -> Problem:
    """Return the problem of one regression."""
    slopes = np.asarray(given["slopes"], np.float64)
    scale, basis = np.linalg.eigh(given["covariance"])
    white = slopes @ ((basis * np.sqrt(np.maximum(scale, 0))) @ basis.T)
    white = (white + white[:, :, ::-1]) / 2
    groups = ((0,), (1, 2, 3)) if len(slopes) == 4 else (tuple(range(len(slopes))),)
    for group in groups:
        white[list(group)] /= np.sqrt((white[list(group)] ** 2).sum())
    at = find_landmarks(given.get("depth"), given["albedo"])
    return Problem(white, groups, face_regions(slopes.shape[1], at))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--directions", type=Path, metavar="FILE", help="of faceaug discover")
    parser.add_argument("--keep", type=Path, nargs=2, metavar="FILE", help="where the regressions are stored, as .npz")
    parser.add_argument("--slopes", type=Path, nargs=2, metavar="FILE", help="two regressions on different samples")
    parser.add_argument("--generator", default="digiface", help="whose images are used without --slopes")
    parser.add_argument("--draws", type=int, default=50_000, help="samples of each regression")
    parser.add_argument("--atoms", type=int, default=AtomConfig.count)
    parser.add_argument("--dictionary", type=float, nargs="*", default=[0.05, 0.2], help="penalties")
    parser.add_argument("--sparse-pca", type=float, nargs="*", default=[0.5], help="penalties")
    parser.add_argument("--evenness", type=float, nargs="*", default=[0.0, AtomConfig.evenness, 0.5, 1.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.slopes:
        given = [dict(np.load(file)) for file in options.slopes]
    elif options.directions:
        given = [canonical_slopes(options.directions, options.draws, options.seed + k) for k in range(2)]
    else:
        given = [image_slopes(options.generator, options.draws, options.seed + k) for k in range(2)]
    for file, regression in zip(options.keep or (), given, strict=False):
        np.savez(file, **regression)
    problems = [whiten(regression) for regression in given]
    methods = {f"faceaug, evenness {a}": ours(a, options.atoms) for a in options.evenness}
    methods |= {f"MiniBatchDictionaryLearning, alpha {a}": dictionary(a, options.atoms) for a in options.dictionary}
    methods |= {f"MiniBatchSparsePCA, alpha {a}": sparse_pca(a, options.atoms) for a in options.sparse_pca}
    results = {}
    for name, find in methods.items():
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lassos that stop before they have converged
            first, second = (find(problem, options.seed + k) for k, problem in enumerate(problems))
        seconds = (time.perf_counter() - start) / 2
        results[name] = {"seconds": round(seconds, 1), **metrics_of(problems[0], first, second)}
        print(name, results[name], flush=True)
    record = {
        **environment(options.seed, ["numpy", "scikit-learn", "torch"]),
        "maps": "canonical maps" if options.slopes or options.directions else f"pictures of {options.generator}",
        "draws": int(given[0].get("draws", options.draws)),
        "methods": results,
    }
    print(write_result("atoms", record, options.out))


if __name__ == "__main__":
    main()
