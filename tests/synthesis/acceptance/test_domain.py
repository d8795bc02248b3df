"""The domain check: whether a classifier can tell a generator's faces from the photographs of a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import ToyFaces

from faceaug.datasets.dataset import FaceDataset, LoadOptions, load_dataset
from faceaug.errors import GeneratorError
from faceaug.generators.registry import load_generator
from faceaug.generators.sampling import latent_seeds, sample_latents, synthesize
from faceaug.synthesis.acceptance.domain import LEAST_FACES, DomainCheck, check_domain, held_out_auc
from faceaug.utils.images import encode, resize
from faceaug.utils.tensors import to_uint8

LIMIT = 0.75


def written(folder: Path, images) -> FaceDataset:
    folder.mkdir()
    for k, image in enumerate(images):
        (folder / f"{k:03d}.png").write_bytes(encode(image, "png"))
    return load_dataset(folder, options=LoadOptions(needs_labels=False))


def samples(generator, count: int, seed: int = 99):
    return to_uint8(synthesize(generator, sample_latents(generator, latent_seeds(seed, 0, count)), 64))


def smooth_noise(count: int):
    rng = np.random.default_rng(0)
    return [resize(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8), (64, 64)) for _ in range(count)]


def checked(dataset: FaceDataset, generator, seed: int = 0) -> DomainCheck | None:
    return check_domain(dataset, generator, limit=LIMIT, seed=seed)


@pytest.mark.slow
def test_a_generators_own_faces_are_of_its_world(tmp_path):
    own = written(tmp_path / "own", samples(ToyFaces(), 120))
    for seed in range(2):
        found = checked(own, ToyFaces(), seed)
        assert found.is_same
        assert found.auc < 0.65  # 0.36 to 0.55 over nine draws
        assert found.faces == 120


def test_pictures_of_another_world_are_told_apart(tmp_path):
    found = checked(written(tmp_path / "noise", smooth_noise(60)), ToyFaces())
    assert found.auc > 0.95
    assert not found.is_same


@pytest.mark.slow
def test_toy_faces_are_not_of_the_world_of_the_generator_that_comes_with_faceaug(tmp_path):
    try:
        generator = load_generator("digiface")
    except GeneratorError as error:
        pytest.skip(str(error))
    assert checked(written(tmp_path / "toys", samples(ToyFaces(), 60)), generator).auc > 0.85
    own = checked(written(tmp_path / "own", samples(generator, 60)), generator)
    assert own.auc < 0.7


@pytest.mark.parametrize(("count", "checks"), [(LEAST_FACES - 1, False), (LEAST_FACES, True)])
def test_few_faces_tell_nothing(tmp_path, count, checks):
    assert (checked(written(tmp_path / "few", smooth_noise(count)), ToyFaces()) is not None) is checks


@pytest.mark.slow
def test_the_result_is_the_same_each_time_and_on_any_number_of_threads(tmp_path):
    dataset = written(tmp_path / "own", samples(ToyFaces(), LEAST_FACES))
    before = torch.get_num_threads()
    state = torch.get_rng_state()
    results = [checked(dataset, ToyFaces(), seed=5)]
    try:
        torch.set_num_threads(before + 1)
        results.append(checked(dataset, ToyFaces(), seed=5))
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("auc", "is_same"), [(0.5, True), (LIMIT, True), (LIMIT + 0.001, False)])
def test_the_limit_decides(auc, is_same):
    found = DomainCheck("toys", auc, LIMIT, 100)
    assert found.is_same is is_same
    assert found.to_dict() == {"generator": "toys", "auc": auc, "limit": LIMIT, "faces": 100}


def test_faces_that_the_classifier_has_seen_do_not_count():
    """Random features are learnt by heart, and tell nothing of faces that were left out."""
    rng = np.random.default_rng(0)
    assert 0.35 < held_out_auc(rng.normal(size=(200, 60)), np.repeat([0, 1], 100)) < 0.65
    told = np.repeat([0, 1], 100)
    assert held_out_auc(told[:, None] + rng.normal(0, 0.1, (200, 3)), told) > 0.99
