"""Training the network: features, the two phases, couplings, resuming to the bit, and scenes whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from faceaug.errors import UsageError
from faceaug.generators.pool import sample_pool
from faceaug.reconstruction.synthetic_scenes import Scenes
from faceaug.reconstruction.training import network_trainer as training
from faceaug.reconstruction.training.linear_init import LinearTrainer
from faceaug.reconstruction.training.network_trainer import (
    NetworkTrainer,
    ReconstructionSchedule,
    count_neutralized_images,
)
from faceaug.reconstruction.training.perceptual import LatentTrainer, PerceptualFeatures
from faceaug.reconstruction.training.symmetry import mirror_split
from faceaug.utils.training import train_loop as loop
from faceaug.utils.training.train_loop import run

torch.set_num_threads(1)

SHORT = ReconstructionSchedule(side=16, steps=12, distil=4, batch=6, pairs=2, refit_every=3)


@pytest.fixture(scope="module")
def start():
    """Scenes with what comes before the network: pool, split, reader and linear model, hardly trained."""
    generator = Scenes(16)
    pool = sample_pool(generator, 600, 0, 16)
    split = mirror_split(generator, pool, 16)
    linear = LinearTrainer(pool, split, 0, 120, side=16)
    reader = LatentTrainer(pool, split, 0, 30, side=16)
    losses = []
    run(linear)
    run(reader, progress=lambda step, steps, said: losses.append(said["loss"]))
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
    ("coupling", "said"),
    [
        ("none", {"l1"}),
        ("paper", {"l1", "agree"}),
        ("mirror", {"l1", "mirror"}),
        ("both", {"l1", "mirror", "agree"}),
    ],
)
def test_couplings_switch_terms(start, coupling, said):
    schedule = replace(SHORT, coupling=coupling)
    trainer = trainer_of(start, schedule)
    told = []
    run(trainer, progress=lambda step, steps, what: told.append(what))
    first = {"loss"} if schedule.mirror else {"loss", "l1"}
    assert set(told[0]) == first  # the paper's pairs wait for the first fit
    assert set(told[-2]) == {"loss", *said}
    assert "r2_yaw" in {name for what in told for name in what}
    assert trainer.fit.ready


def test_large_pictures_are_neutralised_seldom(start, monkeypatch):
    monkeypatch.setattr(training, "LARGE", 8)
    monkeypatch.setattr(training, "SELDOM", 4)
    told = []
    run(trainer_of(start, SHORT), progress=lambda step, steps, what: told.append("agree" in what))
    assert [step for step, drew in enumerate(told) if drew] == [4, 8]
    assert count_neutralized_images(start[0], SHORT) == 2 * SHORT.pairs
    assert count_neutralized_images(start[0], replace(SHORT, coupling="paper")) == 3 * SHORT.pairs
    assert count_neutralized_images(start[0], replace(SHORT, coupling="mirror")) == 0
    monkeypatch.setattr(training, "LARGE", 16)
    assert count_neutralized_images(start[0], SHORT) == 8 * SHORT.pairs


def test_an_interrupted_training_goes_on_to_the_bit(start, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    whole = trainer_of(start, SHORT)
    run(whole, tmp_path / "whole")
    for stop in (3, 8, 100):

        def tell(step: int, steps: int, said: object, stop: int = stop) -> None:
            if step == stop:
                raise KeyboardInterrupt

        cut = trainer_of(start, SHORT)
        try:
            run(cut, tmp_path / "cut", progress=tell)
        except KeyboardInterrupt:
            continue
    assert cut.step == 12
    for name in ("network", "average", "fit"):
        assert torch.equal(flat(whole.networks[name]), flat(cut.networks[name])), name


def test_the_average_follows_the_network(start):
    trainer = trainer_of(start, SHORT)
    before = flat(trainer.average).clone()
    run(trainer)
    after, network = flat(trainer.average), flat(trainer.network)
    assert 0 < (after - before).norm() < (network - before).norm()
    assert not any(p.requires_grad for p in trainer.average.parameters())


def test_the_network_reads_the_view_of_scenes(start):
    """Hardly trained foundations and a short training tell fresh yaw and light somewhat, with the right sign."""
    generator = start[0]
    trainer = trainer_of(start, replace(SHORT, steps=54, distil=50, batch=16))
    run(trainer)
    w = sample_pool(generator, 200, 5, 16).w
    with torch.no_grad():
        reading = trainer.average(generator.synthesize(w))
    truth = generator.truth(w)
    assert np.corrcoef(reading.view[:, 1], truth.view[:, 1])[0, 1] > 0.2
    assert np.corrcoef(reading.light[:, 2], truth.light[:, 2])[0, 1] > 0.2
    depth = reading.depth.mean(0)
    assert depth[6:10, 6:10].mean() < depth[:, [0, -1]].mean()


def test_the_mirror_needs_the_linear_model(start):
    generator, pool, split, reader, _, _ = start
    with pytest.raises(UsageError, match="'both' begins with the linear model"):
        NetworkTrainer(generator, pool, split, reader, None, SHORT)
    NetworkTrainer(generator, pool, split, reader, None, replace(SHORT, coupling="paper"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(coupling="some"), "'some' is unknown; there are none, paper, mirror, both"),
        (dict(side=48), "network for 48 pixels"),
        (dict(pairs=7), "batches of 6 and 7 pairs"),
        (dict(steps=0), "training of 0 steps"),
        (dict(refit_every=0), "fit every 0 steps"),
    ],
)
def test_schedules_that_cannot_be_are_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        replace(SHORT, **changes)
