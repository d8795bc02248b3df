"""One suite over every generator: what faceaug relies on, whoever wrote it."""

from __future__ import annotations

import contextlib
import pickle

import numpy as np
import pytest
import torch
from foreign_files import nvidia_bytes, nvidia_module
from forked import run_forked

from faceaug.errors import GeneratorError
from faceaug.generators.base import Generator, estimate_statistics, sample_z
from faceaug.generators.importers.convert import ImportConfig, import_generator
from faceaug.generators.registry import load_generator
from faceaug.generators.stylegan import from_bytes, initialize, save
from faceaug.generators.stylegan3_networks import Filters, StyleGAN3Config
from faceaug.reconstruction.synthetic_scenes import Scenes

GENERATORS = (
    *("digiface", "embedded", "stylegan2", "stylegan2 truncated", "stylegan2 from a file", "imported", "stylegan3"),
    "scenes",
)
BATCHES = (1, 3, 7, 9)  # beside the whole, 20


@pytest.fixture(scope="module", params=GENERATORS)
def generator(request, tmp_path_factory):
    if request.param in ("digiface", "embedded"):
        request.getfixturevalue("faces")  # skips when the weights are not there
        return load_generator(request.param)
    if request.param == "scenes":
        return Scenes(16)
    small = request.getfixturevalue("small")
    if request.param == "stylegan2 truncated":
        return small.with_config(truncation_psi=0.6, noise_mode="none", truncation_cutoff=3)
    if request.param == "stylegan2 from a file":
        path = tmp_path_factory.mktemp("weights") / "small.safetensors"
        save(small, path)
        return load_generator(path)
    if request.param == "imported":
        path = tmp_path_factory.mktemp("weights") / "small.pkl"
        path.write_bytes(nvidia_bytes(nvidia_module(small.network)))
        return from_bytes(import_generator(path, ImportConfig(statistics_samples=20_000)), path)
    if request.param == "stylegan3":
        filters = Filters(layers=4, margin=3, output_scale=1.0)
        return initialize(StyleGAN3Config(16, 12, 10, 2, 64, 8, filters=filters), seed=0, statistics_samples=20_000)
    return small


def latents(generator, n=20, seed=7):
    return torch.from_numpy(np.stack([sample_z(generator.z_dim, (seed, k)) for k in range(n)]))


def test_implements_the_protocol(generator):
    assert isinstance(generator, Generator)
    assert generator.name
    assert generator.licence
    assert generator.origin
    assert len(generator.sha256) == 64
    int(generator.sha256, 16)
    assert generator.device == torch.device("cpu")
    assert generator.w_mean.dtype == generator.w_covariance.dtype == np.float64
    assert generator.w_mean.shape == (generator.w_dim,)
    assert generator.w_covariance.shape == (generator.w_dim, generator.w_dim)
    np.testing.assert_array_equal(generator.w_covariance, generator.w_covariance.T)


def test_shapes_types_and_ranges(generator):
    w = generator.map(latents(generator))
    images = generator.synthesize(w)
    assert w.shape == (20, generator.w_dim)
    assert images.shape == (20, 3, generator.resolution, generator.resolution)
    assert w.dtype == images.dtype == torch.float32
    assert images.min() >= -1
    assert images.max() <= 1
    assert images.std() > 0.1
    assert (images[0] - images[1]).abs().max() > 0.1, "two latents, two pictures"
    assert not images.requires_grad
    assert generator.synthesize(w[:0]).shape == (0, *images.shape[1:])
    assert generator.map(latents(generator)[:0]).shape == (0, generator.w_dim)


@pytest.mark.slow
def test_same_latent_same_image_in_any_batch(generator):
    z = latents(generator)
    w = generator.map(z)
    images = generator.synthesize(w)
    assert torch.equal(images, generator.synthesize(w))
    for batch in BATCHES:
        parts = [generator.map(part) for part in z.split(batch)]
        assert torch.equal(torch.cat(parts), w), f"w in batches of {batch}"
        assert torch.equal(torch.cat([generator.synthesize(part) for part in parts]), images), f"batches of {batch}"
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(generator.synthesize(w[order]), images[order])


def test_thread_count_changes_rounding_at_most(generator):
    w = generator.map(latents(generator, 8))
    images = generator.synthesize(w)
    torch.set_num_threads(2)
    assert (generator.synthesize(w) - images).abs().max() < 1e-4


def test_statistics_are_those_of_its_w(generator):
    n = 6000
    mean, covariance = estimate_statistics(generator, n, seed=99)
    deviation = np.sqrt(np.diag(generator.w_covariance))
    np.testing.assert_array_less(np.abs(mean - generator.w_mean), 5 * deviation / np.sqrt(n) + 1e-7)
    error = np.abs(covariance - generator.w_covariance) / np.outer(deviation, deviation)
    assert error.max() < 0.15, "correlations, within the error of 6,000 draws of a distribution with tails"
    assert np.linalg.eigvalsh(generator.w_covariance)[0] >= -1e-9


def test_float64_latents_and_gradients(generator):
    w = generator.map(latents(generator, 2))
    assert torch.equal(generator.synthesize(w.double()), generator.synthesize(w))
    w = w.clone().requires_grad_()
    generator.synthesize(w).square().mean().backward()
    assert torch.isfinite(w.grad).all()
    assert w.grad.abs().max() > 0


@pytest.mark.parametrize("bad", [(3,), (2, 3), (2, 3, 4)])
def test_latents_of_the_wrong_shape_are_refused(generator, bad):
    for call in (generator.map, generator.synthesize):
        with pytest.raises(GeneratorError, match="shape"):
            call(torch.zeros(bad))
    with pytest.raises(GeneratorError, match="floating"):
        generator.synthesize(torch.zeros(2, generator.w_dim, dtype=torch.int64))


def test_to_a_device(generator):
    assert generator.to("cpu") is generator
    assert generator.to(torch.device("cpu")).device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_to_a_gpu_and_back(generator):
    w = generator.map(latents(generator))
    images = generator.synthesize(w)
    moved = generator.to("cuda")
    assert moved.device.type == "cuda"
    assert (moved.synthesize(w).cpu() - images).abs().max() < 2e-2
    generator.to("cpu")


CHILD = """
import pickle, sys, torch
torch.set_num_threads(1)
with open(sys.argv[1], "rb") as file:
    jobs = pickle.load(file)
with open(sys.argv[2], "wb") as file:
    pickle.dump([generator.synthesize(generator.map(z)) for generator, z in jobs], file)
"""


@pytest.mark.slow
def test_another_process_synthesizes_the_same(small, request, tmp_path):
    """As worker processes do: the generator is pickled and the child gives the same bits."""
    generators = [small, small.with_config(truncation_psi=0.6), Scenes(16)]
    with contextlib.suppress(pytest.skip.Exception):  # without the package the others are still tested
        generators.append(request.getfixturevalue("faces"))
    jobs = [(generator, latents(generator)) for generator in generators]
    (tmp_path / "jobs").write_bytes(pickle.dumps(jobs))
    done = run_forked(CHILD, tmp_path / "jobs", tmp_path / "images")
    assert done.returncode == 0, done.stderr
    found = pickle.loads((tmp_path / "images").read_bytes())
    for (generator, z), images in zip(jobs, found, strict=True):
        assert torch.equal(images, generator.synthesize(generator.map(z))), generator.name
