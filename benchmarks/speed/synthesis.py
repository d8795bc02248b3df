"""Synthesis on a CPU beside plain implementations with the same weights (naive_stylegan2.py; layers as trained)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.naive_stylegan2 import synthesize
from benchmarks.speed.protocol import OURS, Case, Disagreement, Size
from faceaug.generators import dcgan
from faceaug.generators.base import Generator, sample_z
from faceaug.generators.stylegan import StyleGAN2, initialize
from faceaug.generators.stylegan2_networks import StyleGAN2Config

TITLE = "synthesis, images of a generator"
NETWORKS = {
    "full": {
        "StyleGAN2, 64 px (8192, 128)": (StyleGAN2Config(64, channel_base=8192, channel_max=128), 8),
        "StyleGAN2, 64 px (16384, 512)": (StyleGAN2Config(64, channel_base=16384, channel_max=512), 8),
        "StyleGAN2, 256 px (16384, 512)": (StyleGAN2Config(256, channel_base=16384, channel_max=512), 4),
    },
    "tiny": {"StyleGAN2, 16 px (256, 16)": (StyleGAN2Config(16, channel_base=256, channel_max=16), 2)},
}
AIM, WITHIN = 2.0, 1e-3
_DIGIFACE_BATCH = 64


def cases(size: Size, folder: Path) -> Iterator[Case]:
    """Yield a case for each network."""
    for name, (config, batch) in NETWORKS[size].items():
        style = initialize(config, seed=0, statistics_samples=2 * config.w_dim)
        yield _case(
            name, style, batch, {"a kernel for every image, grouped convolution": _kernel_per_image(style)}, AIM
        )
    faces = dcgan.load()
    batch = _DIGIFACE_BATCH if size == "full" else 2
    yield _case("digiface, 64 px", faces, batch, {"layers as they were trained": _layers_as_trained()}, None)


def _case(
    name: str, generator: Generator, batch: int, others: dict[str, Callable[[Tensor], Tensor]], aim: float | None
) -> Case:
    z = np.stack([sample_z(generator.z_dim, (0, k)) for k in range(batch)])
    with torch.no_grad():
        w = generator.map(torch.from_numpy(z))

    def agree() -> str:
        with torch.no_grad():
            ours = generator.synthesize(w)
            difference = max(float((ours - other(w)).abs().max()) for other in others.values())
        if difference > WITHIN:
            raise Disagreement(f"{name}: images in [-1, 1] differ by up to {difference:.1e}")
        return f"images in [-1, 1] differ by {difference:.0e} at most"

    works = {OURS: torch.no_grad()(lambda: generator.synthesize(w))}
    works |= {other: torch.no_grad()(lambda call=call: call(w)) for other, call in others.items()}
    return Case(f"{name}, batches of {batch}", "images", batch, works, agree, aim=aim)


def _kernel_per_image(generator: StyleGAN2) -> Callable[[Tensor], Tensor]:
    state, layers = generator.network.state_dict(), generator.network.config.num_ws
    return lambda w: synthesize(state, w[:, None].expand(-1, layers, -1)).clamp(-1, 1)


def _layers_as_trained() -> Callable[[Tensor], Tensor]:
    """Return the DCGAN of `digiface` as a plain stack of layers."""
    widths, layers = (100, 512, 256, 128, 64, 3), []
    for k in range(5):
        stride, pad = (1, 0) if k == 0 else (2, 1)
        layers.append(nn.ConvTranspose2d(widths[k], widths[k + 1], 4, stride, pad, bias=False))
        layers += [nn.BatchNorm2d(widths[k + 1]), nn.ReLU()] if k < 4 else [nn.Tanh()]
    network = nn.Sequential(*layers).eval().requires_grad_(False)
    network.load_state_dict(dcgan.read_weights(dcgan.find_weights()))
    return lambda w: network(w[:, :, None, None])
