"""How local, how faithful and how stable localised atoms are, beside scikit-learn's sparse decompositions.

Two regressions from other draws are decomposed by every method; the atoms of the second are matched to those of the
first. Maps come from `--directions`, whose network reads the draws; or from `--slopes` (two .npz files with slopes
[C, S, S, D], covariance [D, D], albedo [3, S, S], draws and, if C is 4, depth [S, S]), which `--keep` wrote; without
either, the generator's own pictures stand in for canonical maps. Run it from the root of the repository:
`python benchmarks/atoms.py --directions FILE`. The result goes to benchmarks/results/atoms.json.

What is told of each method: `local` is the share of atoms with 60% or more of their map's energy in one region, also
among the atoms that are not outside the face; `local_effects` is the same for what moving an atom really changes with
the others held exactly, also with regard to the face only; `effects_in_the_face` is the median share of that change
which is in the face; `..._held_softly` lets the others go as the atlas does; `kept` is the share of the energy of J
that maps and readings give back (and the readings alone, at best); `found_again` is the share of atoms whose cosine to
their match is 0.8 or more; `effort` is the distance in the latent space of moving one atom by one standard deviation.
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

from faceaug.discovery.atlas import STAY
from faceaug.discovery.discover import maps_of, read_faces
from faceaug.generators.base import sample_z
from faceaug.generators.draws import BLOCK, latents
from faceaug.generators.draws import pictures as images_of
from faceaug.generators.registry import load_generator
from faceaug.latents.atoms import ATOMS, EVENNESS, agreement, localize
from faceaug.latents.bundle import LOCAL, read_bundle
from faceaug.latents.face_regions import REGIONS, face_regions, face_weight, find_landmarks, shares
from faceaug.latents.regression import StreamingRegression
from faceaug.reconstruction.networks import network_of
from faceaug.utils.typing import Floats

ALIKE = 0.8  # cosine from which an atom is found again


@dataclass(frozen=True, eq=False)
class Problem:
    """Slopes in whitened latents, mirror-even, channels made comparable: [C, S, S, D]; and the regions."""

    white: Floats
    groups: tuple[tuple[int, ...], ...]
    regions: NDArray[np.uint8]

    @property
    def weight(self) -> Floats:
        """How much a pixel counts: [S, S]."""
        return face_weight(self.regions)

    @property
    def rows(self) -> Floats:
        """The right half of the weighted maps, which says it all: [C * S * S / 2, D]."""
        side = self.white.shape[2]
        weighted = self.white * self.weight[..., None]
        return np.asarray(weighted[:, :, side // 2 :].reshape(-1, self.white.shape[3]), np.float64)

    def whole(self, half: Floats) -> Floats:
        """Return maps [K, C, S, S] of weighted right halves [C * S * S / 2, K]."""
        channels, side = self.white.shape[0], self.white.shape[1]
        right = half.T.reshape(-1, channels, side, side // 2)
        return np.asarray(np.concatenate([right[..., ::-1], right], 3) / self.weight, np.float64)


Found = tuple[Floats, Floats]
"""Readings [D, K] of length 1 in whitened latents, and maps [K, C, S, S]."""


def ours(evenness: float, count: int) -> Callable[[Problem, int], Found]:
    def find(problem: Problem, seed: int) -> Found:
        atoms = localize(
            problem.white, np.eye(problem.white.shape[3]), weight=problem.weight, count=count, groups=problem.groups,
            evenness=evenness,
        )  # fmt: skip
        return atoms.reading, atoms.maps

    return find


def dictionary(alpha: float, count: int) -> Callable[[Problem, int], Found]:
    """Pixels are samples, their sparse codes the maps, the atoms of the dictionary the readings."""

    def find(problem: Problem, seed: int) -> Found:
        rows = problem.rows
        scale = np.sqrt((rows**2).sum(1).mean())
        model = MiniBatchDictionaryLearning(
            count, alpha=alpha, max_iter=15, batch_size=256, fit_algorithm="cd", transform_algorithm="lasso_cd",
            transform_alpha=alpha, tol=0, max_no_improvement=None, random_state=seed,
        )  # fmt: skip
        codes = model.fit_transform(rows / scale) * scale
        return _normed(model.components_.T, problem.whole(codes))

    return find


def sparse_pca(alpha: float, count: int) -> Callable[[Problem, int], Found]:
    """Whitened latents are samples, sparse components the maps; readings are their least squares duals."""

    def find(problem: Problem, seed: int) -> Found:
        rows = problem.rows
        model = MiniBatchSparsePCA(
            count, alpha=alpha, max_iter=60, batch_size=25, method="cd", tol=0, max_no_improvement=None,
            random_state=seed,
        )  # fmt: skip
        components = model.fit(rows.T / np.sqrt((rows**2).mean())).components_
        used = (components**2).sum(1) > 0
        return _normed(rows.T @ np.linalg.pinv(components[used]), problem.whole(components[used].T))

    return find


def _normed(reading: Floats, maps: Floats) -> Found:
    length = np.linalg.norm(reading, axis=0)
    used = (length > 0) & ((maps**2).sum((1, 2, 3)) > 0)
    return reading[:, used] / length[used], maps[used] * length[used, None, None, None]


def judge(problem: Problem, first: Found, second: Found) -> dict[str, Any]:
    """Return what is told of a method (see the top of this file)."""
    (reading, maps), (other_reading, other_maps) = first, second
    flat = problem.white.reshape(-1, problem.white.shape[3])
    steps = np.linalg.pinv(reading).T
    effects, gentle = ((flat @ part).T.reshape(maps.shape) for part in (steps, softly(reading)))
    found, really, softened = (shares((part**2).sum(1), problem.regions) for part in (maps, effects, gentle))
    outside = REGIONS.index("outside")
    inside = found.argmax(1) != outside
    face = really[:, :outside] / np.maximum(really[:, :outside].sum(1, keepdims=True), 1e-300)
    count = min(len(maps), len(other_maps))
    weighted = (problem.white * problem.weight[..., None]).reshape(flat.shape)
    total = float((weighted**2).sum())
    again = {
        name: round(float((agreement(a[:count], b[:count]) >= ALIKE).mean()), 3)
        for name, a, b in (("maps", maps, other_maps), ("readings", reading.T, other_reading.T))
    }
    effort = np.linalg.norm(steps, axis=0)
    kept = [
        1 - float(((weighted - (part * problem.weight).reshape(len(part), -1).T @ reading.T) ** 2).sum()) / total
        for part in (maps, effects)
    ]
    return {
        "atoms": len(maps),
        "atoms_in_the_face": int(inside.sum()),
        "local": round(float((found.max(1) >= LOCAL).mean()), 3),
        "local_in_the_face": round(float((found[inside].max(1) >= LOCAL).mean()), 3),
        "local_effects": round(float((really.max(1) >= LOCAL).mean()), 3),
        "local_effects_in_the_face": round(float((face[inside].max(1) >= LOCAL).mean()), 3),
        "effects_in_the_face": round(float(np.median(1 - really[inside, outside])), 3),
        "local_effects_held_softly": round(float((softened.max(1) >= LOCAL).mean()), 3),
        "pixels_used": round(float((maps != 0).any(1).mean()), 3),
        "kept": round(kept[0], 4),
        "kept_at_best": round(kept[1], 4),
        "found_again": again,
        "effort_median": round(float(np.median(effort)), 2),
        "effort_largest": round(float(effort.max()), 2),
        "effort_held_softly": round(float(np.median(np.linalg.norm(softly(reading), axis=0))), 2),
    }


def softly(reading: Floats) -> Floats:
    """Return the steps [D, K] that move one atom by one and let the others go by degrees."""
    steps = np.empty_like(reading)
    for k in range(reading.shape[1]):
        others = np.delete(reading, k, 1)
        given = np.eye(len(reading)) - others @ np.linalg.solve(
            others.T @ others + STAY**2 * np.eye(others.shape[1]), others.T
        )
        spanned = given @ reading[:, k]
        steps[:, k] = spanned / (reading[:, k] @ spanned)
    return steps


def pictures(name: str, draws: int, seed: int) -> dict[str, Floats]:
    """Return slopes and mean of a generator's own pictures, on [0, 1], as stand-in for canonical maps."""
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


def canonical(file: Path, draws: int, seed: int) -> dict[str, Floats]:
    """Return slopes and mean of the canonical maps that the network in a file of directions reads off fresh draws."""
    bundle = read_bundle(file)
    generator = load_generator(bundle.generator_name)
    bundle.directions.check_generator(generator.sha256)
    own = {name: part for name, part in bundle.weights.items() if not name.startswith(("alignment.", "calibration."))}
    network = network_of(own)
    side = network.side
    sums = StreamingRegression(generator.w_dim, 4 * side * side)
    for start in range(0, draws, BLOCK):
        w = latents(generator, min(BLOCK, draws - start), (seed, 0xA7, start))
        sums.update(w, maps_of(read_faces(network, images_of(generator, w, side))).flatten(1))
    fit = sums.solve()
    face = fit.predict(np.array(generator.w_mean, np.float64)[None])[0].reshape(4, side, side)
    return {
        "slopes": fit.B.reshape(4, side, side, -1),
        "depth": face[0],
        "albedo": face[1:],
        "covariance": np.array(generator.w_covariance, np.float64),
        "draws": np.array(draws),
    }


def pose(given: dict[str, Floats]) -> Problem:
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
    parser.add_argument("--keep", type=Path, nargs=2, metavar="FILE", help="where the regressions are kept, as .npz")
    parser.add_argument("--slopes", type=Path, nargs=2, metavar="FILE", help="two regressions from other draws")
    parser.add_argument("--generator", default="digiface", help="whose pictures stand in without --slopes")
    parser.add_argument("--draws", type=int, default=50_000, help="of each regression of pictures")
    parser.add_argument("--atoms", type=int, default=ATOMS)
    parser.add_argument("--dictionary", type=float, nargs="*", default=[0.05, 0.2], help="penalties")
    parser.add_argument("--sparse-pca", type=float, nargs="*", default=[0.5], help="penalties")
    parser.add_argument("--evenness", type=float, nargs="*", default=[0.0, EVENNESS, 0.5, 1.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.slopes:
        given = [dict(np.load(file)) for file in options.slopes]
    elif options.directions:
        given = [canonical(options.directions, options.draws, options.seed + k) for k in range(2)]
    else:
        given = [pictures(options.generator, options.draws, options.seed + k) for k in range(2)]
    for file, part in zip(options.keep or (), given, strict=False):
        np.savez(file, **part)
    problems = [pose(part) for part in given]
    methods = {f"faceaug, evenness {a}": ours(a, options.atoms) for a in options.evenness}
    methods |= {f"MiniBatchDictionaryLearning, alpha {a}": dictionary(a, options.atoms) for a in options.dictionary}
    methods |= {f"MiniBatchSparsePCA, alpha {a}": sparse_pca(a, options.atoms) for a in options.sparse_pca}
    results = {}
    for name, find in methods.items():
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lassos that stop before they have converged
            first, second = (find(problem, options.seed + k) for k, problem in enumerate(problems))
        seconds = (time.perf_counter() - start) / 2
        results[name] = {"seconds": round(seconds, 1), **judge(problems[0], first, second)}
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
