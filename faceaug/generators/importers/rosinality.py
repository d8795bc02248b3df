"""The ``.pt`` files of rosinality's stylegan2-pytorch, trained with it or converted to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from faceaug.errors import GeneratorError
from faceaug.generators.importers.tensor_map import (
    W_AVG,
    ForeignCheckpoint,
    TensorSource,
    channel_rule,
    check_blur,
    equalized_lr_scale,
    tensor_shape,
)
from faceaug.generators.importers.torch_file import read_torch_file
from faceaug.generators.importers.unpickler import dict_entries, refusal_reason
from faceaug.generators.stylegan2_networks import StyleGAN2Config

# Files of a training hold its command line, as a Namespace of plain values.
_ALLOWED_NAMES = frozenset({"argparse.Namespace"})
_TENSOR_NAMES = {
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "conv.weight": "weight",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "input": "const",
    "noise": "noise_const",
}
_CONSTANT_FILTERS = re.compile(r"(to_rgbs\.\d+\.upsample|convs\.\d+\.conv\.blur)\.kernel")


def read_rosinality(path: Path) -> ForeignCheckpoint:
    """Find the generator in a ``.pt`` file.

    Raises
    ------
    GeneratorError
        When the file is damaged, contains a name that is not allowed, or holds no generator of rosinality's layout.
    """
    file = read_torch_file(path, _ALLOWED_NAMES, refusal_reason)
    root = file.value if isinstance(file.value, dict) else {}
    state = dict_entries(root.get("g_ema"))
    if not state:
        raise GeneratorError(f"{path} has no entry g_ema: it is no file of rosinality's stylegan2-pytorch")
    names = {name: value for name, value in state.items() if isinstance(name, str)}
    block_sides = [4 << k for k in range(1 + _count(r"to_rgbs\.\d+\.conv\.weight", names))]
    if len(block_sides) > 10:
        raise GeneratorError(
            f"{path} has {len(block_sides)} sizes of images, up to {block_sides[-1]} pixels; 2048 can be read"
        )
    sources = {W_AVG: TensorSource("latent_avg", root.get("latent_avg"), absent=root.get("latent_avg") is None)}
    widths = {}
    for index, side in enumerate(block_sides):
        rgb = "to_rgb1" if index == 0 else f"to_rgbs.{index - 1}"
        widths[side] = tensor_shape(file, names, f"{rgb}.conv.weight", 5)[2]
    for name, value in names.items():
        if _CONSTANT_FILTERS.fullmatch(name):
            check_blur(file, name, value, 4.0)
        else:
            ours = _our_name(name)
            scale = equalized_lr_scale(tensor_shape(file, names, name, 5)[2]) if _is_kernel(ours) else 1.0
            sources[ours] = TensorSource(name, value, scale)
    for index in range(2 * len(block_sides) - 1):  # files of early versions hold no noise
        sources.setdefault(f"{_convolution(index)}.noise_const", TensorSource(f"noises.noise_{index}", absent=True))
    w_dim, z_dim = tensor_shape(file, names, "style.1.weight", 2)
    base, highest = channel_rule(widths)
    layers = _count(r"style\.[1-9]\d*\.weight", names)
    config = StyleGAN2Config(block_sides[-1], z_dim, w_dim, layers, base, highest)
    return ForeignCheckpoint(file, config, sources, "StyleGAN2 in rosinality's form")


def _count(pattern: str, names: Iterable[str]) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in names)


def _is_kernel(ours: str) -> bool:
    return ours.endswith(("conv0.weight", "conv1.weight"))


def _our_name(name: str) -> str:
    """Return our name of a tensor; unknown names are returned unchanged, and refused later."""
    for pattern, module_name in _MODULES:
        match = re.fullmatch(pattern, name)
        if match is not None:
            number, tensor = int(match["number"] or 0), match["tensor"]
            return f"{module_name(number)}.{_TENSOR_NAMES.get(tensor, tensor)}"
    return name


def _convolution(number: int) -> str:
    """Return the name of the convolution with the given number, counted from the one at 4 pixels."""
    return f"synthesis.b{4 << (number + 1) // 2}.conv{(number + 1) % 2}"


_MODULES: tuple[tuple[str, Callable[[int], str]], ...] = (
    (r"(?P<number>)input\.(?P<tensor>input)", lambda _: "synthesis.b4"),
    (r"style\.(?P<number>[0-9]{1,2})\.(?P<tensor>weight|bias)", lambda number: f"mapping.fc{number - 1}"),
    (r"noises\.(?P<tensor>noise)_(?P<number>[0-9]{1,2})", _convolution),
    (r"(?P<number>)conv1\.(?P<tensor>.+)", lambda _: _convolution(0)),
    (r"convs\.(?P<number>[0-9]{1,2})\.(?P<tensor>.+)", lambda number: _convolution(number + 1)),
    (r"(?P<number>)to_rgb1\.(?P<tensor>.+)", lambda _: "synthesis.b4.torgb"),
    (r"to_rgbs\.(?P<number>[0-9]{1,2})\.(?P<tensor>.+)", lambda number: f"synthesis.b{8 << number}.torgb"),
)
