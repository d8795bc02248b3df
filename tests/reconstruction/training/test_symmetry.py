"""The mirror split: odd and even directions of generators that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import BlockGenerator, FakeGenerator

from faceaug.errors import FaceaugError, GeneratorError
from faceaug.generators.pool import sample_pool
from faceaug.reconstruction.synthetic_scenes import SEMANTICS, Scenes
from faceaug.reconstruction.training.symmetry import mirror_split

torch.set_num_threads(1)


class Patterns(FakeGenerator):
    """Images that are sums of patterns, the first ones mirror-odd; w is mixed and may be rank-deficient."""

    def __init__(self, odd: int, even: int, width: int) -> None:
        rng = np.random.default_rng(4)
        super().__init__("patterns", 16, rng.normal(size=width), rng.normal(size=(width, odd + even)))
        patterns = torch.from_numpy(rng.normal(size=(odd + even, 3, 16, 16))).float()
        sign = torch.tensor([-1.0] * odd + [1.0] * even)[:, None, None, None]
        self.patterns = (0.02 * (patterns + sign * patterns.flip(-1))).flatten(1)
        self.inverse = torch.from_numpy(np.linalg.pinv(self._mixing.double().numpy())).float()
        self.z_dim = odd + even

    def synthesize(self, w):
        z = (w - self._mean) @ self.inverse.T
        return (z @ self.patterns).view(-1, 3, 16, 16)


@pytest.mark.parametrize("width", [12, 20])
def test_odd_and_even_directions_are_separated(width):
    generator = Patterns(odd=4, even=8, width=width)
    pool = sample_pool(generator, 1000, 0, 16)
    split = mirror_split(generator, pool, side=16, odd_directions=4)
    assert (split.odd.shape, split.even.shape) == ((12, 4), (12, 8))
    # The odd coordinates of a sample are those of the odd patterns.
    z = (pool.w - generator._mean) @ generator.inverse.T
    along = split.whitening.white(pool.w).numpy() @ split.odd
    residual = along - z[:, :4].numpy() @ np.linalg.lstsq(z[:, :4].numpy(), along, rcond=None)[0]
    assert np.abs(residual).std() < 0.02
    both = np.concatenate([split.odd, split.even], 1)
    assert np.allclose(both.T @ both, np.eye(12), atol=1e-10)


@pytest.mark.slow
def test_yaw_roll_shift_and_light_of_scenes_are_odd():
    """Yaw, roll, tx and light-x of scenes lie in the odd directions; pitch, light-y and shape do not."""
    generator = Scenes(16)
    split = mirror_split(generator, sample_pool(generator, 1000, 0, 16), side=16)
    share = {}
    for name, row in zip(SEMANTICS, generator.mixing, strict=True):
        u = split.whitening.back @ row
        share[name] = np.linalg.norm(split.odd.T @ u) / np.linalg.norm(u)
    assert min(share[name] for name in ("yaw", "roll", "tx", "light_x")) > 0.9
    assert max(share[name] for name in ("pitch", "light_y", "nose_length", "tone")) < 0.5


@pytest.mark.slow
def test_the_leading_direction_changes_images_most():
    generator = Scenes(16)
    split = mirror_split(generator, sample_pool(generator, 600, 0, 16), side=16)

    def change(direction, sign):
        step = torch.from_numpy(direction)[None].float()
        w = split.whitening.latent(torch.cat([step, -step]))
        images = generator.synthesize(w)
        difference = (images[0] - images[1]) / 2
        return (difference + sign * difference.flip(-1)).square().sum().item()

    assert change(split.odd[:, 0], -1) > 2 * change(split.odd[:, -1], -1)
    assert change(split.even[:, 0], 1) > 2 * change(split.even[:, -1], 1)


def test_too_few_samples_are_refused():
    generator = BlockGenerator()
    with pytest.raises(FaceaugError, match=r"70 samples are too few for the 8 directions of 'blocks-8-0'.*at least 80"):
        mirror_split(generator, sample_pool(generator, 70, 0, 16))


def test_images_that_do_not_change_are_refused():
    generator = BlockGenerator()
    generator.synthesize = lambda w: torch.zeros(len(w), 3, 16, 16)
    with pytest.raises(GeneratorError, match="do not change with w"):
        mirror_split(generator, sample_pool(generator, 100, 0, 16))
