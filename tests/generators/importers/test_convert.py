"""Other people's generators: what is imported draws what was in the file, and the file is told in full."""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from foreign_files import network, nvidia_bytes, nvidia_module, rosinality_file, rosinality_state

from faceaug.errors import GeneratorError
from faceaug.generators.importers import nvidia
from faceaug.generators.importers.convert import ImportConfig, import_generator, read_foreign, write_import
from faceaug.generators.importers.unpickler import ConstructedObject, read_pickle
from faceaug.generators.stylegan import SynthesisConfig, from_bytes, load
from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.generators.stylegan3_networks import Filters, StyleGAN3Config

TINY = StyleGAN2Config(16, z_dim=6, w_dim=5, mapping_layers=2, channel_base=64, channel_max=8)
ALIAS_FREE = StyleGAN3Config(
    16, z_dim=6, w_dim=5, mapping_layers=2, channel_base=64, channel_max=8, filters=Filters(layers=4, margin=3)
)


def quick(synthesis=None, **options):
    """Import options with statistics from few samples."""
    return ImportConfig(synthesis=synthesis or SynthesisConfig(), statistics_samples=2000, **options)


def imported(path, *synthesis, **options):
    return from_bytes(import_generator(path, quick(*synthesis, **options)), path)


def same_pictures(found, source, label=0):
    """Compare with the network that the file was made of, a different w for every layer."""
    layers = source.config.num_ws
    z = torch.randn(3 * layers, source.config.z_dim, generator=torch.Generator().manual_seed(1))
    ws = source.mapping(z, label).view(3, layers, -1)
    torch.testing.assert_close(found.network.mapping(z, label).view(3, layers, -1), ws)
    for noise in ("const", "none"):
        expected = source.synthesis(ws, noise)
        close = 1e-5 * float(expected.abs().max())
        torch.testing.assert_close(found.network.synthesis(ws, noise), expected, rtol=0, atol=close)


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, conv_clamp=0.5, mapping_layers=8),
        replace(TINY, channel_base=128, channel_max=16),
        replace(TINY, channel_base=1024, channel_max=8),
        replace(TINY, classes=3),
        ALIAS_FREE,
        replace(ALIAS_FREE, conv_clamp=0.5, classes=2, filters=Filters(layers=5, margin=2, kernel=1, radial=True)),
    ],
    ids=["plain", "clamp", "wide", "one width", "classes", "alias-free T", "alias-free R"],
)
def test_nvidia(tmp_path, config):
    source = network(config)
    path = tmp_path / "n.pkl"
    path.write_bytes(nvidia_bytes(nvidia_module(source)))
    label = config.classes // 2
    found = imported(path, SynthesisConfig(label=label))
    assert replace(found.network.config, channel_base=0 or config.channel_base) == config
    assert torch.equal(found.network.mapping.w_avg, source.mapping.w_avg)
    same_pictures(found, source, label)
    same_pictures(found, source, 0)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "stream"])
@pytest.mark.parametrize("converted", [False, True], ids=["trained", "converted"])
def test_rosinality(tmp_path, converted, old):
    source = network(TINY)
    path = rosinality_file(tmp_path / "r.pt", source, converted=converted, old=old)
    found = imported(path)
    same_pictures(found, source)
    if converted:
        assert torch.equal(found.network.mapping.w_avg, source.mapping.w_avg)
    else:
        np.testing.assert_allclose(found.network.mapping.w_avg, found.w_mean, atol=0.1)


def test_the_header_tells_where_it_comes_from(tmp_path):
    path = tmp_path / "faces.pkl"
    path.write_bytes(nvidia_bytes(nvidia_module(network(TINY))))
    found = imported(path)
    assert found.name == "faces"
    assert found.origin == "imported from faces.pkl, a StyleGAN2 in NVIDIA's PyTorch form"
    assert "not stated" in found.licence
    assert found.header.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    config = SynthesisConfig(truncation_psi=0.7, truncation_cutoff=3, noise_mode="none")
    named = imported(path, config, name="mine", licence="CC0")
    assert (named.name, named.licence, named.config) == ("mine", "CC0", config)


def test_importing_twice_gives_the_same_file(tmp_path):
    path = tmp_path / "n.pkl"
    path.write_bytes(nvidia_bytes(nvidia_module(network(TINY))))
    out = tmp_path / "n.safetensors"
    sha256 = write_import(path, out, quick())
    assert load(out).sha256 == sha256 == write_import(path, tmp_path / "again.safetensors", quick())


def test_half_precision_is_nearly_the_same(tmp_path):
    path = rosinality_file(tmp_path / "r.pt", network(TINY))
    whole, half = import_generator(path, quick()), import_generator(path, quick(half=True))
    assert len(half) < 0.75 * len(whole)
    same_mean = from_bytes(whole, path).w_mean, from_bytes(half, path).w_mean
    np.testing.assert_allclose(*same_mean, atol=0.05)
    z = torch.randn(4, TINY.z_dim, generator=torch.Generator().manual_seed(0))
    drawn = [source.synthesize(source.map(z)) for source in (from_bytes(whole, path), from_bytes(half, path))]
    torch.testing.assert_close(*drawn, rtol=0, atol=2 / 255)


def test_truncation_up_to_a_layer(tmp_path):
    path = tmp_path / "n.pkl"
    path.write_bytes(nvidia_bytes(nvidia_module(source := network(TINY))))
    z = torch.randn(2, TINY.z_dim, generator=torch.Generator().manual_seed(0))
    found = imported(path, SynthesisConfig(truncation_psi=0.5, truncation_cutoff=2))
    whole = source.mapping(z)
    cut = source.mapping.w_avg + 0.5 * (whole - source.mapping.w_avg)
    ws = torch.stack([cut if layer < 2 else whole for layer in range(TINY.num_ws)], 1)
    expected = source.synthesis(ws, "const").clamp(-1, 1)
    torch.testing.assert_close(found.synthesize(found.map(z)), expected, rtol=0, atol=1e-4)


def test_a_network_without_noise_has_none(tmp_path):
    source = network(TINY)
    module = nvidia_module(source)
    for block in module.state["_modules"]["synthesis"].state["_modules"].values():
        for name, layer in block.state["_modules"].items():
            if name != "torgb":
                del layer.state["_buffers"]["noise_const"], layer.state["_parameters"]["noise_strength"]
    path = tmp_path / "n.pkl"
    path.write_bytes(nvidia_bytes(module))
    found = imported(path)
    ws = torch.randn(2, TINY.num_ws, TINY.w_dim)
    torch.testing.assert_close(found.network.synthesis(ws, "const"), found.network.synthesis(ws, "none"))
    torch.testing.assert_close(found.network.synthesis(ws, "const"), source.synthesis(ws, "none"), rtol=1e-4, atol=1e-4)


def test_another_learning_rate_of_the_mapping_is_accounted_for(tmp_path):
    source = network(TINY)
    module = nvidia_module(source)
    for layer in module.state["_modules"]["mapping"].state["_modules"].values():
        layer.state["bias_gain"] = 0.1
        for tensor in layer.state["_parameters"].values():
            tensor.data.div_(10)
    path = tmp_path / "n.pkl"
    path.write_bytes(nvidia_bytes(module))
    same_pictures(imported(path), source)


def without(state, name):
    del state[name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"synthesis.b8.conv1": {"conv_clamp": 3.0}}, None),
        ({"synthesis.b4.conv1": {"activation": "relu"}}, "another activation"),
        ({"mapping.fc1": {"activation": "relu"}}, "another activation"),
        ({"mapping.fc0": {"bias_gain": "much"}}, "as bias_gain"),
        ({"synthesis.b4.conv1": {"conv_clamp": -1.0}}, "conv_clamp is -1.0"),
        ({"synthesis": {"_modules": {}}}, "neither"),
        ({"": {"_modules": {"mapping": 3}}}, "no readable module at mapping"),
    ],
)
def test_modules_that_are_variants(tmp_path, change, message):
    path = tmp_path / "n.pkl"
    path.write_bytes(nvidia_bytes(nvidia_module(network(TINY), change)))
    if message is None:
        read_foreign(path).tensors()
        return
    with pytest.raises(GeneratorError, match=message):
        read_foreign(path).tensors()


def changed(name, tensor):
    """Return a file's module with another tensor at `name`; None takes it out."""
    module = nvidia_module(network(TINY))
    *owners, last = name.split(".")
    place = module
    for part in owners:
        place = place.state["_modules"][part]
    kind = "_buffers" if last in place.state["_buffers"] or "filter" in last else "_parameters"
    if tensor is None:
        del place.state[kind][last]
    else:
        place.state[kind][last] = tensor
    return module


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (
            "synthesis.b8.conv0.weight",
            torch.full((8, 8, 3, 3), torch.nan),
            "NaN or infinite numbers in synthesis.b8.conv0",
        ),
        ("synthesis.b8.conv0.weight", torch.zeros(8, 8, 1, 1), r"shape \(8, 8, 1, 1\)"),
        ("synthesis.b8.conv0.weight", torch.zeros(8, 8, 3, 3, dtype=torch.int32), "torch.int32"),
        ("synthesis.b8.conv0.weight", torch.zeros(1).expand(8, 8, 3, 3), "claims the shape"),
        ("synthesis.b8.conv0.weight", None, "lacks synthesis.b8.conv0.weight"),
        ("synthesis.b8.conv0.extra", torch.zeros(2), "has synthesis.b8.conv0.extra, which no generator"),
        ("synthesis.b8.conv0.weight", "text", "has a str where the tensor"),
        ("synthesis.b8.resample_filter", torch.eye(4), "another filter"),
        ("synthesis.b4.torgb.weight", torch.zeros(1, 8, 1, 1), "other than 3 channels"),
        ("synthesis.b16.torgb.weight", torch.zeros(3, 5, 1, 1), "requires"),
        ("mapping.fc0.weight", torch.zeros(5), "expected 2 sides"),
        ("mapping.fc0.weight", torch.zeros(5, 5000), "z_dim is 5000"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, name, tensor, message):
    path = tmp_path / "n.pkl"
    path.write_bytes(nvidia_bytes(changed(name, tensor)))
    with pytest.raises(GeneratorError, match=message) as caught:
        read_foreign(path).tensors()
    assert "\n" not in str(caught.value)


def test_filters_that_do_not_follow_from_the_configuration(tmp_path):
    path = tmp_path / "n.pkl"
    source = network(ALIAS_FREE)
    module = nvidia_module(source)
    name = ALIAS_FREE.names[1]
    module.state["_modules"]["synthesis"].state["_modules"][name].state["_buffers"]["up_filter"][3] += 0.01
    path.write_bytes(nvidia_bytes(module))
    with pytest.raises(GeneratorError, match="do not follow from its configuration"):
        read_foreign(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": 1}, "has no classes"),
        ({"truncation_cutoff": 99}, "from 0 to 6"),
    ],
)
def test_layers_and_classes_that_the_network_does_not_have(tmp_path, settings, message):
    path = rosinality_file(tmp_path / "r.pt", network(TINY))
    with pytest.raises(GeneratorError, match=message):
        import_generator(path, quick(SynthesisConfig(**settings)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("conv1.conv.weight"), "lacks synthesis.b4.conv1.weight"),
        (lambda state: state.pop("to_rgb1.conv.weight"), "lacks to_rgb1.conv.weight"),
        (lambda state: state.update({"strange.weight": torch.zeros(3)}), "has strange.weight"),
        (lambda state: state.update({"style.0.weight": torch.zeros(3)}), "has style.0.weight"),
        (lambda state: state.update({"convs.0.conv.blur.kernel": torch.eye(4)}), "another filter"),
        (lambda state: state["style.1.weight"].fill_(torch.inf), "infinite numbers in style.1.weight"),
    ],
)
def test_rosinality_states_that_do_not_fit(tmp_path, change, message):
    state = rosinality_state(network(TINY))
    change(state)
    torch.save({"g_ema": state}, tmp_path / "r.pt")
    with pytest.raises(GeneratorError, match=message):
        read_foreign(tmp_path / "r.pt").tensors()


def test_a_file_of_early_versions_without_noise(tmp_path):
    state = rosinality_state(source := network(TINY))
    for name in [name for name in state if name.startswith("noises.")]:
        del state[name]
    torch.save({"g_ema": state, "latent_avg": source.mapping.w_avg}, tmp_path / "r.pt")
    found = imported(tmp_path / "r.pt")
    ws = torch.randn(2, TINY.num_ws, TINY.w_dim)
    torch.testing.assert_close(found.network.synthesis(ws, "const"), found.network.synthesis(ws, "none"))


@pytest.mark.parametrize("value", [10**400, float("inf"), float("nan"), 10**5000], ids=["big", "inf", "nan", "huge"])
def test_numbers_that_cannot_be_end_in_a_sentence(tmp_path, value):
    for name in ("conv_clamp", "bias_gain"):
        with pytest.raises(GeneratorError, match=name):
            nvidia._option({name: value}, name, (int, float), tmp_path, None)


def test_names_are_text_and_shared_modules_are_counted(tmp_path):
    with pytest.raises(GeneratorError, match="expected text"):
        list(nvidia._tensors({"_parameters": {7: None}}, tmp_path))
    state = {}
    for _ in range(5):
        source = ConstructedObject(nvidia.MODULE_RECORD, ({"state": {"_modules": state, "x": 1}},))
        state = {str(k): source for k in range(60)}
    with pytest.raises(GeneratorError, match="more than 4096 modules"):
        list(nvidia._tensors({"_modules": state}, tmp_path))


def test_keys_that_all_hash_to_the_same_are_refused(tmp_path):
    with pytest.raises(GeneratorError, match="key"):
        read_pickle(io.BytesIO(pickle.dumps({2**61 - 1: 0}, 2)), tmp_path, (), str)


def test_half_precision_says_what_it_cannot_hold(tmp_path):
    source = network(TINY)
    source.mapping.w_avg[0] = 70000
    with pytest.raises(GeneratorError, match="leave out --half"):
        import_generator(rosinality_file(tmp_path / "r.pt", source), quick(half=True))
