"""The regression of light and view on the latent: what it finds, how it is smoothed, and neutral latents."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.training.latent_regression import LIGHT_VIEW_NAMES, LatentRegressor

WIDTH = 16


def law(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    slopes = torch.randn(10, WIDTH, generator=rng, dtype=torch.float64) * torch.logspace(-3, 0, 10)[:, None]
    return slopes, torch.randn(10, generator=rng, dtype=torch.float64) * 0.1


def samples(n: int, slopes: torch.Tensor, offset: torch.Tensor, noise: float = 0.0, seed: int = 1):
    rng = torch.Generator().manual_seed(seed)
    u = torch.randn(n, WIDTH, generator=rng)
    values = (offset + u.double() @ slopes.T).float()
    return u, values + noise * values.std(0) * torch.randn(values.shape, generator=rng)


def factors_of(values: torch.Tensor) -> FaceFactors:
    return FaceFactors(torch.zeros(len(values), 2, 2), torch.zeros(len(values), 3, 2, 2), values[:, :4], values[:, 4:])


def test_it_finds_the_slopes_and_returns_r2_of_the_previous_fit():
    slopes, offset = law()
    fit = LatentRegressor(WIDTH, 4000)
    assert not fit.ready
    assert fit.update(*_arguments(samples(4000, slopes, offset, 0.5))) is None
    assert fit.ready
    assert torch.allclose(fit.slopes, slopes, rtol=0.1, atol=0.05 * float(slopes.norm(dim=1).max()))
    r2 = fit.update(*_arguments(samples(4000, slopes, offset, 0.5, seed=2)))
    assert r2 == pytest.approx(np.full(10, 1 / 1.25), abs=0.03)  # noise of half the spread


def _arguments(sampled):
    return sampled[0], factors_of(sampled[1])


def test_samples_wait_until_there_are_enough():
    slopes, offset = law()
    fit = LatentRegressor(WIDTH, 100)
    u, values = samples(150, slopes, offset)
    assert fit.update(u[:60], factors_of(values[:60])) is None
    assert not fit.ready
    fit.update(u[60:], factors_of(values[60:]))
    assert fit.ready
    assert int(fit.collected) == 0


def test_the_newest_fit_counts_by_its_share():
    one, other = law(0), law(5)
    fit = LatentRegressor(WIDTH, 500)
    fit.fit(*samples(500, *one))
    first = fit.slopes.clone()
    fit.fit(*samples(500, *other))
    alone = LatentRegressor(WIDTH, 500)
    alone.fit(*samples(500, *other))
    assert torch.allclose(fit.slopes, (first + alone.slopes) / 2, atol=1e-9)


def test_neutral_latents_are_frontal_under_neutral_light_and_near():
    slopes, offset = law()
    fit = LatentRegressor(WIDTH, 2000)
    fit.fit(*samples(2000, slopes, offset))
    u = torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(8))
    neutral = fit.neutralize(u)
    predicted = fit.predict(neutral)
    turns = slice(LIGHT_VIEW_NAMES.index("pitch"), LIGHT_VIEW_NAMES.index("roll") + 1)
    scale = fit.slopes.norm(dim=1)
    assert ((predicted - fit.neutral_values()) / scale).abs().max() < 0.05
    assert (fit.neutral_values()[turns] == 0).all()
    assert torch.allclose(fit.neutral_values()[:4], fit.offset[:4])
    # The step lies in the span of the slopes: no other factor of the face changes.
    step = (neutral - u).double()
    basis = torch.linalg.qr(fit.slopes.T)[0]
    assert (step - step @ basis @ basis.T).abs().max() < 1e-4


def test_a_checkpoint_keeps_everything():
    slopes, offset = law()
    fit, again = LatentRegressor(WIDTH, 100), LatentRegressor(WIDTH, 100)
    u, values = samples(180, slopes, offset)
    fit.update(u[:100], factors_of(values[:100]))
    fit.update(u[100:150], factors_of(values[100:150]))
    again.load_state_dict(fit.state_dict())
    for one in (fit, again):
        one.update(u[100:150], factors_of(values[100:150]))
    assert torch.equal(fit.slopes, again.slopes)
