"""Faces that are a grey ball with a red nose under a blue hat, and an untrained estimator that sees how far the nose is
from the middle of the hat, which does not turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fake_estimator import fake_estimator
from torch import Tensor

from faceaug.datasets.dataset import FaceDataset, load_dataset
from faceaug.measurement.estimator import FaceEstimator
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.geometry import FOCAL, pixel_grid
from faceaug.utils.images import encode

RELIEF = 1 / (FOCAL + 1)
"""How much nearer than the axis the nose is: so its place in the image is the sine of the yaw."""
HAT = 0.85
"""How far above the middle the hat is: away from what a warp turns."""


def nosy(yaw: float, seed: int, side: int = 48, height: int | None = None) -> np.ndarray:
    """Return a face, uint8 [height, side, 3], whose nose points to `yaw` degrees; the rest of it is the seed's."""
    rows, columns = height or side, side
    down, across = ((2 * np.arange(n) + 1 - n) / min(rows, columns) for n in (rows, columns))
    y, x = np.meshgrid(down, across, indexing="ij")
    rng = np.random.default_rng(seed)
    shading = sum(
        a * np.cos(np.pi * (i * x + j * y) + p)
        for i, j, a, p in zip(*rng.integers(-2, 3, (2, 9)), rng.normal(0, 0.12, 9), rng.uniform(0, 6, 9), strict=True)
    )
    grey = np.clip(0.1 - 0.4 * np.hypot(x, y) ** 2 + shading, -0.9, 0.5)
    nose = np.exp(-(((x - np.sin(np.radians(yaw))) ** 2 + y**2) / 0.02))
    hat = np.exp(-((x**2 + (y + HAT) ** 2) / 0.02))
    image = np.stack([grey + nose * (0.95 - grey), grey, grey + hat * (0.95 - grey)], 2)
    return ((image.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)


def find_nose(images: Tensor) -> FaceFactors:
    """Read yaw off nose and hat, light off which side is brighter; depth is a bump in the middle."""
    x, y = pixel_grid(images.shape[-1], images).unbind(-1)

    def place(channel: int) -> Tensor:
        coloured = (images[:, channel] - images[:, 1]).clamp(min=0)
        middle: Tensor = (coloured * x).sum((1, 2)) / coloured.sum((1, 2)).clamp(min=1e-6)
        return middle

    across = (place(0) - place(2)).clamp(-0.9, 0.9)
    slant = (images[:, 1] * x).mean((1, 2))
    zero = torch.zeros_like(across)
    depth = (1 - RELIEF * torch.exp(-(x.square() + y.square()) / 0.7)).expand(len(images), -1, -1)
    view = torch.stack([zero, torch.asin(across), zero, zero, zero, zero], 1)
    light = torch.stack([zero + 0.6, zero + 0.6, 2 * slant, zero], 1)
    return FaceFactors(depth, (images + 1) / 2, light, view)


def nosy_estimator() -> FaceEstimator:
    """Return an estimator that reads `nosy` faces in the framing they have."""
    base = fake_estimator()
    tolerant = replace(base.confidence_model, limits=np.array([9.0, 9.0, 9.0, 0.0]))
    return replace(base, reconstruct=find_nose, confidence_model=tolerant, sha256="ab" * 32)


def nosy_dataset(folder: Path, count: int = 60) -> FaceDataset:
    """Write faces as PNG files with their measured yaw; nine in ten look ahead, and two in five are labelled round."""
    rng = np.random.default_rng(4)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for k in range(count):
        yaw = rng.uniform(-9, 9) if k % 10 else rng.uniform(10, 20) * rng.choice([-1, 1])
        image = nosy(yaw, k)
        (folder / f"{k:03d}.png").write_bytes(encode(image, "png"))
        canvas = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        big = torch.nn.functional.interpolate(canvas, size=(192, 192), mode="bilinear", align_corners=False)
        read = nosy_estimator().read(big, torch.ones(1), aligned=True).values[0, 0]
        rows.append(
            {"file": f"{k:03d}.png", "shape": "round" if k % 5 < 2 else "long", "weight": k % 7 + 0.5, "yaw": read}
        )
    table = folder.parent / f"{folder.name}.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return load_dataset(folder, table)
