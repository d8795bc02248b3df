"""How fast StyleGANs draw on a GPU: in 32 bits, in bfloat16, compiled, from CUDA graphs; and what memory a batch takes.

Random weights of the published widths; every way draws the same w in turns within one run, and its pictures are held
against those in 32 bits. Memory is the peak beyond the weights, beside what `tile_of` plans with. Run it from the root
of the repository: `python benchmarks/speed_gpu.py`. The result goes to benchmarks/results/gpu.json; there is none yet,
since no GPU was at hand. `--device cpu` tries the script out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from _record import environment, write_result
from torch import Tensor

from faceaug.generators.base import tile_of
from faceaug.generators.stylegan2_networks import StyleGAN2Config, reset_parameters
from faceaug.generators.stylegan3_networks import Filters, StyleGAN3Config
from faceaug.generators.weights_file import Network, new_network
from faceaug.utils.device import check_device

Draw = Callable[[Tensor], Tensor]


def configurations(resolution: int, share: int) -> dict[str, StyleGAN2Config]:
    """Return the published shapes at a resolution, their channels divided by `share`."""

    def shape(base: int, most: int) -> tuple[int, int, int, int, int, int]:
        return resolution, 512, 512, 2, max(base // share, resolution), max(most // share, 1)

    return {
        "StyleGAN2": StyleGAN2Config(*shape(32768, 512)),
        "StyleGAN3-T": StyleGAN3Config(*shape(32768, 512), conv_clamp=256.0),
        "StyleGAN3-R": StyleGAN3Config(
            *shape(65536, 1024), conv_clamp=256.0, filters=Filters(kernel=1, radial=True)
        ),
    }  # fmt: skip


def ways(network: Network, w: Tensor) -> dict[str, Callable[[], Draw]]:
    """Return what makes the ways to draw: the first is what the others are held against."""
    draw = network.synthesis

    def rough(ws: Tensor) -> Tensor:
        images: Tensor = draw(ws, "const", torch.bfloat16)
        return images

    found: dict[str, Callable[[], Draw]] = {"float32": lambda: lambda ws: draw(ws, "const"), "bfloat16": lambda: rough}
    if w.device.type == "cuda":
        found |= {
            "bfloat16, compiled": lambda: torch.compile(rough),
            "bfloat16, CUDA graph": lambda: recorded(rough, w),
        }
    return found


def recorded(draw: Draw, w: Tensor) -> Draw:
    """Return a way to draw from a CUDA graph, which takes w of one shape."""
    given = w.clone()
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # libraries choose and set up before they are recorded
            draw(given)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        images = draw(given)

    def replay(ws: Tensor) -> Tensor:
        given.copy_(ws)
        graph.replay()
        return images

    return replay


def seconds(draw: Draw, w: Tensor, repeats: int) -> float:
    """Return the seconds that a batch takes, waiting until the device is done."""
    wait: Callable[[], object] = torch.cuda.synchronize if w.device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        draw(w)
    wait()
    return (time.perf_counter() - start) / repeats


def measure(config: StyleGAN2Config, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    """Return what one network takes in every way, drawing as many images at a time as are planned."""
    network = new_network(config, "cpu")
    reset_parameters(network, options.seed)
    network = network.to(device).requires_grad_(False)
    planned = tile_of(config.largest, device)
    rng = torch.Generator().manual_seed(options.seed)
    w = network.mapping(torch.randn(planned, config.z_dim, generator=rng).to(device))
    w = w[:, None].expand(-1, config.num_ws, -1).contiguous()
    result: dict[str, Any] = {"planned_batch": planned, "planned_bytes_an_image": 16 * config.largest}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        network.synthesis(w, "const")
        taken = torch.cuda.max_memory_allocated(device) - before
        result["taken_bytes_an_image"] = round(taken / planned)
    exact: Tensor = network.synthesis(w, "const")
    spread = float(exact.std())
    result["ways"], draws = {}, {}
    for name, make in ways(network, w).items():
        try:
            draw = make()
            off = (draw(w) - exact).abs()
        except Exception as error:  # what a compiler or a capture cannot do is a finding, and the others go on
            result["ways"][name] = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
            continue
        draws[name] = draw
        result["ways"][name] = {
            "mean_difference_in_standard_deviations": float(f"{float(off.mean()) / spread:.3g}"),
            "largest": float(f"{float(off.max()) / spread:.3g}"),
        }
    rounds: dict[str, list[float]] = {name: [] for name in draws}
    for _ in range(options.rounds):
        for name, draw in draws.items():
            rounds[name].append(planned / seconds(draw, w, options.repeats))
    for name, rates in rounds.items():
        ratios = [rate / plain for rate, plain in zip(rates, rounds["float32"], strict=True)]
        result["ways"][name]["images_per_second"] = round(statistics.median(rates), 2)
        result["ways"][name]["times_float32"] = round(statistics.median(ratios), 2)
    return result


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument(
        "--narrower", type=int, default=1, help="divides the numbers of channels, to try the script out"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5, help="batches of one measurement")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    options = parser.parse_args(arguments)
    device = check_device(options.device)
    record: dict[str, Any] = {**environment(options.seed, ["torch"], str(device)), "networks": {}}
    for resolution in options.resolutions:
        for name, config in configurations(resolution, options.narrower).items():
            record["networks"][f"{name}, {resolution} px"] = measure(config, device, options)
    print(write_result("gpu", record, options.out))


if __name__ == "__main__":
    main()
