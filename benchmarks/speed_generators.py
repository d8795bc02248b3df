"""Speed of generators on a CPU, and whether an image depends on the batch in which it is synthesized.

`digiface` is compared with its five layers as they were trained (with separate batch normalization), and the 64-px
StyleGAN2 of the training preset with a synthesis that modulates a kernel for every image (naive_stylegan2.py). Both
have the same weights and run in turns within one run. Run it from the root of the repository:
`python benchmarks/speed_generators.py`. The result goes to benchmarks/results/generators.json.
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
from naive_stylegan2 import synthesize
from torch import Tensor, nn

from faceaug.gan_training.config import PRESETS
from faceaug.generators import dcgan
from faceaug.generators.base import Generator, sample_z
from faceaug.generators.stylegan import StyleGAN2, initialize

Synthesis = Callable[[Tensor], Tensor]


def layers_as_trained() -> Synthesis:
    """Return the DCGAN of `digiface` as a plain stack of layers."""
    widths, layers = (100, 512, 256, 128, 64, 3), []
    for k in range(5):
        stride, pad = (1, 0) if k == 0 else (2, 1)
        layers.append(nn.ConvTranspose2d(widths[k], widths[k + 1], 4, stride, pad, bias=False))
        layers += [nn.BatchNorm2d(widths[k + 1]), nn.ReLU()] if k < 4 else [nn.Tanh()]
    network = nn.Sequential(*layers).eval().requires_grad_(False)
    network.load_state_dict(dcgan.read_weights(dcgan.find_weights()))
    return lambda w: network(w[:, :, None, None])


def kernel_per_image(generator: StyleGAN2) -> Synthesis:
    """Return the naive synthesis with a StyleGAN2's weights."""
    state, layers = generator.network.state_dict(), generator.network.config.num_ws
    return lambda w: synthesize(state, w[:, None].expand(-1, layers, -1)).clamp(-1, 1)


def images_per_second(synthesis: Synthesis, w: Tensor, batch: int, seconds: float) -> float:
    """Return the speed in batches of `batch`, measured for about `seconds`."""
    done, start = 0, time.perf_counter()
    while True:
        at = done % (len(w) - batch + 1)
        synthesis(w[at : at + batch])
        done += batch
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return done / elapsed


def compare(variants: dict[str, Synthesis], w: Tensor, batch: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Return the median images per second of both, and the median of the ratios round by round."""
    for synthesis in variants.values():
        synthesis(w[:batch])
    measured: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, synthesis in variants.items():
            measured[name].append(images_per_second(synthesis, w, batch, seconds))
    first, second = measured.values()
    ratios = [a / b for a, b in zip(first, second, strict=True)]
    return {
        "batch": batch,
        "images_per_second": {name: round(statistics.median(values), 1) for name, values in measured.items()},
        "fastest_images_per_second": {name: round(max(values), 1) for name, values in measured.items()},
        "times_the_alternative": round(statistics.median(ratios), 2),
    }


def count_changed(synthesis: Synthesis, w: Tensor, batches: Sequence[int]) -> dict[str, int]:
    """Return for each batch size how many images of w differ in any bit from those of a single batch."""
    together = synthesis(w)
    counts = {}
    for batch in batches:
        images = torch.cat([synthesis(latents) for latents in w.split(batch)])
        counts[str(batch)] = int((images != together).flatten(1).any(1).sum())
    return counts


def measure(
    generator: Generator, alternative: str, other: Synthesis, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return speed and reproducibility for each number of threads."""
    z = np.stack([sample_z(generator.z_dim, (options.seed, k)) for k in range(options.images)])
    w = generator.map(torch.from_numpy(z))
    variants = {"faceaug": generator.synthesize, alternative: other}
    results = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        results.append(
            {
                "threads": threads,
                "largest_difference": float((generator.synthesize(w) - other(w)).abs().max()),
                "speed": [compare(variants, w, batch, options.seconds, options.rounds) for batch in options.batches],
                "images_changed_by_the_batch": {
                    name: count_changed(synthesis, w, (1, 7, 32)) for name, synthesis in variants.items()
                },
            }
        )
    return results


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=1.0, help="time of one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=64, help="at least the largest of --batches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    options = parser.parse_args(arguments)
    style = initialize(PRESETS["64"].network, options.seed)
    faces = dcgan.load()
    record = {
        **environment(options.seed, ["numpy", "torch"]),
        "generators": {
            "digiface": measure(faces, "layers as trained", layers_as_trained(), options),
            "StyleGAN2, 64 px, preset 64": measure(style, "a kernel per image", kernel_per_image(style), options),
        },
    }
    print(write_result("generators", record, options.out))


if __name__ == "__main__":
    main()
