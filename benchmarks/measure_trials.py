"""What the networks and the reading of `faceaug measure` gain, or would gain, from other ways to compute the same.

    python benchmarks/measure_trials.py utkface/images

Milliseconds of one core a photograph, of 64 photographs with one thread, contenders in turns: the median of `ROUNDS`.
The network of the alignment is timed as it is, with batch normalization folded into the convolutions, and in bfloat16;
the reconstruction as it was trained, and in batches of several sizes, with whether its numbers are then the same bits;
and the parts of reading beside other ways to do them. Writes benchmarks/results/measure_trials.json.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _record import environment, write_result
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from faceaug.latents.bundle import read_bundle
from faceaug.measurement.alignment import CANVAS_SIDE, lay_on_canvas, stack_canvases
from faceaug.measurement.crops import CanvasPyramid
from faceaug.measurement.measure import SHIPPED_DIRECTIONS, load_estimator, network_from_bundle
from faceaug.utils.images import decode, resize

PHOTOGRAPHS, ROUNDS, MAX_PIXELS = 64, 5, 2**26
BATCH_SIZES = (4, 8, 16, 32, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted(path for path in given.images.iterdir() if path.is_file())[:PHOTOGRAPHS]
    encoded = [path.read_bytes() for path in files]
    photographs = [decode(data, name="a photograph", max_pixels=MAX_PIXELS) for data in encoded]
    laid = [lay_on_canvas(photograph) for photograph in photographs]
    canvases, shorter = stack_canvases(laid)
    estimator = load_estimator()
    network, reconstruct = estimator.aligner.net, estimator.reconstruct
    trained = network_from_bundle(read_bundle(SHIPPED_DIRECTIONS))
    trained = trained.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    windows = torch.zeros(len(files), 4)
    images = estimator.aligner.crop_centre(canvases, shorter).images
    folded = _folded(network)
    half = deepcopy(folded).bfloat16()
    steps: dict[str, Callable[[], Any]] = {
        "decoding": lambda: [decode(data, name="a photograph", max_pixels=MAX_PIXELS) for data in encoded],
        "resizing to the canvas": lambda: [lay_on_canvas(each) for each in photographs],
        "resizing to the canvas, Lanczos": lambda: [resize(each, (CANVAS_SIDE, CANVAS_SIDE)) for each in photographs],
        "canvases as tensors": lambda: stack_canvases(laid),
        "pyramid and one crop": lambda: CanvasPyramid(canvases).crop(windows),
        "pyramid alone, average pooling": lambda: F.avg_pool2d(F.avg_pool2d(canvases, 2), 2),
        "alignment network, folded": lambda: folded(images),
        "alignment network, bfloat16": lambda: half(images.bfloat16()),
        "reconstruction as it was trained": lambda: trained(images),
    }
    for size in BATCH_SIZES:
        steps[f"alignment network, batches of {size}"] = _in_batches(network, images, size)
        steps[f"reconstruction, batches of {size}"] = _in_batches(reconstruct, images, size)
    with torch.no_grad():
        whole = reconstruct(images).albedo
        same = {
            size: torch.equal(whole, torch.cat([reconstruct(few).albedo for few in images.split(size)]))
            for size in BATCH_SIZES
        }
        record = {
            **environment(0, ("torch", "numpy", "pillow")),
            "photographs": len(files),
            "milliseconds": _timed(steps, len(files)),
            "reconstruction_same_bits": {str(size): equal for size, equal in same.items()},
            "bfloat16_largest_difference": float((half(images.bfloat16()).float() - network(images)).abs().max()),
        }
    print(write_result("measure_trials", record))


def _timed(steps: dict[str, Callable[[], Any]], count: int) -> dict[str, float]:
    """Return the milliseconds of one core a photograph of each step; steps take turns, in alternate orders."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for k in range(ROUNDS):
        for name in list(steps)[:: 1 if k % 2 else -1]:
            start = time.process_time()
            steps[name]()
            times[name].append(time.process_time() - start)
    return {name: 1000 * float(np.median(each)) / count for name, each in times.items()}


def _in_batches(network: Callable[[Tensor], Any], images: Tensor, size: int) -> Callable[[], Any]:
    return lambda: [network(few) for few in images.split(size)]


def _folded(network: nn.Module) -> nn.Module:
    """Return a copy of a network with its batch normalization folded into the convolutions before it."""
    network = deepcopy(network)
    for module in list(network.modules()):
        layers = list(module.named_children()) if isinstance(module, nn.Sequential) else []
        for (name, one), (after, two) in itertools.pairwise(layers):
            if isinstance(one, nn.Conv2d) and isinstance(two, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(one, two))
                setattr(module, after, nn.Identity())
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


if __name__ == "__main__":
    main()
