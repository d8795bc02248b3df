"""A regressor of head pose (pitch, yaw, roll) that evaluates faceaug and is independent of it.

    python benchmarks/pose_regressor.py --pose pose.npz [--weights work/pose_regressor.safetensors]

It is trained only on the head pose of digiface faces by an independent landmark model (--pose: an .npz with z [N, 100]
and pose [N, 3] in degrees: pitch, yaw, roll; pitch and yaw with the opposite sign of faceaug's, NaN where no face was
found). It serves evaluation only: its weights stay in a working folder, are not shipped, and are not used by discovery.
Its architecture differs from that of the reconstruction; it reads whole images of 64 pixels. Every sixth face is
held out; the errors on these are written to benchmarks/results/pose_regressor.json. `load_pose_regressor` reads the
weights.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _record import environment, write_result
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from faceaug.generators.base import Generator
from faceaug.generators.registry import load_generator
from faceaug.utils.files import atomic
from faceaug.utils.typing import Floats

ANGLES = ("pitch", "yaw", "roll")
_SIGNS = (-1.0, -1.0, 1.0)  # from those of the file to those of faceaug
_MIRROR = (1.0, -1.0, -1.0)
HELD_OUT = 6  # every sixth face
BATCH_SIZE, LR, WEIGHT_DECAY = 64, 2e-3, 0.05
GAIN, TINT, NOISE = 0.15, 0.05, 0.04
UNIT = 15.0  # degrees per unit of output


class PoseRegressor(nn.Module):
    """Maps images [N, 3, 64, 64] in [-1, 1] to pitch, yaw and roll [N, 3] in degrees, with the signs of faceaug."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            strides = [(3, 16, 2), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 96, 2)]
            blocks = [_block(i, o, stride) for i, o, stride in strides]
            head = [nn.Flatten(), nn.Dropout(0.2), nn.Linear(96 * 16, 128), nn.SiLU(), nn.Linear(128, 3)]
            self.body = nn.Sequential(*blocks, *head)

    def forward(self, images: Tensor) -> Tensor:
        """Return the pose of images."""
        return UNIT * self.body(images)  # type: ignore[no-any-return]

    def read(self, images: Tensor) -> Floats:
        """Return the pose of images, float64, averaged with that of their mirror images."""
        mirror = images.new_tensor(_MIRROR)
        with torch.no_grad():
            poses = [(self(batch) + self(batch.flip(-1)) * mirror) / 2 for batch in torch.split(images, 256)]
        return np.asarray(torch.cat(poses).double().cpu().numpy())


def _block(i: int, o: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.SiLU())


def read_pose(path: Path) -> tuple[NDArray[np.float32], Floats]:
    """Return latents z [N, 100] of faces that the landmark model detected, and their pose [N, 3], signs of faceaug."""
    with np.load(path, allow_pickle=False) as file:
        z, pose = file["z"], file["pose"].astype(np.float64)
    detected = np.isfinite(pose).all(1)
    return z[detected], pose[detected] * _SIGNS


def generated_images(generator: Generator, w: NDArray[np.floating[Any]], batch: int = 256) -> Tensor:
    """Return the images [N, 3, R, R] of latents."""
    with torch.no_grad():
        batches = torch.split(torch.from_numpy(np.asarray(w, np.float32)), batch)
        return torch.cat([generator.synthesize(latents) for latents in batches])


def train(images: Tensor, pose: Floats, seed: int, steps: int, log_every: int = 100) -> PoseRegressor:
    """Train on images [N, 3, 64, 64] and their pose [N, 3], augmented by shifts, mirror and light."""
    regressor, rng = PoseRegressor(seed).train(), torch.Generator().manual_seed(seed)
    targets, mirror = torch.from_numpy(pose).float(), torch.tensor(_MIRROR)
    decayed = [p for p in regressor.parameters() if p.ndim > 1]
    rest = [p for p in regressor.parameters() if p.ndim == 1]
    adam = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": rest, "weight_decay": 0.0}], LR
    )
    plan = torch.optim.lr_scheduler.OneCycleLR(adam, LR, total_steps=steps, pct_start=0.15)
    torch.manual_seed(seed)  # of the dropout
    for step in range(steps):
        rows = torch.randint(len(images), (BATCH_SIZE,), generator=rng)
        batch, target = _varied(images[rows], rng), targets[rows]
        mirrored = torch.rand(BATCH_SIZE, generator=rng) < 0.5
        batch = torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)
        target = torch.where(mirrored[:, None], target * mirror, target)
        loss = F.smooth_l1_loss(regressor(batch) / UNIT, target / UNIT, beta=0.2)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        plan.step()
        if step % log_every == 0:
            print(f"step {step} of {steps}: loss {loss.item():.4f}", flush=True)
    return regressor.eval().requires_grad_(False)


def _varied(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return images shifted by up to two pixels, brighter or darker, tinted, with noise."""
    across, down = (int(torch.randint(-2, 3, (1,), generator=rng)) for _ in range(2))
    images = F.pad(images, (2, 2, 2, 2), mode="replicate")[:, :, 2 + down : 66 + down, 2 + across : 66 + across]
    n = len(images)
    gain = torch.exp(torch.randn(n, 1, 1, 1, generator=rng) * GAIN + torch.randn(n, 3, 1, 1, generator=rng) * TINT)
    return ((images + 1) * gain - 1 + NOISE * torch.randn(images.shape, generator=rng)).clamp(-1, 1)


def load_pose_regressor(path: Path) -> PoseRegressor:
    """Read the weights that `main` wrote."""
    regressor = PoseRegressor()
    regressor.load_state_dict(load_file(path))
    return regressor.eval().requires_grad_(False)


def scores(predicted: Floats, truth: Floats, slopes_r2: Floats) -> dict[str, Any]:
    """Return the accuracy of a pose [N, 3]: correlation, R², errors in degrees."""
    error = predicted - truth
    return {
        name: {
            "correlation": round(float(np.corrcoef(predicted[:, k], truth[:, k])[0, 1]), 4),
            "r2": round(float(1 - error[:, k].var() / truth[:, k].var()), 4),
            "mean_absolute_error": round(float(np.abs(error[:, k]).mean()), 2),
            "median_absolute_error": round(float(np.median(np.abs(error[:, k]))), 2),
            "within_5_degrees": round(float((np.abs(error[:, k]) <= 5).mean()), 3),
            "spread": round(float(truth[:, k].std()), 2),
            "r2_of_a_line_on_the_latent": round(float(slopes_r2[k]), 4),
        }
        for k, name in enumerate(ANGLES)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pose", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=Path("work/pose_regressor.safetensors"), help="where they go")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    given = parser.parse_args()
    z, pose = read_pose(given.pose)
    images = generated_images(load_generator("digiface"), z)
    held_out = np.arange(len(z)) % HELD_OUT == 0
    start = time.process_time()
    regressor = train(images[torch.from_numpy(~held_out)], pose[~held_out], given.seed, given.steps)
    seconds = time.process_time() - start
    given.weights.parent.mkdir(parents=True, exist_ok=True)
    with atomic(given.weights) as temporary:
        save_file(regressor.state_dict(), temporary)
    design = np.c_[np.ones(len(z)), z]
    line = design[held_out] @ np.linalg.lstsq(design[~held_out], pose[~held_out], rcond=None)[0]
    r2 = 1 - (line - pose[held_out]).var(0) / pose[held_out].var(0)
    record = {
        **environment(given.seed, ("torch", "numpy")),
        "learnt_from": int((~held_out).sum()),
        "held_out": int(held_out.sum()),
        "steps": given.steps,
        "seconds": round(seconds, 1),
        "held_out_faces": scores(regressor.read(images[torch.from_numpy(held_out)]), pose[held_out], r2),
    }
    print(record["held_out_faces"])
    print(write_result("pose_regressor", record, given.out))


if __name__ == "__main__":
    main()
