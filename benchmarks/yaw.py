"""How good an estimated yaw is, by a pose regressor that no discovery uses: agreement, and edits to given values.

    python benchmarks/yaw.py --directions directions.safetensors --judge work/pose_regressor.safetensors

The network of a directions file and the pose regressor (pose_regressor.py) estimate yaw on the same new samples of
digiface. The record gives the correlation of both, the cosine of the direction to the regression of the regressor's yaw
on the latent, held-out R², and the scale of estimated degrees in the regressor's. Then faces are edited to values of
yaw, uniform within ±30 degrees and at ±45, by one straight step and by the closed loop: shares within 5 degrees by the
network and by the regressor, and how far every other semantic of view and light moves in its own standard deviations.
Held are the other measured semantics (pitch, roll, light), or none, or all of view and light with shift, distance and
the two strengths of the light; "as in balance" also holds the atoms softly. Latents stay as near to the mean as 99.9%
of samples. Writes benchmarks/results/yaw.json. The option --judge and the keys with `judge`, `draws` and `asks` are
those of the first record: they stand for the pose regressor, the samples, and the requested values.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import environment, write_result
from numpy.typing import NDArray
from pose_regressor import ANGLES, Floats, PoseRegressor, generated_images, load_pose_regressor
from torch import Tensor

from faceaug.discovery.fit import SCALAR_UNITS, scalar_factors, stack_maps
from faceaug.generators.base import Generator
from faceaug.generators.pool import sample_stream
from faceaug.generators.registry import load_generator
from faceaug.latents.algebra import covariance_given, edit
from faceaug.latents.bundle import Bundle, read_bundle
from faceaug.latents.directions import Directions
from faceaug.measurement.measure import network_from_bundle
from faceaug.reconstruction.networks import Reconstructor, mirror_averaged_factors
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.synthesis.editing.closed_loop import EditObjective, EditOptions, extrapolate
from faceaug.synthesis.fitted_models import ATOMS_STAY

NEAR = 5.0  # degrees
YAW = ANGLES.index("yaw")
TOLERANCE = 0.4  # of `NEAR`: the loop stops this near
PLAUSIBLE = 0.999  # share of samples that are at least as near to the mean as edited latents
STREAM = 0x5A  # of the samples; no discovery uses it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directions", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True, help="weights of the pose regressor")
    parser.add_argument("--draws", type=int, default=3000, help="number of samples")
    parser.add_argument("--asks", type=int, default=240, help="number of requested values of yaw")
    parser.add_argument("--keep", type=float, default=0.25, help="tolerance of held semantics, in standard deviations")
    parser.add_argument("--corrections", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    given = parser.parse_args()
    bench = Bench.of(read_bundle(given.directions), load_pose_regressor(given.judge), given)
    agreement = bench.agreement()
    measured = tuple(name for name in FACTOR_NAMES if name != "yaw")
    within, beyond = bench.uniform(30), bench.both(45)
    edits = {
        "within ±30°, as in balance": bench.edits(within, measured, atoms=True),
        "within ±30°": bench.edits(within, measured),
        "within ±30°, nothing kept": bench.edits(within, ()),
        "within ±30°, all of view and light kept": bench.edits(within, bench.environment),
        "at ±45°, as in balance": bench.edits(beyond, measured, atoms=True),
        "at ±45°": bench.edits(beyond, measured),
    }
    record = {
        **environment(given.seed, ("torch", "numpy")),
        "made_by": bench.bundle.made_by,
        "draws": given.draws,
        "asks": given.asks,
        "keep_tolerance": given.keep,
        "corrections": given.corrections,
        "agreement": agreement,
        "edits": edits,
    }
    print(write_result("yaw", record, given.out))


@dataclass(frozen=True)
class Bench:
    """The network, the pose regressor, and the edits."""

    bundle: Bundle
    network: Reconstructor
    generator: Generator
    judge: PoseRegressor
    draws: int
    asks: int
    keep: float
    corrections: int
    seed: int

    @classmethod
    def of(cls, bundle: Bundle, judge: PoseRegressor, given: argparse.Namespace) -> Bench:
        """Return the bench of a directions file and the command line."""
        generator = load_generator(bundle.generator_name)
        bundle.directions.check_generator(generator.sha256)
        return cls(
            bundle,
            network_from_bundle(bundle),
            generator,
            judge,
            given.draws,
            given.asks,
            given.keep,
            given.corrections,
            given.seed,
        )

    @property
    def directions(self) -> Directions:
        """All semantics, the atoms last."""
        return self.bundle.directions

    @property
    def environment(self) -> tuple[str, ...]:
        """View and light except yaw."""
        pairs = zip(self.directions.names, self.directions.kinds, strict=True)
        return tuple(name for name, kind in pairs if kind in ("view", "light") and name != "yaw")

    def measure(self, images: Tensor) -> Floats:
        """Return the semantics [N, S] of images [N, 3, R, R], in the order of the directions."""
        values = []
        for batch in torch.split(images, 250):
            factors = mirror_averaged_factors(self.network, batch)
            maps = stack_maps(factors).cpu().double().numpy()
            atoms = self.bundle.values(maps[:, 0], maps[:, 1:])
            values.append(np.concatenate([scalar_factors(factors).cpu().double().numpy(), atoms], 1))
        return np.concatenate(values)

    def agreement(self) -> dict[str, Any]:
        """Return the agreement of the network and the pose regressor on new samples."""
        w = sample_stream(self.generator, self.draws, (self.seed, STREAM)).double().numpy()
        found, judged = [], []
        for start in range(0, len(w), 500):  # bounds the memory
            images = generated_images(self.generator, w[start : start + 500])
            found.append(self.measure(images)[:, : len(SCALAR_UNITS)])
            judged.append(self.judge.read(images))
        read, said = np.concatenate(found), np.concatenate(judged)
        learn = np.arange(len(w)) % 2 == 0
        design = np.c_[np.ones(len(w)), w - self.directions.w_mean]
        slopes = np.linalg.lstsq(design, said, rcond=None)[0]
        told = design @ np.linalg.lstsq(design[learn], said[learn], rcond=None)[0]
        covariance = self.directions.covariance
        result: dict[str, Any] = {}
        for k, name in enumerate(ANGLES):
            (row,) = self.directions.index([name])
            b, c, x, y = self.directions.B[row], slopes[1:, k], read[:, row], said[:, k]
            result[name] = {
                "correlation": round(float(np.corrcoef(x, y)[0, 1]), 4),
                "cosine": round(float(b @ c / np.linalg.norm(b) / np.linalg.norm(c)), 4),
                "r2_of_the_direction": round(self._r2(x, self.directions.predict(w)[:, row]), 4),
                "r2_of_the_judges_line": round(self._r2(y[~learn], told[~learn, k]), 4),
                "spread": round(float(x.std()), 2),
                "judged_spread": round(float(y.std()), 2),
                "found_degree_per_judged_degree": round(float(np.sqrt((b @ covariance @ b) / (c @ covariance @ c))), 3),
            }
        return result

    @staticmethod
    def _r2(value: Floats, told: Floats) -> float:
        return float(1 - (value - told).var() / value.var())

    def uniform(self, most: float) -> Floats:
        """Return values of yaw, uniform within ± `most` degrees."""
        return np.random.default_rng((self.seed, STREAM, 1)).uniform(-most, most, self.asks)

    def both(self, value: float) -> Floats:
        """Return a value to either side in turn."""
        return np.where(np.arange(self.asks // 2) % 2 == 0, value, -value)

    def edits(self, asked: Floats, keep: tuple[str, ...], *, atoms: bool = False) -> dict[str, Any]:
        """Edit faces to values of yaw by a straight step and by the closed loop."""
        w = sample_stream(self.generator, len(asked), (self.seed, STREAM, 2)).numpy()
        directions = self.directions
        likely = covariance_given(directions, self.bundle.atoms, ATOMS_STAY) if atoms else directions.covariance
        held = self.keep * directions.spread[directions.index(keep)]
        ask = EditObjective(("yaw",), asked[:, None], np.array([False]), np.array([TOLERANCE * NEAR]), keep, held)
        draws = sample_stream(self.generator, 5000, (self.seed, STREAM, 3)).numpy()
        reach = float(np.quantile(distances(directions, draws), PLAUSIBLE))
        looped = extrapolate(
            self.generator,
            directions,
            self.measure,
            w,
            ask,
            EditOptions(covariance=likely, corrections=self.corrections, reach=reach),
        )
        straight = edit(replace(directions, covariance=likely), w, {"yaw": asked}, keep)
        pictures, before = generated_images(self.generator, straight), looped.origin_measured
        return {
            "kept": list(keep),
            "closed loop": self._told(asked, looped.images, looped.measured, before, looped.w),
            "straight step": self._told(asked, pictures, self.measure(pictures), before, straight),
            "mean_steps": round(float(looped.steps.mean()), 2),
        }

    def _told(
        self, asked: Floats, images: Tensor, measured: Floats, before: Floats, w: NDArray[np.floating[Any]]
    ) -> dict[str, Any]:
        """Return the errors of edited images by the network and by the regressor, and the change of other semantics."""
        directions = self.directions
        (yaw,), others = directions.index(["yaw"]), directions.index(self.environment)
        network, judged = measured[:, yaw], self.judge.read(images)[:, YAW]
        change = (np.abs(measured - before) / directions.spread).mean(0)
        moved, atoms = change[others], change[directions.index(self.bundle.atoms)]
        slope = float(asked @ judged / (asked @ asked))
        five = [k for k, name in enumerate(self.environment) if name in FACTOR_NAMES]
        return {
            "by the network": _near(network, asked),
            "by the judge": _near(judged, asked),
            "by the judge, on its own scale": _near(judged / slope, asked),
            "judge_per_asked_degree": round(slope, 3),
            "judge_correlation": round(float(np.corrcoef(asked, judged)[0, 1]), 3),
            "others_moved": round(float(moved[five].mean()), 3),
            "others_moved_with_shift_and_strength": round(float(moved.mean()), 3),
            "atoms_moved": round(float(atoms.mean()), 3),
            "most_moved": {self.environment[int(moved.argmax())]: round(float(moved.max()), 3)},
            "moved": dict(zip(self.environment, np.round(moved, 3).tolist(), strict=True)),
            "median_distance": round(float(np.median(distances(directions, w))), 2),
        }


def distances(directions: Directions, w: NDArray[np.floating[Any]]) -> Floats:
    """Return the Mahalanobis distances [N] of latents from the mean."""
    off = w - directions.w_mean
    return np.asarray(np.sqrt(np.einsum("nd,de,ne->n", off, directions.precision, off)))


def _near(value: Floats, asked: Floats) -> dict[str, Any]:
    """Return the share of values near their goals, in all and by magnitude of the goal, and the median error."""
    error = np.abs(value - asked)
    bins = {
        f"up to {high}": (np.abs(asked) <= high) & (np.abs(asked) > low) for low, high in ((-1, 10), (10, 20), (20, 30))
    }
    parts = {name: round(float((error[rows] <= NEAR).mean()), 3) for name, rows in bins.items() if rows.any()}
    return {
        "within_5_degrees": round(float((error <= NEAR).mean()), 3),
        **parts,
        "median_error": round(float(np.median(error)), 2),
        "median_value_sidewise": round(float(np.median(value * np.sign(asked))), 2),
    }


if __name__ == "__main__":
    main()
