"""Depth maps of rendered scenes, forward and backward, beside a rasterizer with every triangle in the graph.

The alternative tries each triangle at 3 x 3 pixels, and autograd goes through all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.protocol import OURS, Case, Disagreement, Size, Work
from faceaug.generators.base import sample_z
from faceaug.reconstruction.geometry import move, project, unproject
from faceaug.reconstruction.renderer import FILL_DEPTH, rasterize
from faceaug.reconstruction.synthetic_scenes import Scenes

TITLE = "differentiable rendering of depth"
SIDE = 64
BATCH = {"full": 16, "tiny": 2}
WITHIN = 1e-3  # median difference of depth, of about 1


def cases(size: Size, folder: Path) -> Iterator[Case]:
    """Yield the one case."""
    scenes = Scenes(SIDE)
    w = torch.from_numpy(np.stack([sample_z(scenes.z_dim, (0, k)) for k in range(BATCH[size])]))
    truth = scenes.truth(w)
    depth, view = truth.depth, truth.view

    def agree() -> str:
        seen, mask = rasterize(depth, view)
        off = float((seen - naive(depth, view))[mask].abs().median())
        if off > WITHIN:
            raise Disagreement(f"depth differs by {off:.1e}")
        return f"median difference of depth {off:.0e}, of about 1"

    works = {
        OURS: _both_ways(lambda *inputs: rasterize(*inputs)[0], depth, view),
        "every triangle in the graph": _both_ways(naive, depth, view),
    }
    yield Case(f"{SIDE} px, batches of {len(w)}, forward and backward", "images", len(w), works, agree)


def naive(depth: Tensor, view: Tensor) -> Tensor:
    """Return view depths [N, S, S]: each triangle at the 3 x 3 pixels from its upper left corner on."""
    n, side = depth.shape[:2]
    points = move(unproject(depth), view)
    column, row = ((project(points) + 1) * (side / 2) - 0.5).unbind(-1)
    a, b, c, d = ((slice(None), slice(i, side - 1 + i), slice(j, side - 1 + j)) for i in (0, 1) for j in (0, 1))
    x, y, inverse = (
        torch.stack([torch.stack([part[k] for k in corners], -1) for corners in ((a, b, c), (b, d, c))], 1).view(
            n, -1, 3
        )
        for part in (column, row, 1 / points[..., 2])
    )
    step = torch.arange(3, device=depth.device)
    pixel_x = (x.detach().amin(2).ceil()[..., None, None] + step).expand(-1, -1, 3, -1).flatten(2)  # [N, T, 9]
    pixel_y = (y.detach().amin(2).ceil()[..., None, None] + step[:, None]).expand(-1, -1, -1, 3).flatten(2)
    off_x, off_y = x[:, :, None] - pixel_x[..., None], y[:, :, None] - pixel_y[..., None]
    after, last = [1, 2, 0], [2, 0, 1]
    weights = off_x[..., after] * off_y[..., last] - off_x[..., last] * off_y[..., after]
    area = weights.sum(-1, keepdim=True)
    weights = weights / torch.where(area.abs() < 1e-5, 1.0, area)
    found = (weights * inverse[:, :, None]).sum(-1)
    hit = (weights >= -1e-3).all(-1) & (area[..., 0].abs() >= 1e-5)
    hit &= (pixel_x >= 0) & (pixel_x < side) & (pixel_y >= 0) & (pixel_y < side)
    place = torch.where(hit, pixel_y * side + pixel_x, 0.0).long().flatten(1)
    found = torch.where(hit, found, 0.0).flatten(1)
    best = found.new_zeros(n, side * side).scatter_reduce(1, place, found, "amax").view(n, side, side)
    return torch.where(best > 0, 1 / best.clamp(min=1e-3), FILL_DEPTH)


def _both_ways(draw: Callable[..., Tensor], *inputs: Tensor) -> Work:
    """Return a call that renders and sends a gradient back to all inputs."""
    leaves = [part.clone().requires_grad_() for part in inputs]

    def call() -> None:
        torch.autograd.grad(draw(*leaves).sum(), leaves)

    return call
