"""The file of a generator: what is written comes back, and what is damaged or strange is refused in one sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.torch
import torch

from faceaug.errors import FaceaugError, GeneratorError, OutputError
from faceaug.generators.registry import load_generator
from faceaug.generators.stylegan import Provenance, build_weights_file, from_bytes, initialize, load, save
from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.generators.weights_file import COVARIANCE_TENSOR, MEAN_TENSOR


@pytest.fixture(scope="module")
def written(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save(small, path)
    return path.read_bytes()


def parts(data):
    length = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["faceaug"])
    return header, safetensors.torch.load(data)


def joined(header, tensors):
    return safetensors.torch.save(tensors, {"faceaug": json.dumps(header)})


def test_what_is_written_comes_back(small, tmp_path):
    path = tmp_path / "g.safetensors"
    sha256 = save(small, path)
    found = load_generator(path)
    assert found.sha256 == sha256
    assert found.header == small.header
    w = small.map(torch.ones(3, small.z_dim))
    assert torch.equal(found.map(torch.ones(3, small.z_dim)), w)
    assert torch.equal(found.synthesize(w), small.synthesize(w))
    np.testing.assert_array_equal(found.w_mean, small.w_mean)
    np.testing.assert_array_equal(found.w_covariance, small.w_covariance)
    assert save(found, tmp_path / "again.safetensors") == sha256
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_the_header_can_be_read_without_faceaug(written):
    header, tensors = parts(written)
    assert (header["format"], header["version"], header["architecture"]) == ("faceaug-generator", 2, "stylegan2")
    assert (header["resolution"], header["z_dim"], header["w_dim"]) == (16, 12, 10)
    assert header["licence"]
    assert header["origin"]
    assert header["made_by"].startswith("faceaug")
    assert tensors[MEAN_TENSOR].dtype == tensors[COVARIANCE_TENSOR].dtype == torch.float64
    assert tensors["synthesis.b8.conv0.affine.weight"].shape == (24, 10)


def test_the_synthesis_configuration_is_stored_and_used(small, tmp_path):
    path = tmp_path / "calm.safetensors"
    save(small.with_config(truncation_psi=0.5, noise_mode="none"), path)
    calm = load(path)
    assert (calm.config.truncation_psi, calm.config.noise_mode) == (0.5, "none")
    z = torch.randn(4, small.z_dim, generator=torch.Generator().manual_seed(0))
    centre = small.network.mapping.w_avg
    torch.testing.assert_close(calm.map(z) - centre, 0.5 * (small.map(z) - centre))
    np.testing.assert_allclose(calm.w_covariance, 0.25 * small.w_covariance)
    w = small.map(z)
    assert not torch.equal(calm.synthesize(w), small.synthesize(w)), "without noise"
    assert torch.equal(calm.with_config(noise_mode="const").synthesize(w), small.synthesize(w))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truncation_psi": 0.0}, "truncation psi is 0"),
        ({"truncation_psi": 3.0}, "truncation psi is 3"),
        ({"truncation_psi": float("nan")}, "truncation psi is nan"),
        ({"noise_mode": "fresh"}, "noise_mode 'fresh'"),
        ({"truncation_cutoff": 99}, "truncation_cutoff is 99"),
    ],
)
def test_configurations_out_of_range_are_refused(small, change, message):
    with pytest.raises(GeneratorError, match=message):
        small.with_config(**change)


@pytest.mark.slow
def test_half_precision_is_smaller_and_nearly_the_same(small):
    provenance = Provenance("half", "none", "test")
    whole, half = (
        build_weights_file(small.network, provenance, statistics_samples=20_000, half=half) for half in (False, True)
    )
    assert len(half) < 0.6 * len(whole)
    first, second = from_bytes(whole, "whole"), from_bytes(half, "half")
    w = first.map(torch.randn(16, 12, generator=torch.Generator().manual_seed(0)))
    assert (first.synthesize(w) - second.synthesize(w)).abs().max() < 2 / 255, "a grey level"
    np.testing.assert_allclose(first.w_mean, second.w_mean, atol=1e-2)


def test_the_same_seed_makes_the_same_file():
    config = StyleGAN2Config(8, z_dim=4, w_dim=4, mapping_layers=2, channel_base=64, channel_max=8)
    assert initialize(config, 5, 100).sha256 == initialize(config, 5, 100).sha256
    assert initialize(config, 5, 100).sha256 != initialize(config, 6, 100).sha256


def edit(name, value):
    def change(header, tensors):
        header[name] = value

    return change


def tensor(name, change):
    def apply(header, tensors):
        tensors[name] = change(tensors[name])

    return apply


def drop(name):
    return lambda header, tensors: tensors.pop(name)


def spoil(value):
    def change(values):
        values = values.clone()
        values.view(-1)[1] = value
        return values

    return change


FC = "mapping.fc0.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit("version", 1), "of version 1; this faceaug reads version 2: import or train it again with this version"),
        (edit("version", 3), "of version 3; this faceaug reads version 2: update faceaug"),
        (edit("format", "faceaug-directions"), "of the format 'faceaug-directions'"),
        (edit("architecture", "dcgan"), "wrong at 'architecture'"),
        (edit("architecture", "stylegan3"), "lacks .* tensors"),
        (edit("resolution", 1 << 40), "power of two|less than or equal"),
        (edit("resolution", "16"), "wrong at 'resolution'"),
        (edit("z_dim", 13), "shape .*its header requires"),
        (edit("w_dim", 1 << 31), "w_dim is"),
        (edit("channel_max", 4096), "its header requires"),
        (edit("mapping_layers", 4), "lacks 2 of .*mapping.fc3"),
        (edit("mapping_layers", 2), "2 tensors that its header does not describe"),
        (edit("truncation_psi", 0), "wrong at 'truncation_psi'"),
        (edit("source_sha256", "abc"), "wrong at 'source_sha256'"),
        (edit("shell", "rm"), "wrong at 'shell'"),
        (lambda header, tensors: header.pop("licence"), "wrong at 'licence'"),
        (drop(FC), "lacks 1 of .*mapping.fc0.weight"),
        (drop(MEAN_TENSOR), "lacks 1 of .*statistics.w_mean"),
        (tensor(FC, lambda t: t[:5].clone()), r"mapping.fc0.weight of the shape \(5, 12\)"),
        (tensor(FC, spoil(float("nan"))), "NaN or infinite numbers in mapping.fc0.weight"),
        (tensor(COVARIANCE_TENSOR, spoil(float("inf"))), "NaN or infinite"),
        (tensor(FC, lambda t: t.to(torch.int32)), "as torch.int32; expected torch.float32"),
        (tensor(MEAN_TENSOR, lambda t: t.float()), "as torch.float32; expected torch.float64"),
        (tensor(COVARIANCE_TENSOR, spoil(9.0)), "not symmetric"),
        (tensor(COVARIANCE_TENSOR, lambda t: -t), "negative variances"),
    ],
)
def test_strange_files_are_refused(written, change, message):
    header, tensors = parts(written)
    change(header, tensors)
    with pytest.raises(GeneratorError, match=message) as caught:
        from_bytes(joined(header, tensors), "face.safetensors")
    assert "face.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"abc",
        b"\xff" * 64,
        (10).to_bytes(8, "little") + b"not json!!",
        (2).to_bytes(8, "little") + b"[]",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        safetensors.torch.save({"x": torch.zeros(1)}),
        safetensors.torch.save({"x": torch.zeros(1)}, {"faceaug": "[1]"}),
    ],
    ids=["empty", "short", "huge length", "no json", "a list", "nested", "no header", "a list as header"],
)
def test_other_files_are_refused(data):
    with pytest.raises(GeneratorError, match=r"truncated|no readable faceaug header"):
        from_bytes(data, "other.safetensors")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_truncated_files_are_refused(written, share):
    with pytest.raises(GeneratorError, match=r"truncated|damaged"):
        from_bytes(written[: int(len(written) * share)], "half.safetensors")


def test_mutated_files_end_in_an_error_or_a_generator(written):
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        data = bytearray(written)
        region = 4000 if rng.random() < 0.8 else len(data)
        for place in rng.integers(0, region, rng.integers(1, 6)):
            data[place] = rng.integers(256)
        try:
            from_bytes(bytes(data), "mutated.safetensors")
        except FaceaugError:
            refused += 1
    assert refused > 50


def test_nothing_broken_is_written(small, tmp_path):
    broken = initialize(small.header.config, 0, 100)
    broken.network.get_parameter("synthesis.b4.const").data[0] = float("nan")
    with pytest.raises(GeneratorError, match=r"synthesis\.b4\.const holds NaN"):
        save(broken, tmp_path / "broken.safetensors")
    with pytest.raises(OutputError, match="could not be written"):
        save(small, tmp_path / "no folder" / "small.safetensors")
    assert list(tmp_path.iterdir()) == []
