"""How well faces are reconstructed on scenes with known truth that no training has seen.

    python benchmarks/reconstruction.py [--draws 6000] [--steps 2500] [--work work/reconstruction]

The models that `faceaug discover` trains (linear model, latent reader, network) are trained on synthetic scenes, which
are rendered by another method than the training uses. On new scenes the record gives correlations with true view and
light and, as Unsup3D (CVPR 2020) reports them, the scale-invariant depth error (root of the variance of the difference
of logarithms) and the mean angle between normals, both of the depth in the view, on pixels that are valid in both
depths and one pixel inside. The figures of Unsup3D on its own faces, at 64 pixels, are 0.793e-2 and 16.5 degrees. The
network is compared with the linear model, which sees the latent and no image, and with a baseline: the mean true
canonical depth in the true view. A training that was stopped is continued; with --minutes the training of the network
ends when the time is up, and the record states the step. Writes benchmarks/results/reconstruction.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _record import environment, write_result
from semantics import nose_nearest
from torch import Tensor

from faceaug.generators.pool import sample_pool, sample_stream
from faceaug.reconstruction.factors import LIGHT_NAMES, VIEW_NAMES, FaceFactors
from faceaug.reconstruction.geometry import normals
from faceaug.reconstruction.networks import mirror_averaged_factors
from faceaug.reconstruction.renderer import rasterize
from faceaug.reconstruction.synthetic_scenes import Observation, Scenes
from faceaug.reconstruction.training.linear_init import LinearTrainer
from faceaug.reconstruction.training.network_trainer import NetworkTrainer
from faceaug.reconstruction.training.perceptual import LatentTrainer
from faceaug.reconstruction.training.schedule import ReconstructionSchedule
from faceaug.reconstruction.training.symmetry import mirror_split
from faceaug.utils.tensors import resize_tensor
from faceaug.utils.training.train_loop import run

BATCH_SIZE = 250
UNSUP3D = {"scale_invariant_depth_error": 0.00793, "mean_angle_deviation": 16.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=6000, help="scenes to train on")
    parser.add_argument("--linear-steps", type=int, default=1500)
    parser.add_argument("--reader-steps", type=int, default=400)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--minutes", type=float, help="of the network's training in this call; no limit by default")
    parser.add_argument("--judged", type=int, default=1000, help="held-out scenes to evaluate on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("work/reconstruction"))
    parser.add_argument("--out", type=Path, help="another place for the result")
    given = parser.parse_args()
    scenes = Scenes(given.side)
    names = ("draws", "linear_steps", "reader_steps", "steps", "batch", "side", "seed")
    setup = {name: getattr(given, name) for name in names}
    start = time.process_time()
    readers, steps = trained(scenes, given, setup)
    seconds = time.process_time() - start
    w = sample_stream(scenes, given.judged, (given.seed, 0xE))
    record = {
        **environment(given.seed, ("torch", "numpy")),
        **setup,
        "judged": given.judged,
        "network_steps_done": steps,
        "seconds_of_this_call": round(seconds, 1),
        "unsup3d_on_its_own_set": UNSUP3D,
        **{name: scores(scenes, w, read) for name, read in readers.items()},
    }
    print(write_result("reconstruction", record, given.out))


Reader = Callable[[Scenes, Tensor], FaceFactors]
"""From scenes and latents [N, 40] to factors, with maps of the scenes' side."""


def trained(scenes: Scenes, given: argparse.Namespace, setup: dict[str, Any]) -> tuple[dict[str, Reader], int]:
    """Train or continue what a discovery trains; return the functions to factors, and the network's steps."""
    common = {name: setup[name] for name in ("draws", "side", "seed")}
    pool = sample_pool(scenes, given.draws, given.seed, given.side, given.work / "draws")
    split = mirror_split(scenes, pool, min(given.side, 32))
    linear = LinearTrainer(pool, split, given.seed, given.linear_steps, side=min(given.side, 32))
    run(linear, given.work / "linear", {**common, "steps": given.linear_steps})
    reader = LatentTrainer(pool, split, given.seed, given.reader_steps, side=given.side)
    run(reader, given.work / "reader", {**common, "steps": given.reader_steps})
    schedule = ReconstructionSchedule("both", given.side, given.steps, given.steps // 5, given.batch, seed=given.seed)
    network = NetworkTrainer(scenes, pool, split, reader.model, linear.model, schedule)
    until = None if given.minutes is None else time.monotonic() + 60 * given.minutes
    run(network, given.work / "network", setup, until=until, progress=report)

    def by_network(scenes: Scenes, w: Tensor) -> FaceFactors:
        return mirror_averaged_factors(network.average, scenes.synthesize(w))

    def by_linear_model(scenes: Scenes, w: Tensor) -> FaceFactors:
        with torch.no_grad():
            factors = linear.model(split.whitening.white(w))
        depth = resize_tensor(factors.depth[:, None], scenes.resolution)[:, 0]
        return FaceFactors(depth, resize_tensor(factors.albedo, scenes.resolution), factors.light, factors.view)

    return {
        "network": by_network,
        "linear": by_linear_model,
        "mean true face, true view": mean_face(scenes, pool.w),
    }, network.step


def report(step: int, steps: int, figures: Any) -> None:
    """Print every hundredth step of a training."""
    if step % 100 == 0:
        print(step, steps, dict(figures), flush=True)


def mean_face(scenes: Scenes, w: Tensor) -> Reader:
    """Return the baseline: the true view and light, and one mean face for all scenes."""
    truth = scenes.truth(w[:500])
    mean = truth.depth.mean(0)

    def read(scenes: Scenes, w: Tensor) -> FaceFactors:
        truth = scenes.truth(w)
        return FaceFactors(mean.expand(len(w), -1, -1), truth.albedo, truth.light, truth.view)

    return read


def scores(scenes: Scenes, w: Tensor, read: Reader) -> dict[str, Any]:
    """Return how well the factors of the scenes of w [N, 40] agree with the true ones."""
    estimates, truths, shapes = [], [], []
    with torch.no_grad():
        for batch in torch.split(w, BATCH_SIZE):
            factors, truth, observation = read(scenes, batch), scenes.truth(batch), scenes.observe(batch)
            estimates.append(torch.cat([factors.view, factors.light, factors.depth.flatten(1)], 1))
            truths.append(torch.cat([truth.view, truth.light], 1))
            shapes.append(shape_errors(factors, observation))
    estimated, true = (torch.cat(batches).double().numpy() for batches in (estimates, truths))
    side, names = scenes.resolution, (*VIEW_NAMES, *LIGHT_NAMES)
    depth = torch.from_numpy(estimated[:, len(names) :]).view(-1, side, side)
    none = torch.zeros(len(depth), 0)
    with np.errstate(invalid="ignore"):
        correlations = {n: float(np.corrcoef(estimated[:, k], true[:, k])[0, 1]) for k, n in enumerate(names)}
    slopes = {n: float(np.polyfit(true[:, k], estimated[:, k], 1)[0]) for k, n in enumerate(names[:3])}
    error, angle, share = torch.cat(shapes).double().numpy().T
    return {
        "right_side_out": nose_nearest(FaceFactors(depth, none, none, none)),
        "correlation": {name: round(value, 4) for name, value in correlations.items()},
        "estimatedradian_per_true_radian": {name: round(value, 3) for name, value in slopes.items()},
        "scale_invariant_depth_error": {"mean": round(float(error.mean()), 5), "spread": round(float(error.std()), 5)},
        "mean_angle_deviation": {"mean": round(float(angle.mean()), 2), "spread": round(float(angle.std()), 2)},
        "valid_pixels": round(float(share.mean()), 3),
    }


def shape_errors(factors: FaceFactors, observation: Observation) -> Tensor:
    """Return, for each scene, scale-invariant depth error, mean angle deviation in degrees and share of valid pixels.

    The depth of the canonical face in its estimated view is compared with the true visible depth.
    """
    depth, mask = rasterize(factors.depth, factors.view)
    valid = (inside(mask) & inside(observation.mask)).to(depth.dtype)
    count = valid.sum((1, 2)).clamp(min=1)
    off = depth.log() - observation.depth.log()
    mean = (off * valid).sum((1, 2)) / count
    error = ((off.square() * valid).sum((1, 2)) / count - mean.square()).clamp(min=0).sqrt()
    cosine = (normals(depth) * normals(observation.depth)).sum(1).clamp(-1, 1)
    angle = (torch.rad2deg(torch.acos(cosine)) * valid).sum((1, 2)) / count
    return torch.stack([error, angle, valid.mean((1, 2))], 1)


def inside(mask: Tensor) -> Tensor:
    """Return masks [N, S, S] without their outermost pixels, beside which depths are other surfaces'."""
    return F.avg_pool2d(mask[:, None].float(), 3, 1, 1)[:, 0] > 0.99


if __name__ == "__main__":
    main()
