"""Ways to find directions, on latents whose readings are linear: what is planted is found."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from bundles import small_bundle
from fakes import BlockGenerator, block_reader

from faceaug.bench.directions.attribute_readers import FitSamples
from faceaug.bench.directions.direction_methods import DirectionFinder, check_methods
from faceaug.errors import UsageError
from faceaug.synthesis.editing.readout import OUTSIDE

ATTRIBUTES = ("yaw", "exposure", "mouth_texture_1")


@pytest.fixture
def generator():
    return BlockGenerator(6)


@pytest.fixture
def finder(generator):
    bundle = small_bundle(generator)
    w = generator.draw(1500).astype(np.float64)
    readings = block_reader(generator, 5)
    values = readings.offset + (w - generator.w_mean) @ readings.B.T
    scene = np.random.default_rng(0).normal(size=(len(w), len(OUTSIDE)))
    semantics = (*bundle.directions.names, *OUTSIDE)
    readers = SimpleNamespace(bundle=bundle, names=ATTRIBUTES, semantics=semantics)
    return DirectionFinder(generator, readers, FitSamples(w, np.concatenate([values, scene], 1)), 3, 0.25)


def _cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("method", ["interfacegan", "interfacegan_conditional", "ganspace", "discovered"])
def test_every_edit_is_one_standard_deviation_of_its_latent_coordinate(finder, generator, method):
    steps = finder.find(method).steps
    precision = np.linalg.inv(generator.w_covariance)
    np.testing.assert_allclose(np.einsum("kd,de,ke->k", steps, precision, steps), 1)


def test_hyperplanes_have_the_normals_of_the_readings(finder, generator):
    found = finder.find("interfacegan")
    assert found.names == ATTRIBUTES
    for step, slope in zip(found.steps, block_reader(generator, 5).B, strict=False):
        assert _cosine(step, slope) > 0.97


def test_a_conditional_edit_stays_on_the_hyperplanes_of_the_others(finder):
    plain, conditional = finder.find("interfacegan").steps, finder.find("interfacegan_conditional").steps
    for k, step in enumerate(conditional):
        for other in range(len(plain)):
            if other != k:
                assert abs(_cosine(step, plain[other])) < 1e-9
        assert _cosine(step, plain[k]) > 0


def test_components_of_w_are_those_of_most_variance(finder, generator):
    _, vectors = np.linalg.eigh(generator.w_covariance)
    for step, vector in zip(finder.find("ganspace").steps, vectors[:, ::-1].T, strict=False):
        assert abs(_cosine(step, vector)) > 0.95


def test_components_of_the_weights_are_their_singular_vectors(finder, generator):
    weight = np.random.default_rng(3).normal(size=(20, 6))
    generator.first_affine = weight, np.zeros(20)
    singular = np.linalg.svd(weight)[2]
    for step, vector in zip(finder.find("sefa").steps, singular, strict=False):
        assert abs(_cosine(step, vector)) > 1 - 1e-9


def test_components_of_an_isotropic_latent_are_those_of_the_first_layer(finder, generator):
    generator.w_covariance = np.eye(6)
    with pytest.raises(UsageError, match="does not say which layer reads w"):
        check_methods(generator, ["ganspace"])
    generator.first_affine = np.diag([1.0, 1, 1, 9, 1, 1]), np.full(6, 100.0)  # the ReLU cuts nothing
    check_methods(generator, ["ganspace"])
    assert abs(finder.find("ganspace").steps[0]).argmax() == 3


def test_a_generator_without_a_known_first_layer_is_refused(generator):
    with pytest.raises(UsageError, match="leave them out of methods"):
        check_methods(generator, ["sefa"])
    check_methods(generator, ["interfacegan", "ganspace"])
