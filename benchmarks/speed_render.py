"""How fast faces are rendered, forward and backward, beside a rasterizer that keeps every triangle in the graph.

Both render the depth of the same scenes in their true views at 64 pixels, in turns within one run; the rest of a
rendering (light, inverse warp, colour) and the synthesis of the scenes are timed as well. The alternative tries each
triangle at 3 x 3 pixels and lets autograd go through all of it. Beside images per second stand images per second
of processor time, all threads together: with one thread, the speed of an otherwise idle machine. Run
it from the root of the repository: `python benchmarks/speed_render.py`. The result goes to
benchmarks/results/render.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import environment, write_result
from torch import Tensor

from faceaug.generators.base import sample_z
from faceaug.reconstruction.geometry import move, project, unproject
from faceaug.reconstruction.renderer import FILL_DEPTH, rasterize, render
from faceaug.reconstruction.synthetic_scenes import Scenes

SIDE = 64
ALTERNATIVE = "every triangle in the graph"


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


def both_ways(draw: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], None]:
    """Return a call that renders and sends a gradient back to all inputs."""
    leaves = [part.clone().requires_grad_() for part in inputs]

    def call() -> None:
        torch.autograd.grad(draw(*leaves).sum(), leaves)

    return call


def rate(call: Callable[[], Any], batch: int, seconds: float) -> tuple[float, float]:
    """Return images per second over about `seconds`, and images per second of processor time."""
    done, start, used = 0, time.perf_counter(), time.process_time()
    while True:
        call()
        done += batch
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return done / elapsed, done / (time.process_time() - used)


def measure(options: argparse.Namespace, batch: int) -> dict[str, Any]:
    """Return the median images per second of each call, in turns, and the ratio to the alternative."""
    scenes = Scenes(SIDE)
    w = torch.from_numpy(np.stack([sample_z(scenes.z_dim, (options.seed, k)) for k in range(batch)]))
    truth = scenes.truth(w)
    depth, albedo, light, view = truth.depth, truth.albedo, truth.light, truth.view
    calls: dict[str, Callable[[], Any]] = {
        "rasterize, forward and backward": both_ways(lambda *inputs: rasterize(*inputs)[0], depth, view),
        ALTERNATIVE: both_ways(naive, depth, view),
        "render, forward and backward": both_ways(lambda *inputs: render(*inputs).image, albedo, depth, light, view),
        "render, forward": torch.no_grad()(lambda: render(albedo, depth, light, view)),
        "scenes": torch.no_grad()(lambda: scenes.synthesize(w)),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(options.rounds):
        for name, call in calls.items():
            found[name].append(rate(call, batch, options.seconds))
    wall, used = ({name: [rates[k] for rates in all_] for name, all_ in found.items()} for k in (0, 1))
    ratios = [a / b for a, b in zip(used["rasterize, forward and backward"], used[ALTERNATIVE], strict=True)]
    seen, mask = rasterize(depth, view)
    return {
        "batch": batch,
        "images_per_second": {name: round(statistics.median(rates), 1) for name, rates in wall.items()},
        "images_per_processor_second": {name: round(statistics.median(rates), 1) for name, rates in used.items()},
        "times_the_alternative": round(statistics.median(ratios), 2),
        "median_difference_of_depth": float((seen - naive(depth, view))[mask].abs().median()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--seconds", type=float, default=1.0, help="time of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    options = parser.parse_args(arguments)
    record = {**environment(options.seed, ["numpy", "torch"]), "side": SIDE, "results": []}
    for threads in options.threads:
        torch.set_num_threads(threads)
        record["results"] += [{"threads": threads, **measure(options, batch)} for batch in options.batches]
    print(write_result("render", record, options.out))


if __name__ == "__main__":
    main()
