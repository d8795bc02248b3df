"""Speed of StyleGANs on a GPU: float32, bfloat16, compiled, and CUDA graphs; and the memory of a batch.

Networks have random weights and the published widths. Every variant synthesizes the same w in turns within one run, and
its images are compared with those in float32. Memory is the peak above the weights, beside the budget of `tile_size`.

    python benchmarks/speed_gpu.py    # from the root of the repository; writes benchmarks/results/gpu.json

`--device cpu` tests the script.
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

from faceaug.generators.base import tile_size
from faceaug.generators.stylegan2_networks import StyleGAN2Config, reset_parameters
from faceaug.generators.stylegan3_networks import Filters, StyleGAN3Config
from faceaug.generators.weights_file import Network, new_network
from faceaug.utils.device import check_device

Synthesis = Callable[[Tensor], Tensor]
COMPILED = "bfloat16, compiled"


def configurations(resolution: int, share: int) -> dict[str, StyleGAN2Config]:
    """Return the published shapes at a resolution, their channels divided by `share`."""

    def shape(base: int, most: int) -> tuple[int, int, int, int, int, int]:
        return resolution, 512, 512, 2, max(base // share, resolution), max(most // share, 1)

    return {
        "StyleGAN2": StyleGAN2Config(*shape(32768, 512)),
        "StyleGAN3-T": StyleGAN3Config(*shape(32768, 512), conv_clamp=256.0),
        "StyleGAN3-R": StyleGAN3Config(*shape(65536, 1024), conv_clamp=256.0, filters=Filters(kernel=1, radial=True)),
    }


def variants(network: Network, w: Tensor) -> dict[str, Callable[[], Synthesis]]:
    """Return functions that set up the variants of synthesis; the first is the reference."""
    synthesis = network.synthesis

    def in_bfloat16(ws: Tensor) -> Tensor:
        images: Tensor = synthesis(ws, "const", torch.bfloat16)
        return images

    setups: dict[str, Callable[[], Synthesis]] = {
        "float32": lambda: lambda ws: synthesis(ws, "const"),
        "bfloat16": lambda: in_bfloat16,
    }
    if w.device.type == "cuda":
        setups |= {
            COMPILED: lambda: torch.compile(in_bfloat16),
            "bfloat16, CUDA graph": lambda: record_graph(in_bfloat16, w),
        }
    return setups


def record_graph(synthesis: Synthesis, w: Tensor) -> Synthesis:
    """Return the synthesis as a CUDA graph, which takes w of one shape."""
    static_w = w.clone()
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # libraries select and initialize kernels before recording
            synthesis(static_w)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        images = synthesis(static_w)

    def replay(ws: Tensor) -> Tensor:
        static_w.copy_(ws)
        graph.replay()
        return images

    return replay


def seconds_per_batch(synthesis: Synthesis, w: Tensor, repeats: int) -> float:
    """Return the seconds of a batch, with synchronization of the device."""
    wait: Callable[[], object] = torch.cuda.synchronize if w.device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        synthesis(w)
    wait()
    return (time.perf_counter() - start) / repeats


def measure(config: StyleGAN2Config, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    """Return speed and accuracy of all variants for one network, in batches of the planned size."""
    network = new_network(config, "cpu")
    reset_parameters(network, options.seed)
    network = network.to(device).requires_grad_(False)
    planned = tile_size(config.largest_layer, device)
    rng = torch.Generator().manual_seed(options.seed)
    w = network.mapping(torch.randn(planned, config.z_dim, generator=rng).to(device))
    w = w[:, None].expand(-1, config.num_ws, -1).contiguous()
    result: dict[str, Any] = {"planned_batch": planned, "planned_bytes_per_image": 16 * config.largest_layer}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        network.synthesis(w, "const")
        used = torch.cuda.max_memory_allocated(device) - before
        result["used_bytes_per_image"] = round(used / planned)
    result["variants"], working = accuracy(network, w, compiles=not options.no_compile)
    for name, figures in speed(working, w, options).items():
        result["variants"][name] |= figures
    return result


def accuracy(network: Network, w: Tensor, *, compiles: bool) -> tuple[dict[str, Any], dict[str, Synthesis]]:
    """Return differences from float32 by variant, in standard deviations, and the variants that work."""
    reference: Tensor = network.synthesis(w, "const")
    deviation = float(reference.std())
    figures: dict[str, Any] = {}
    working: dict[str, Synthesis] = {}
    for name, set_up in variants(network, w).items():
        if not compiles and name == COMPILED:
            continue
        try:
            synthesis = set_up()
            difference = (synthesis(w) - reference).abs()
        except Exception as error:  # a variant that cannot be compiled or recorded is a result, and the others go on
            figures[name] = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
            continue
        working[name] = synthesis
        figures[name] = {
            "mean_difference_in_standard_deviations": float(f"{float(difference.mean()) / deviation:.3g}"),
            "largest": float(f"{float(difference.max()) / deviation:.3g}"),
        }
    return figures, working


def speed(working: dict[str, Synthesis], w: Tensor, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return images per second by variant, and the median of the ratios to float32 round by round."""
    rounds: dict[str, list[float]] = {name: [] for name in working}
    for _ in range(options.rounds):
        for name, synthesis in working.items():
            rounds[name].append(len(w) / seconds_per_batch(synthesis, w, options.repeats))
    figures = {}
    for name, rates in rounds.items():
        ratios = [rate / plain for rate, plain in zip(rates, rounds["float32"], strict=True)]
        figures[name] = {
            "images_per_second": round(statistics.median(rates), 2),
            "times_float32": round(statistics.median(ratios), 2),
        }
    return figures


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--networks", nargs="+", choices=list(configurations(64, 1)), help="instead of all")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out, which takes minutes")
    parser.add_argument("--narrower", type=int, default=1, help="divides the numbers of channels, to test the script")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5, help="batches of one measurement")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    options = parser.parse_args(arguments)
    device = check_device(options.device)
    record: dict[str, Any] = {**environment(options.seed, ["torch"], str(device)), "networks": {}}
    for resolution in options.resolutions:
        for name, config in configurations(resolution, options.narrower).items():
            if options.networks and name not in options.networks:
                continue
            record["networks"][f"{name}, {resolution} px"] = measure(config, device, options)
    print(write_result("gpu", record, options.out))


if __name__ == "__main__":
    main()
