"""Absurd numbers wherever a file describes its network: one short sentence or a network, and no memory for claims."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import tracemalloc

import pytest
import safetensors.torch
import torch
from foreign_files import network, nvidia_bytes, nvidia_module, rosinality_file, rosinality_state
from torch import nn

from faceaug.errors import GeneratorError
from faceaug.generators import weights_file as weights
from faceaug.generators.importers import convert as checkpoints
from faceaug.generators.importers.convert import import_generator, read_foreign
from faceaug.generators.stylegan import Provenance, build_weights_file, from_bytes
from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.generators.stylegan3_networks import Filters, StyleGAN3Config

pytestmark = pytest.mark.slow

TINY = StyleGAN2Config(8, z_dim=4, w_dim=4, mapping_layers=1, channel_base=32, channel_max=4)
ALIAS_FREE = StyleGAN3Config(
    16, z_dim=4, w_dim=4, mapping_layers=1, channel_base=64, channel_max=4, filters=Filters(layers=3, margin=2)
)
NUMBERS = [
    -1,
    0,
    1,
    2,
    3,
    7,
    64,
    2048,
    4096,
    65536,
    2**31,
    -(2**31),
    2**63,
    10**30,
    10**400,
    -0.0,
    0.5,
    1e-300,
    1e300,
    math.nan,
    math.inf,
    -math.inf,
    True,
    False,
]
OTHERS = [None, "", "x" * 5000, "64\n", b"64", [], [64], {}, {"a": 1}, (), (64, 64)]
MOST = 50_000_000  # bytes that these files of a few kilobytes may make Python hold


def some(*axes):
    """Return as many of the combinations as FACEAUG_FUZZ says, the same ones each time; all where it is large."""
    cases = list(itertools.product(*axes))
    count = int(os.environ.get("FACEAUG_FUZZ", "60"))
    return random.Random(count).sample(cases, min(count, len(cases)))


def outcome(read):
    """Return what refused a file, or None; whatever it is, it is one short sentence of ours and took little memory."""
    tracemalloc.start()
    try:
        found = read()
    except GeneratorError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < 500, message
        return message
    else:
        assert sum(tensor.numel() for tensor in found.values()) < 100_000
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST


def test_settings_of_a_stylegan2_pickle(tmp_path):
    path, source, refused = tmp_path / "n.pkl", network(TINY), 0
    places = [
        ("synthesis.b4.conv1", "conv_clamp"),
        ("synthesis.b4.conv1", "activation"),
        ("mapping.fc0", "bias_gain"),
        ("mapping.fc0", "activation"),
        ("", "img_resolution"),
        ("synthesis", "img_resolution"),
        ("", "_parameters"),
        ("synthesis", "_modules"),
        ("synthesis.b8", "_buffers"),
        ("mapping", "_modules"),
    ]
    for (module, name), value in some(places, [*NUMBERS, *OTHERS]):
        path.write_bytes(nvidia_bytes(nvidia_module(source, {module: {name: value}})))
        refused += outcome(lambda: read_foreign(path).tensors()) is not None
    assert refused > 10


def test_settings_of_a_stylegan3_pickle(tmp_path):
    path, source, refused = tmp_path / "n.pkl", network(ALIAS_FREE), 0
    names = [
        "channel_base",
        "channel_max",
        "num_layers",
        "num_critical",
        "first_cutoff",
        "first_stopband",
        "last_stopband_rel",
        "margin_size",
        "output_scale",
        "conv_kernel",
        "filter_size",
        "lrelu_upsampling",
        "use_radial_filters",
        "img_resolution",
        "conv_clamp",
    ]
    for name, value in some(names, [*NUMBERS, *OTHERS]):
        module = nvidia_module(source)
        state = module.state["_modules"]["synthesis"].state
        (state if name == "img_resolution" else state["_init_kwargs"])[name] = value
        path.write_bytes(nvidia_bytes(module))
        refused += outcome(lambda: read_foreign(path).tensors()) is not None
    assert refused > 10


SHAPES = [(0,), (1,), (), (4, 0), (0, 4), (1, 1), (3, 4), (4, 4, 4), (1,) * 5, (5000, 1), (1, 5000), (2,) * 9, "view"]


@pytest.mark.parametrize("kind", ["pkl", "pt"])
def test_shapes_of_tensors(tmp_path, kind):
    """A tensor has any shape; also as a view that claims far more than the file holds."""
    path, refused, source = tmp_path / f"n.{kind}", 0, network(TINY)
    for name, shape in some(source.state_dict() if kind == "pkl" else rosinality_state(source), SHAPES):
        tensor = torch.zeros(1).expand(1 << 20, 1 << 20) if shape == "view" else torch.zeros(shape)
        if kind == "pkl":
            module = nvidia_module(source)
            *owners, last = name.split(".")
            place = module
            for part in owners:
                place = place.state["_modules"][part]
            owner = place.state["_parameters" if last in place.state["_parameters"] else "_buffers"]
            owner[last] = nn.Parameter(tensor) if isinstance(owner[last], nn.Parameter) else tensor
            path.write_bytes(nvidia_bytes(module))
        else:
            torch.save({"g_ema": {**rosinality_state(source), name: tensor}, "latent_avg": torch.zeros(4)}, path)
        refused += outcome(lambda: read_foreign(path).tensors()) is not None
    assert refused > 40


def test_what_a_pt_says_beside_its_tensors(tmp_path):
    """The command line in it is not believed, and nothing else may stand in the place of tensors."""
    source = network(TINY)
    values = [*NUMBERS, *(other for other in OTHERS if not isinstance(other, bytes)), torch.zeros(2).long()]
    for name, value in some(["args", "ada_aug_p", "latent_avg", "g_ema"], values):
        options = argparse.Namespace(size=value, latent=value, n_mlp=value) if name == "args" else value
        path = rosinality_file(tmp_path / "r.pt", source, converted=False, **{name: options})
        message = outcome(lambda path=path: read_foreign(path).tensors())
        assert (message is None) == (name in ("args", "ada_aug_p") or (name, value) == ("latent_avg", None)), (
            name,
            message,
        )


@pytest.mark.parametrize("config", [TINY, ALIAS_FREE], ids=["stylegan2", "stylegan3"])
def test_headers_of_our_own_files(config):
    data = build_weights_file(network(config), Provenance("n", "l", "o"), statistics_samples=10)
    length = int.from_bytes(data[:8], "little")
    text = json.loads(data[8 : 8 + length])["__metadata__"]["faceaug"]
    tensors, header, refused = safetensors.torch.load(data), json.loads(text), 0
    names = [*header, "x" * 5000, *(f"filters.{name}" for name in header["filters"] or ())]
    for name, value in some(names, [*NUMBERS, *(other for other in OTHERS if not isinstance(other, bytes))]):
        header = json.loads(text)
        (header["filters"] if name.startswith("filters.") else header)[name.removeprefix("filters.")] = value
        changed = safetensors.torch.save(tensors, {"faceaug": json.dumps(header)})
        refused += (
            outcome(lambda changed=changed: from_bytes(changed, "n.safetensors").network.state_dict()) is not None
        )
    assert refused > 20


def test_a_latent_too_wide_for_the_file(tmp_path):
    """What is measured of w grows with the square of its width, and a file may be narrow in everything else."""
    wide = StyleGAN2Config(8, z_dim=1, w_dim=2048, mapping_layers=1, channel_base=8, channel_max=1)
    path = rosinality_file(tmp_path / "r.pt", network(wide))
    with pytest.raises(GeneratorError, match=r"w is 2048 wide, and has \d\d,\d\d\d bytes in all"):
        import_generator(path)


def test_whatever_else_goes_wrong_is_one_sentence(tmp_path, monkeypatch):
    path = rosinality_file(tmp_path / "r.pt", network(TINY))
    for error in (MemoryError(), RecursionError("deep"), RuntimeError("no\nway"), ZeroDivisionError(), KeyError("k")):

        def fails(*_, error=error):
            raise error

        monkeypatch.setattr(checkpoints, "new_network", fails)
        with pytest.raises(GeneratorError, match=rf"^{path} describes an impossible network \({type(error).__name__}"):
            import_generator(path)
        monkeypatch.setattr(weights, "_read_header", fails)
        with pytest.raises(GeneratorError, match=r"^x describes an impossible network") as caught:
            weights.unpack_weights(b"", "x")
        assert "\n" not in str(caught.value)
