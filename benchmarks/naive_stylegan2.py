"""StyleGAN2's synthesis as the paper writes it: kernels are modulated for every image, then one grouped convolution.

The named alternative of the row `synthesis` of benchmarks/speed, and the reference that the tests hold faceaug's
synthesis against. It takes the state of a `StyleGAN2Network` and shares no code with it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def filtered(x: Tensor, gain: float, pad: tuple[int, int]) -> Tensor:
    """Convolve each channel with the outer product of (1, 3, 3, 1) / 8, times `gain`, after padding both sides."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = gain * torch.outer(line, line).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, (*pad, *pad)), kernel, groups=x.shape[1])


def spread(x: Tensor) -> Tensor:
    """Put a zero behind every pixel: [N, C, H, W] to [N, C, 2H, 2W]."""
    n, c, h, w = x.shape
    out = x.new_zeros(n, c, h, 2, w, 2)
    out[:, :, :, 0, :, 0] = x
    return out.view(n, c, 2 * h, 2 * w)


def modulated(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool, up: bool = False) -> Tensor:
    """Equations 1 and 3 of arXiv 1912.04958, with a kernel an image: x [N, in, H, W], style [N, in]."""
    kernel = weight[None] * style[:, None, :, None, None]  # [N, out, in, k, k]
    if demodulate:
        kernel = kernel * torch.rsqrt(kernel.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    n, outputs, inputs, size, _ = kernel.shape
    if up:  # zeros between the pixels, the kernel turned round (a true convolution), then the filter with gain 4
        kernel = kernel.flip(3, 4)
        x = spread(x)
        wide = F.conv2d(
            F.pad(x, (2, 1, 2, 1)).reshape(1, n * inputs, x.shape[2] + 3, x.shape[3] + 3),
            kernel.reshape(n * outputs, inputs, size, size),
            groups=n,
        )
        return filtered(wide.view(n, outputs, *wide.shape[2:]), 4.0, (1, 1))
    y = F.conv2d(
        x.reshape(1, n * inputs, *x.shape[2:]),
        kernel.reshape(n * outputs, inputs, size, size),
        padding=size // 2,
        groups=n,
    )
    return y.view(n, outputs, *y.shape[2:])


def affine(state: dict[str, Tensor], name: str, w: Tensor) -> Tensor:
    weight = state[f"{name}.affine.weight"]
    return w @ weight.T / math.sqrt(weight.shape[1]) + state[f"{name}.affine.bias"]


def layer(state: dict[str, Tensor], name: str, x: Tensor, w: Tensor, *, up: bool, noise: bool) -> Tensor:
    x = modulated(x, state[f"{name}.weight"], affine(state, name, w), demodulate=True, up=up)
    if noise:
        x = x + state[f"{name}.noise_const"] * state[f"{name}.noise_strength"]
    return F.leaky_relu(x + state[f"{name}.bias"][:, None, None], 0.2) * math.sqrt(2)


def synthesize(state: dict[str, Tensor], ws: Tensor, *, noise: bool = True) -> Tensor:
    """Draw images [N, 3, R, R] from a w for every layer, ws [N, layers, W]; `state` is that of a `StyleGAN2Network`."""
    sides = sorted({int(key.split(".")[1][1:]) for key in state if key.startswith("synthesis.b")})
    x = rgb = torch.empty(0)
    used = 0
    for side in sides:
        block = f"synthesis.b{side}"
        if side == 4:
            x = state[f"{block}.const"].expand(len(ws), -1, -1, -1)
        else:
            x = layer(state, f"{block}.conv0", x, ws[:, used], up=True, noise=noise)
            used += 1
        x = layer(state, f"{block}.conv1", x, ws[:, used], up=False, noise=noise)
        used += 1
        weight = state[f"{block}.torgb.weight"]
        style = affine(state, f"{block}.torgb", ws[:, used]) / math.sqrt(weight.shape[1])
        new = modulated(x, weight, style, demodulate=False) + state[f"{block}.torgb.bias"][:, None, None]
        rgb = new if side == 4 else filtered(spread(rgb), 4.0, (2, 1)) + new
    return rgb


def naive_map(state: dict[str, Tensor], z: Tensor) -> Tensor:
    """Turn z [N, Z] into w [N, W]; equalized learning rate 0.01."""
    x = z / z.square().mean(1, keepdim=True).add(1e-8).sqrt()
    index = 0
    while f"mapping.fc{index}.weight" in state:
        weight, bias = state[f"mapping.fc{index}.weight"], state[f"mapping.fc{index}.bias"]
        x = x @ (weight * (0.01 / math.sqrt(weight.shape[1]))).T + bias * 0.01
        x = torch.maximum(x, 0.2 * x) * math.sqrt(2)
        index += 1
    return x
