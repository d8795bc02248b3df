"""Checkpoints as other programs write them: NVIDIA's pickles of modules and rosinality's .pt, of a network of ours.

The records carry class names, source texts and states as the official ones do. Their source text exits when it is run.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.generators.stylegan3_networks import StyleGAN3Config
from faceaug.generators.weights_file import Network, new_network

SOURCE = "raise SystemExit('the source text in the file was run')"
FILTER = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64


def _reconstruct_persistent_obj(meta: Any) -> None:
    raise SystemExit("a record of the file was called")


class EasyDict(dict):  # type: ignore[type-arg]
    """A dict, as NVIDIA's files have them."""


@contextlib.contextmanager
def nvidia_names() -> Iterator[None]:
    """Let pickles name what NVIDIA's programs have."""
    made = {}
    for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util"):
        made[name] = types.ModuleType(name)
    for owner, name, thing in (
        ("torch_utils.persistence", "_reconstruct_persistent_obj", _reconstruct_persistent_obj),
        ("dnnlib.util", "EasyDict", EasyDict),
    ):
        thing.__module__ = owner
        setattr(made[owner], name, thing)
    before = {name: sys.modules.get(name) for name in made}
    sys.modules.update(made)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


@dataclass
class Record:
    """A module as NVIDIA's persistence pickles it."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)

    def __reduce__(self) -> Any:
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.name, "state": self.state}
        return _reconstruct_persistent_obj, (meta,)


def record(name: str, **settings: Any) -> Record:
    """Return a module without tensors."""
    empty = {key: OrderedDict() for key in ("_parameters", "_buffers", "_modules", "_forward_hooks")}
    return Record(name, {"training": False, **empty, **settings})


def network(config: StyleGAN2Config, seed: int = 0) -> Network:
    """Return a network whose every tensor is random and does something."""
    made = new_network(config, "cpu")
    rng = torch.Generator().manual_seed(seed)
    for name, tensor in made.state_dict().items():
        tensor.copy_(torch.randn(tensor.shape, generator=rng))
        if name.endswith(("affine.bias", "magnitude_ema")):
            tensor.abs_().add_(0.5)
    return made.requires_grad_(False)


def nvidia_module(source: Network, given: dict[str, Any] | None = None) -> Record:
    """Return the generator's record; `given` are further settings, by the dotted name of the module they belong to."""
    config = source.config
    top = record("Generator", _init_kwargs=EasyDict(), img_resolution=config.resolution)
    kinds = {"mapping": "MappingNetwork", "synthesis": "SynthesisNetwork"}
    for name, tensor in source.state_dict().items():
        place, at = top, ""
        *owners, last = name.split(".")
        for part in owners:
            at = f"{at}.{part}".lstrip(".")
            modules = place.state["_modules"]
            if part not in modules:
                modules[part] = record(kinds.get(part, "Layer"))
            place = modules[part]
        buffers = ("w_avg", "noise_const", "freqs", "phases", "transform", "magnitude_ema")
        if last in buffers:
            place.state["_buffers"][last] = tensor.clone()
        else:
            place.state["_parameters"][last] = nn.Parameter(tensor.clone())
    modules = top.state["_modules"]
    for name, layer in modules["mapping"].state["_modules"].items():
        layer.state |= {"activation": "linear" if name == "embed" else "lrelu"}
        layer.state |= {"bias_gain": 1 if name == "embed" else 0.01}
    synthesis = modules["synthesis"]
    synthesis.state |= {"img_resolution": config.resolution, "_init_kwargs": EasyDict()}
    if isinstance(config, StyleGAN3Config):
        _add_filters(source, synthesis)
    else:
        for block in synthesis.state["_modules"].values():
            block.state["_buffers"]["resample_filter"] = FILTER.clone()
            for layer in block.state["_modules"].values():
                layer.state |= {"conv_clamp": config.conv_clamp, "activation": "lrelu"}
                if "noise_const" in layer.state["_buffers"]:
                    layer.state["_buffers"]["resample_filter"] = FILTER.clone()
    for name, settings in (given or {}).items():
        place = top
        for part in name.split(".") if name else ():
            place = place.state["_modules"][part]
        place.state |= settings
    return top


def _add_filters(source: Network, synthesis: Record) -> None:
    config = source.config
    f = config.filters
    synthesis.state["_init_kwargs"].update(
        channel_base=config.channel_base,
        channel_max=config.channel_max,
        num_layers=f.layers,
        num_critical=f.critical,
        first_cutoff=f.first_cutoff,
        first_stopband=f.first_stopband,
        last_stopband_rel=f.last_stopband,
        margin_size=f.margin,
        output_scale=f.output_scale,
        conv_kernel=f.kernel,
        filter_size=f.taps,
        lrelu_upsampling=f.oversampling,
        use_radial_filters=f.radial,
    )
    for name, (up, down) in source.synthesis.filter_designs().items():
        layer = synthesis.state["_modules"][name]
        layer.state["conv_clamp"] = config.conv_clamp
        for kind, design in (("up_filter", up), ("down_filter", down)):
            layer.state["_buffers"][kind] = None if design is None else torch.from_numpy(design).float()


def nvidia_bytes(module: Any, **more: Any) -> bytes:
    """Return the pickle of a training's snapshot with the given module as G_ema."""
    options = {"class_name": "training.dataset.ImageFolderDataset", "path": "faces.zip", "use_labels": False}
    whole = {
        "training_set_kwargs": EasyDict(options),
        "G": None,
        "D": None,
        "G_ema": module,
        "augment_pipe": None,
        **more,
    }
    with nvidia_names():
        return pickle.dumps(whole)


def rosinality_state(source: Network) -> OrderedDict[str, Tensor]:
    """Return the state of a network under the names and in the shapes of rosinality's."""
    theirs: OrderedDict[str, Tensor] = OrderedDict()
    state = source.state_dict()
    config = source.config
    for index in range(config.mapping_layers):
        for part in ("weight", "bias"):
            theirs[f"style.{index + 1}.{part}"] = state[f"mapping.fc{index}.{part}"].clone()
    theirs["input.input"] = state["synthesis.b4.const"][None].clone()
    noises = []
    for index, side in enumerate(config.sides):
        convolutions = ["conv1"] if index == 0 else ["conv0", "conv1"]
        for which, name in enumerate(convolutions):
            ours = f"synthesis.b{side}.{name}"
            place = "conv1" if index == 0 else f"convs.{2 * (index - 1) + which}"
            kernel = state[f"{ours}.weight"]
            theirs[f"{place}.conv.weight"] = (kernel * math.sqrt(9 * kernel.shape[1]))[None].clone()
            theirs[f"{place}.conv.modulation.weight"] = state[f"{ours}.affine.weight"].clone()
            theirs[f"{place}.conv.modulation.bias"] = state[f"{ours}.affine.bias"].clone()
            if name == "conv0":
                theirs[f"{place}.conv.blur.kernel"] = 4 * FILTER
            theirs[f"{place}.noise.weight"] = state[f"{ours}.noise_strength"][None].clone()
            theirs[f"{place}.activate.bias"] = state[f"{ours}.bias"].clone()
            noises.append(state[f"{ours}.noise_const"][None, None].clone())
        ours, place = f"synthesis.b{side}.torgb", "to_rgb1" if index == 0 else f"to_rgbs.{index - 1}"
        theirs[f"{place}.bias"] = state[f"{ours}.bias"][None, :, None, None].clone()
        theirs[f"{place}.conv.weight"] = state[f"{ours}.weight"][None].clone()
        theirs[f"{place}.conv.modulation.weight"] = state[f"{ours}.affine.weight"].clone()
        theirs[f"{place}.conv.modulation.bias"] = state[f"{ours}.affine.bias"].clone()
        if index:
            theirs[f"{place}.upsample.kernel"] = 4 * FILTER
    for index, noise in enumerate(noises):
        theirs[f"noises.noise_{index}"] = noise
    return theirs


def rosinality_file(path: Path, source: Network, *, converted: bool = True, old: bool = False, **more: Any) -> Path:
    """Write a .pt: a converted one with its mean latent, or a trained one with optimizers and command line."""
    whole: dict[str, Any] = {"g_ema": rosinality_state(source)}
    if converted:
        whole["latent_avg"] = source.mapping.w_avg.clone()
    else:
        optimizer = {
            "state": {0: {"step": 3, "exp_avg": torch.zeros(3)}},
            "param_groups": [{"lr": 0.002, "params": [0]}],
        }
        options = argparse.Namespace(size=source.config.resolution, path="faces.lmdb", augment=False)
        whole |= {"g": rosinality_state(source), "g_optim": optimizer, "args": options, "ada_aug_p": 0.25}
    torch.save({**whole, **more}, path, _use_new_zipfile_serialization=not old)
    return path
