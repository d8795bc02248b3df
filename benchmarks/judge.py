"""A judge of head pose that nothing in faceaug steers by: a small regressor of pitch, yaw and roll.

    python benchmarks/judge.py --pose pose.npz [--weights work/judge.safetensors]

It is trained on an independent landmark model's head pose of digiface faces (--pose: an .npz with z [N, 100] and pose
[N, 3] in degrees: pitch, yaw, roll; pitch and yaw of the sign opposite to ours, roll of ours, NaN where no face was
found) and on nothing else. It serves evaluation only: its weights are kept in a working folder, never shipped, and
discovery never sees it. Another architecture than the reconstruction's reads whole pictures of 64 pixels. Every sixth
face is held out; what the judge errs on these is written to benchmarks/results/judge.json. `load_judge` reads it.
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
SIGNS = (-1.0, -1.0, 1.0)  # from the file's to ours
_MIRROR = (1.0, -1.0, -1.0)
HELD_OUT = 6  # every sixth face
BATCH, RATE, DECAY = 64, 2e-3, 0.05
GAIN, TINT, NOISE = 0.15, 0.05, 0.04
UNIT = 15.0  # degrees that an output of 1 means


class Judge(nn.Module):
    """Reads pictures [N, 3, 64, 64] in [-1, 1]: pitch, yaw and roll [N, 3] in degrees, signs as in faceaug."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.Sequential(
                _step(3, 16, 2), _step(16, 32, 2), _step(32, 32, 1), _step(32, 64, 2), _step(64, 64, 1),
                _step(64, 96, 2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(96 * 16, 128), nn.SiLU(),
                nn.Linear(128, 3),
            )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Read pictures once."""
        return UNIT * self.body(images)  # type: ignore[no-any-return]

    def read(self, images: Tensor) -> Floats:
        """Read pictures and their mirrors, and return the means in float64."""
        mirror = images.new_tensor(_MIRROR)
        with torch.no_grad():
            parts = [(self(part) + self(part.flip(-1)) * mirror) / 2 for part in torch.split(images, 256)]
        return np.asarray(torch.cat(parts).double().cpu().numpy())


def _step(i: int, o: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.SiLU())


def read_pose(path: Path) -> tuple[NDArray[np.float32], Floats]:
    """Return latents z [N, 100] of faces that the landmark model found, and their pose [N, 3] with faceaug's signs."""
    with np.load(path, allow_pickle=False) as file:
        z, pose = file["z"], file["pose"].astype(np.float64)
    found = np.isfinite(pose).all(1)
    return z[found], pose[found] * SIGNS


def draws_of(generator: Generator, w: NDArray[np.floating[Any]], batch: int = 256) -> Tensor:
    """Return the pictures [N, 3, R, R] of latents."""
    with torch.no_grad():
        parts = torch.split(torch.from_numpy(np.asarray(w, np.float32)), batch)
        return torch.cat([generator.synthesize(part) for part in parts])


def train(images: Tensor, pose: Floats, seed: int, steps: int, said: int = 100) -> Judge:
    """Teach a judge pictures [N, 3, 64, 64] and their pose [N, 3]: shifted a little, mirrored, in other light."""
    judge, rng = Judge(seed).train(), torch.Generator().manual_seed(seed)
    wanted, mirror = torch.from_numpy(pose).float(), torch.tensor(_MIRROR)
    decayed = [p for p in judge.parameters() if p.ndim > 1]
    rest = [p for p in judge.parameters() if p.ndim == 1]
    adam = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}], RATE)
    plan = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=steps, pct_start=0.15)
    torch.manual_seed(seed)  # of the dropout
    for step in range(steps):
        rows = torch.randint(len(images), (BATCH,), generator=rng)
        batch, aim = _varied(images[rows], rng), wanted[rows]
        turned = torch.rand(BATCH, generator=rng) < 0.5
        batch = torch.where(turned[:, None, None, None], batch.flip(-1), batch)
        aim = torch.where(turned[:, None], aim * mirror, aim)
        loss = F.smooth_l1_loss(judge(batch) / UNIT, aim / UNIT, beta=0.2)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        plan.step()
        if step % said == 0:
            print(f"step {step} of {steps}: loss {loss.item():.4f}", flush=True)
    return judge.eval().requires_grad_(False)


def _varied(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return pictures moved by up to two pixels, brighter or darker, tinted, with noise."""
    across, down = (int(torch.randint(-2, 3, (1,), generator=rng)) for _ in range(2))
    images = F.pad(images, (2, 2, 2, 2), mode="replicate")[:, :, 2 + down : 66 + down, 2 + across : 66 + across]
    n = len(images)
    gain = torch.exp(torch.randn(n, 1, 1, 1, generator=rng) * GAIN + torch.randn(n, 3, 1, 1, generator=rng) * TINT)
    return ((images + 1) * gain - 1 + NOISE * torch.randn(images.shape, generator=rng)).clamp(-1, 1)


def load_judge(path: Path) -> Judge:
    """Read back what this file's `main` trained."""
    judge = Judge()
    judge.load_state_dict(load_file(path))
    return judge.eval().requires_grad_(False)


def scores(read: Floats, truth: Floats, slopes_r2: Floats) -> dict[str, Any]:
    """Return how far readings [N, 3] are from the truth: correlation, R², errors in degrees."""
    error = read - truth
    return {
        name: {
            "correlation": round(float(np.corrcoef(read[:, k], truth[:, k])[0, 1]), 4),
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
    parser.add_argument("--weights", type=Path, default=Path("work/judge.safetensors"), help="where the judge is kept")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    given = parser.parse_args()
    z, pose = read_pose(given.pose)
    images = draws_of(load_generator("digiface"), z)
    held = np.arange(len(z)) % HELD_OUT == 0
    start = time.process_time()
    judge = train(images[torch.from_numpy(~held)], pose[~held], given.seed, given.steps)
    seconds = time.process_time() - start
    given.weights.parent.mkdir(parents=True, exist_ok=True)
    with atomic(given.weights) as temporary:
        save_file(judge.state_dict(), temporary)
    design = np.c_[np.ones(len(z)), z]
    line = design[held] @ np.linalg.lstsq(design[~held], pose[~held], rcond=None)[0]
    r2 = 1 - (line - pose[held]).var(0) / pose[held].var(0)
    record = {
        **environment(given.seed, ("torch", "numpy")), "learnt_from": int((~held).sum()), "held_out": int(held.sum()),
        "steps": given.steps, "seconds": round(seconds, 1),
        "held_out_faces": scores(judge.read(images[torch.from_numpy(held)]), pose[held], r2),
    }  # fmt: skip
    print(record["held_out_faces"])
    print(write_result("judge", record, given.out))


if __name__ == "__main__":
    main()
