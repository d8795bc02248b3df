"""Training of the network: features, phases, couplings, resuming bit for bit, and scenes whose factors are known."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from faceaug.errors import UsageError
from faceaug.generators.pool import sample_pool
from faceaug.reconstruction.synthetic_scenes import Scenes
from faceaug.reconstruction.training.linear_init import LinearTrainer
from faceaug.reconstruction.training.network_trainer import NetworkTrainer
from faceaug.reconstruction.training.perceptual import LatentTrainer, PerceptualFeatures
from faceaug.reconstruction.training.schedule import ReconstructionSchedule
from faceaug.reconstruction.training.symmetry import mirror_split
from faceaug.utils.training.train_loop import run

pytestmark = pytest.mark.slow

torch.set_num_threads(1)

SHORT = ReconstructionSchedule(side=16, steps=12, distil_steps=4, batch_size=6, pairs=2, refit_every=3)


@pytest.fixture(scope="module")
def start():
    """Scenes with what the network starts from: pool, split, reader and linear model, hardly trained."""
    generator = Scenes(16)
    pool = sample_pool(generator, 600, 0, 16)
    split = mirror_split(generator, pool, 16)
    linear = LinearTrainer(pool, split, 0, 120, side=16)
    reader = LatentTrainer(pool, split, 0, 30, side=16)
    losses = []
    run(linear)
    run(reader, progress=lambda step, steps, figures: losses.append(figures["loss"]))
    return generator, pool, split, reader.model, linear.model, losses


def trainer_of(start, schedule: ReconstructionSchedule) -> NetworkTrainer:
    generator, pool, split, reader, linear, _ = start
    return NetworkTrainer(generator, pool, split, reader, linear, schedule)


def flat(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.state_dict().values()])


def test_the_reader_learns_latents(start):
    losses = start[-1]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_features_are_frozen_and_of_unit_spread(start):
    _, pool, _, reader, _, _ = start
    images = pool.float_images(slice(0, 64))
    features = PerceptualFeatures(reader, images)
    assert not any(p.requires_grad for p in features.parameters())
    assert torch.allclose(features(images).std((0, 2, 3)), torch.ones(160), atol=1e-4)
    image = images[:1].clone().requires_grad_()
    features(image).square().mean().backward()
    assert image.grad is not None
    assert image.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("coupling", "terms"),
    [
        ("none", {"l1"}),
        ("paper", {"l1", "agree"}),
        ("mirror", {"l1", "mirror"}),
        ("both", {"l1", "mirror", "agree"}),
    ],
)
def test_couplings_switch_terms(start, coupling, terms):
    schedule = replace(SHORT, coupling=coupling)
    trainer = trainer_of(start, schedule)
    figures = []
    run(trainer, progress=lambda step, steps, last: figures.append(last))
    first = {"loss"} if schedule.uses_mirror else {"loss", "l1"}
    assert set(figures[0]) == first  # the paper's pairs wait for the first regression
    assert set(figures[-2]) == {"loss", *terms}
    assert "r2_yaw" in {name for last in figures for name in last}
    assert trainer.regressor.ready


def test_large_images_are_neutralized_in_few_steps(start):
    seldom = replace(SHORT, large_resolution=8, neutralize_every=4)
    neutralized = []
    run(trainer_of(start, seldom), progress=lambda step, steps, figures: neutralized.append("agree" in figures))
    assert [step for step, has_pairs in enumerate(neutralized) if has_pairs] == [4, 8]
    generator = start[0]
    assert seldom.count_neutralized_images(generator) == 2 * SHORT.pairs
    assert replace(seldom, coupling="paper").count_neutralized_images(generator) == 3 * SHORT.pairs
    assert replace(seldom, coupling="mirror").count_neutralized_images(generator) == 0
    assert replace(seldom, large_resolution=16).count_neutralized_images(generator) == 8 * SHORT.pairs


def test_an_interrupted_training_continues_bit_for_bit(start, tmp_path):
    whole = trainer_of(start, SHORT)
    run(whole, tmp_path / "whole", save_every=0)
    for stop in (3, 8, 100):

        def interrupt(step: int, steps: int, figures: object, stop: int = stop) -> None:
            if step == stop:
                raise KeyboardInterrupt

        interrupted = trainer_of(start, SHORT)
        with contextlib.suppress(KeyboardInterrupt):
            run(interrupted, tmp_path / "interrupted", save_every=0, progress=interrupt)
    assert interrupted.step == 12
    for name in ("network", "average", "regressor"):
        assert torch.equal(flat(whole.networks[name]), flat(interrupted.networks[name])), name


def test_the_average_follows_the_network(start):
    trainer = trainer_of(start, SHORT)
    before = flat(trainer.average).clone()
    run(trainer)
    after, network = flat(trainer.average), flat(trainer.network)
    assert 0 < (after - before).norm() < (network - before).norm()
    assert not any(p.requires_grad for p in trainer.average.parameters())


def test_the_network_finds_the_view_of_scenes(start):
    """A short training suffices for a correlation with yaw and light on new samples, with the right sign."""
    generator = start[0]
    trainer = trainer_of(start, replace(SHORT, steps=54, distil_steps=50, batch_size=16))
    run(trainer)
    w = sample_pool(generator, 200, 5, 16).w
    with torch.no_grad():
        factors = trainer.average(generator.synthesize(w))
    truth = generator.truth(w)
    assert np.corrcoef(factors.view[:, 1], truth.view[:, 1])[0, 1] > 0.2
    assert np.corrcoef(factors.light[:, 2], truth.light[:, 2])[0, 1] > 0.2
    depth = factors.depth.mean(0)
    assert depth[6:10, 6:10].mean() < depth[:, [0, -1]].mean()


def test_the_mirror_needs_the_linear_model(start):
    generator, pool, split, reader, _, _ = start
    with pytest.raises(UsageError, match="'both' begins with the linear model"):
        NetworkTrainer(generator, pool, split, reader, None, SHORT)
    NetworkTrainer(generator, pool, split, reader, None, replace(SHORT, coupling="paper"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(coupling="some"), "'some' is unknown; there are none, paper, mirror, both"),
        (dict(side=48), "no network for 48 pixels"),
        (dict(pairs=7), "7 pairs do not fit a batch of 6"),
        (dict(steps=0), "steps is 0; it must be at least 1"),
        (dict(refit_every=0), "refit_every is 0; it must be at least 1"),
    ],
)
def test_invalid_schedules_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        replace(SHORT, **changes)
