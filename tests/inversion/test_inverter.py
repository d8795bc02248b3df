"""Inversion of toy faces, whose latents are known."""

import numpy as np
import pytest
import torch
from fakes import ToyFaces

from faceaug.errors import GeneratorError, IntegrityError
from faceaug.generators.pool import sample_stream, synthesize_at
from faceaug.generators.stylegan import initialize
from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.inversion.encoder import EncoderConfig
from faceaug.inversion.inverter import Inverter, tile_size_for, train_inverter
from faceaug.utils.tensors import resize_tensor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def faces():
    """Held-out faces with their latents."""
    generator = ToyFaces()
    w = generator.draw(19, seed=9)
    return w, generator.synthesize(torch.from_numpy(w))


def as_is(images):
    return images


def trained(generator, steps=40, view=as_is, seed=0):
    calls = []
    config = EncoderConfig(samples=500, steps=steps, batch_size=24)
    photographs = resize_tensor(view(synthesize_at(generator, sample_stream(generator, 40, (3,)), 64)), 64)
    inverter = train_inverter(
        generator, view, photographs, seed=seed, config=config, progress=lambda *call: calls.append(call)
    )
    assert calls == [(k + 1, steps) for k in range(steps)]
    return inverter


@pytest.fixture(scope="module")
def inverter():
    return trained(ToyFaces())


def test_latents_of_samples_are_found(inverter, faces):
    w, images = faces
    guessed, found = inverter(images, 0), inverter(images)
    mean_face = inverter.distance(inverter.synthesize(torch.zeros(len(w), w.shape[1])), images).numpy()
    assert (found.error < 0.35 * mean_face).all()
    assert np.median(found.error) < 0.5 * np.median(guessed.error)
    assert np.square(found.w - w).mean() < 0.3 * np.square(w).mean()
    assert np.square(guessed.w - w).mean() < 0.9 * np.square(w).mean()
    assert found.w.dtype == np.float32
    assert found.error.dtype == np.float64


def test_the_error_is_that_of_the_returned_latent(inverter, faces):
    found = inverter(faces[1][:3], 10)
    again = inverter.distance(inverter.synthesize(torch.from_numpy(found.w)), faces[1][:3])
    np.testing.assert_allclose(found.error, again.numpy(), rtol=1e-5)


def test_other_photographs_of_a_tile_do_not_change_a_bit(inverter, faces):
    together = inverter(faces[1][:11], 5)
    for rows in ([0], [10, 3], [4, 5, 6, 7, 8, 9, 1, 2, 0]):
        alone = inverter(faces[1][rows], 5)
        np.testing.assert_array_equal(alone.w, together.w[rows])
        np.testing.assert_array_equal(alone.error, together.error[rows])


def test_noise_has_a_larger_error_than_faces(inverter, faces):
    noise = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert inverter(noise).error.min() > 2 * inverter(faces[1]).error.max()


def test_images_are_compared_as_the_data_set_shows_them(faces):
    def darker(images):
        return images * 0.5 - 0.2

    inverter = trained(ToyFaces(), steps=10, view=darker)
    assert np.median(inverter(darker(faces[1][:8])).error) < 0.3


def test_the_same_seed_and_a_file_give_the_same_inverter(inverter, faces, tmp_path):
    expected = inverter(faces[1][:3], 3)
    inverter.save(tmp_path / "encoder.safetensors")
    for other in (trained(ToyFaces()), Inverter.load(tmp_path / "encoder.safetensors", ToyFaces(), as_is)):
        found = other(faces[1][:3], 3)
        np.testing.assert_array_equal(found.w, expected.w)
        np.testing.assert_array_equal(found.error, expected.error)


def test_damaged_files_and_those_of_other_generators_are_refused(inverter, tmp_path):
    path = tmp_path / "encoder.safetensors"
    inverter.save(path)
    with pytest.raises(IntegrityError, match=r"encoder\.safetensors cannot be read"):
        Inverter.load(path, ToyFaces(12), as_is)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(IntegrityError, match="start again in another folder"):
        Inverter.load(path, ToyFaces(), as_is)
    with pytest.raises(IntegrityError, match="cannot be read"):
        Inverter.load(tmp_path / "none.safetensors", ToyFaces(), as_is)


def test_a_generator_without_gradients_is_refused(inverter, faces):
    class Flat(ToyFaces):
        def synthesize(self, w):
            with torch.no_grad():
                return super().synthesize(w)

    flat = Inverter(Flat(), as_is, inverter.white, inverter.distance, inverter.encoder)
    assert len(flat(faces[1][:1], 0).w) == 1
    with pytest.raises(GeneratorError, match="'toy-faces-20' cannot be inverted: its images carry no gradient"):
        flat(faces[1][:1], 2)


def test_no_photographs_give_no_latents(inverter):
    found = inverter(torch.empty(0, 3, 64, 64))
    assert found.w.shape == (0, 20)
    assert found.error.shape == (0,)


def test_large_images_are_synthesized_one_at_a_time():
    assert [tile_size_for(side) for side in (32, 64, 128, 256, 512, 1024)] == [8, 8, 8, 2, 1, 1]


def test_gradients_reach_w_through_networks():
    """Also where weights are frozen and images are synthesized in tiles, at another size than photographs."""
    generator = initialize(StyleGAN2Config(32, 16, 16, 2), 0, statistics_samples=64)
    inverter, grey = trained(generator, steps=2), torch.zeros(1, 3, 64, 64)
    found = inverter(grey, 4)
    assert np.isfinite(found.w).all()
    assert found.error[0] < inverter(grey, 0).error[0]
