"""An estimator without any training, which reads the slope of an image's brightness, and faces for a short training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeGenerator, soft
from safetensors.torch import load_file, save_file
from torch import Tensor

from faceaug.generators.pool import sample_pool
from faceaug.measurement.alignment import ALIGNMENT_OUTPUTS, Aligner, train_alignment
from faceaug.measurement.confidence import ConfidenceModel
from faceaug.measurement.crop_network import CropNetwork
from faceaug.measurement.estimator import FaceEstimator
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.geometry import pixel_grid
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.utils.images import encode


class PlainFaces(FakeGenerator):
    """Bright faces with dark eyes and mouth that an alignment learns to find in seconds, w = z.

    Coordinates 0 to 2 colour the background, 3 lightens the face, 4 lights its right side.
    """

    def __init__(self) -> None:
        super().__init__("plain-faces", 64, np.zeros(5), np.eye(5))
        steps = (np.arange(64) + 0.5) / 64
        y, x = np.meshgrid(steps, steps, indexing="ij")

        def spot(across: float, down: float, width: float, height: float) -> np.ndarray:
            return soft(1 - np.hypot((x - across) / width, (y - down) / height), 0.1)

        face = spot(0.5, 0.55, 0.32, 0.42)
        marks = spot(0.36, 0.45, 0.08, 0.06) + spot(0.64, 0.45, 0.08, 0.06) + spot(0.5, 0.76, 0.14, 0.05)
        self._plain = torch.from_numpy(0.9 * face - 1.3 * marks - 0.3).float()
        self._parts = torch.from_numpy(np.stack([0.15 * (1 - face), 0.1 * face, 0.3 * face * (x - 0.5)])).float()

    def synthesize(self, w: Tensor) -> Tensor:
        parts = [w[:, :3, None, None] * self._parts[0]]
        parts += [w[:, k, None, None, None] * self._parts[k - 2] for k in (3, 4)]
        return (self._plain + sum(parts)).clamp(-1, 1)


@pytest.fixture(scope="session")
def taught_aligner(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Aligner:
    """An alignment that learns from plain faces for six seconds, without photometric jitter."""

    def make(folder: Path) -> None:
        faces = sample_pool(PlainFaces(), 256, 1).images
        aligner = train_alignment(faces, steps=120, batch_size=24, seed=1, jitter=lambda images, rng: images)
        save_file(aligner.state(), folder / "aligner.safetensors")

    return Aligner.from_state(load_file(made_once("taught_aligner", make) / "aligner.safetensors"))


def reconstruct(images: Tensor) -> FaceFactors:
    """Read an image that is brighter to the right as a flat face, turned and lit to the right, whose albedo it is.

    Nothing of an image that is much more red than green is explained.
    """
    grey = images.mean(1)
    x, y = pixel_grid(images.shape[-1], images).unbind(-1)
    across, down, twist = ((grey * way).mean((1, 2)) for way in (x, y, x * y))
    zero = torch.zeros_like(across)
    view = torch.stack([-0.5 * down, 0.5 * across, 0.5 * twist, zero, zero, zero], 1)
    light = torch.stack([zero + 0.75, zero + 0.25, 2 * across, -2 * down], 1)
    known = ((images[:, 0] - images[:, 1]).mean((1, 2)) < 0.5).float()
    albedo = (images + 1) / 2 * known[:, None, None, None]
    return FaceFactors(torch.ones_like(grey), albedo, light, view)


def still_aligner() -> Aligner:
    """Return an alignment that finds a face in every image and never moves: it ends at the first start."""
    return _constant_aligner(0.0)


def enlarging_aligner() -> Aligner:
    """Return an alignment that finds a face in every image, and enlarges the window by 43% in the steps of a search."""
    return _constant_aligner(0.9)


def _constant_aligner(growth: float) -> Aligner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = CropNetwork(ALIGNMENT_OUTPUTS)
    last = net.head[-1]
    last.weight.data.zero_()
    last.bias.data = torch.tensor([0.0, 0.0, growth, 0.0, 6.0])
    return Aligner(net)


def fake_estimator() -> FaceEstimator:
    """Return an estimator with a confidence of 0.88 for all, which refuses what is not explained."""
    count = len(FACTOR_NAMES)
    confidence_model = ConfidenceModel(
        spread=np.array([10.0, 10, 10, 10, 10, 0.1]),
        centre=np.zeros((count, 5)),
        scale=np.ones((count, 5)),
        weights=np.zeros((count, 5)),
        bias=np.full(count, 2.0),
        limits=np.array([0.6, 3.0, 1.0, 0.0]),
        presence=np.array([1.0, 0.0, 0.0]),
    )
    return FaceEstimator(reconstruct, still_aligner(), confidence_model)


def slope(strength: float, side: int = 48, height: int | None = None, red: float = 0.0) -> np.ndarray:
    """Return an image, uint8 [height, side, 3], that is brighter to the right by `strength` in [-1, 1]."""
    across = np.linspace(-1, 1, side) * strength * 0.9
    down = np.linspace(0.2, -0.2, height or side)
    grey = np.clip(across[None, :] + down[:, None], -1, 1)
    colours = np.stack([grey * (1 - red) + red, grey * (1 - red) - red * 0.8, grey], 2)
    return ((np.clip(colours, -1, 1) + 1) * 127.5).round().astype(np.uint8)


def write_slopes(folder: Path, strengths: list[float]) -> Path:
    """Write an image for each strength (00.png, 01.png ...) and return the folder; there are no labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, strength in enumerate(strengths):
        (folder / f"{k:02d}.png").write_bytes(encode(slope(strength), "png"))
    return folder
