"""Latents and how a generator is found."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from faceaug.errors import FaceaugError, GeneratorError
from faceaug.generators import base, registry
from faceaug.generators.base import in_tiles, sample_z, tile_size
from faceaug.generators.registry import load_generator

GOLDEN = ["0x1.c3ce8c0000000p-2", "-0x1.389d480000000p+0", "0x1.d8ba3a0000000p-6", "-0x1.798bf60000000p-2"]


def test_latents_are_the_same_everywhere():
    """Golden values: another machine, Python or numpy must give these bits."""
    found = sample_z(4, (1, 2, 3))
    assert found.dtype == np.float32
    assert [value.hex() for value in found.tolist()] == GOLDEN
    assert np.array_equal(found, sample_z(4, np.random.SeedSequence((1, 2, 3))))
    assert np.array_equal(found, sample_z(9, (1, 2, 3))[:4]), "a longer latent begins the same"
    assert not np.array_equal(found, sample_z(4, (1, 2, 4)))


def test_latents_are_standard_normal():
    values = np.sort(sample_z(40_000, 5).astype(np.float64))
    expected = (np.arange(1, 40_001) - 0.5) / 40_000
    distribution = np.array([(1 + math.erf(value / math.sqrt(2))) / 2 for value in values])
    assert np.abs(distribution - expected).max() < 1.63 / math.sqrt(40_000), "Kolmogorov-Smirnov, 1%"
    spread = np.corrcoef(np.stack([sample_z(50, (9, k)) for k in range(400)]).T)
    assert np.abs(spread - np.eye(50)).max() < 0.3


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(GeneratorError, match=r"'digifce'.*did you mean 'digiface'"):
        load_generator("digifce")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(GeneratorError, match=r"no\.safetensors cannot be read: No such file"):
        load_generator(tmp_path / "no.safetensors")
    with pytest.raises(GeneratorError, match=r"must end in \.safetensors"):
        load_generator(str(tmp_path / "ffhq.pkl"))


@pytest.mark.parametrize("device", ["gpu", "cuda:77", "meta7"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(GeneratorError, match="not available here"):
        load_generator("digiface", device)


class Linear:
    """Somebody else's generator, without a word about faceaug."""

    name, licence, origin, sha256 = "linear", "mine", "made up", "0" * 64
    z_dim = w_dim = 5
    resolution = 8
    w_mean, w_covariance = np.zeros(5), np.eye(5)

    def __init__(self, device):
        self.device = device

    def map(self, z):
        return z

    def synthesize(self, w):
        return torch.tanh(w.mean(1))[:, None, None, None].expand(-1, 3, 8, 8)

    def to(self, device):
        return Linear(torch.device(device))


class Without(Linear):
    synthesize = None

    def __getattribute__(self, name):
        if name == "synthesize":
            raise AttributeError(name)
        return super().__getattribute__(name)


class Narrow(Linear):
    w_mean = np.zeros(3)


class Point:
    def __init__(self, name, value):
        self.name, self.value = name, value

    def load(self):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.fixture
def installed(monkeypatch):
    def install(value):
        monkeypatch.setattr(
            registry, "entry_points", lambda group: [Point("linear", value)] if "generators" in group else []
        )

    return install


def test_a_plugin_is_found_by_its_entry_point(installed):
    installed(Linear)
    generator = load_generator("linear", "cpu")
    assert isinstance(generator, base.Generator)
    assert generator.synthesize(generator.map(torch.zeros(2, 5))).shape == (2, 3, 8, 8)
    assert generator.device == torch.device("cpu")
    with pytest.raises(GeneratorError, match="did you mean 'linear'"):
        load_generator("linaer")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Without, "lacks synthesize"),
        (Narrow, r"\(3,\).*requires \(5,\)"),
        (ImportError("no module named jax"), "failed to load: ImportError: no module named jax"),
        (GeneratorError("get my weights first"), "^get my weights first$"),
    ],
)
def test_a_plugin_that_does_not_fit_is_told(installed, value, message):
    installed(value)
    with pytest.raises(GeneratorError, match=message):
        load_generator("linear")


class Bytes(Linear):
    def synthesize(self, w):
        return torch.full((len(w), 3, 8, 8), 200, dtype=torch.uint8)


class BytesAsFloats(Linear):
    def synthesize(self, w):
        return torch.full((len(w), 3, 8, 8), 200.0)


class Unfinished(Linear):
    def synthesize(self, w):
        return torch.full((len(w), 3, 8, 8), float("nan"))


class Wide(Linear):
    def synthesize(self, w):
        return torch.zeros(len(w), 8, 8, 3)


class Failing(Linear):
    def synthesize(self, w):
        raise ZeroDivisionError("no faces today")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Bytes, r"the generator 'linear' returned torch.uint8 of the shape \(2, 3, 8, 8\) from synthesize"),
        (BytesAsFloats, r"made pixels up to 200; they must be in \[-1, 1\]"),
        (Unfinished, "returned NaN or infinite numbers from synthesize"),
        (Wide, r"of the shape \(2, 8, 8, 3\)"),
        (Failing, "the generator 'linear' failed: ZeroDivisionError: no faces today"),
    ],
)
def test_what_a_plugin_makes_is_checked(installed, value, message):
    installed(value)
    with pytest.raises(FaceaugError, match=message):
        load_generator("linear").synthesize(torch.zeros(2, 5))


def test_statistics_do_not_cancel_far_from_zero():
    generator = Linear(torch.device("cpu"))
    generator.map = lambda z: 1000 + 0.01 * z
    mean, covariance = base.estimate_statistics(generator, 5000, seed=1)
    np.testing.assert_allclose(mean, 1000, atol=1e-3)
    np.testing.assert_allclose(np.diag(covariance), 1e-4, rtol=0.1)
    with pytest.raises(GeneratorError, match="at least 2"):
        base.estimate_statistics(generator, 1)


@pytest.mark.parametrize(
    ("values", "tile"),
    [(0, 8), (64 * 128**2, 8), (128 * 256**2, 8), (64 * 512**2, 4), (32 * 1024**2, 2), (512 * 1024**2, 1), (10**12, 1)],
)
def test_tiles_are_planned_from_what_an_image_takes(values, tile):
    assert tile_size(values, torch.device("cpu")) == tile


def test_a_tile_that_does_not_fit_is_halved(caplog):
    sizes = []

    def draw(part):
        sizes.append(len(part))
        if len(part) > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: ...")
        return part * 2

    latents = torch.arange(7.0)[:, None]
    assert torch.equal(in_tiles(draw, latents), 2 * latents)
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert "4 images do not fit into memory together; 2 are synthesized at a time" in caplog.text


@pytest.mark.parametrize("words", ["can't allocate memory", "shapes do not match"])
def test_what_halving_cannot_help_is_raised(words):
    def draw(part):
        raise RuntimeError(words)

    with pytest.raises(RuntimeError, match=words):
        in_tiles(draw, torch.zeros(3, 1), tile=1 if "memory" in words else 8)


def test_a_halved_tile_is_remembered():
    sizes = []

    def draw(part):
        sizes.append(len(part))
        if len(part) > 2:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return part

    for _ in range(2):
        in_tiles(draw, torch.zeros(2, 3), 8)
    assert sizes == [8, 4, 2, 2]
