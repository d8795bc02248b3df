"""Tuning on photographs: they are explained better, readings keep their meaning, and it stops where they would not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from faceaug.generators.pool import sample_pool
from faceaug.reconstruction.networks import Reconstructor
from faceaug.reconstruction.synthetic_scenes import Scenes
from faceaug.reconstruction.training import finetuning as tuning
from faceaug.reconstruction.training.finetuning import DRIFTED, GOES_ON, SETTLED, WORSENED, FinetuneTrainer
from faceaug.utils.training.train_loop import run


@pytest.fixture(scope="module")
def pool() -> torch.Tensor:
    return sample_pool(Scenes(16), 100, 0, 16).images


@pytest.fixture(scope="module")
def darker(pool) -> torch.Tensor:
    """Photographs: the same faces, darker and redder than any draw."""
    return (pool.float() * torch.tensor([0.7, 0.45, 0.45]).view(1, 3, 1, 1)).byte()


def trainer(pool, darker, steps=12, seed=0) -> FinetuneTrainer:
    network = Reconstructor(16, 3)
    return FinetuneTrainer(network, darker[:70], darker[70:], pool[:70], pool[70:], steps=steps, batch=8, seed=seed)


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(tuning, "CHECK_EVERY", 4)
    monkeypatch.setattr(tuning, "RATE", 1e-3)
    monkeypatch.setattr(tuning, "MEMORY", 0.5)


def test_photographs_are_explained_better_and_the_best_is_kept(pool, darker, monkeypatch):
    monkeypatch.setattr(tuning, "DRIFT", 1e9)
    monkeypatch.setattr(tuning, "WORSE", 1e9)
    tuned = trainer(pool, darker, 24)
    assert run(tuned)
    before, after = tuned.watch.seen[:, 0].tolist()
    assert after < 0.97 * before
    assert tuned._errors(tuned.best)[0] == pytest.approx(after, rel=1e-5)
    assert int(tuned.watch.ended) == GOES_ON
    assert tuned.reason == "all steps were done"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [("WORSE", 0.0, WORSENED), ("DRIFT", -1.0, DRIFTED), ("PATIENCE", 0, SETTLED)],
)
def test_it_stops_early_and_gives_the_network_that_it_began_with(pool, darker, monkeypatch, name, value, why):
    monkeypatch.setattr(tuning, name, value)
    if why == SETTLED:
        monkeypatch.setattr(tuning, "RATE", 0.0)
        monkeypatch.setattr(tuning, "DRIFT", 1e9)
        monkeypatch.setattr(tuning, "WORSE", 1e9)
    tuned = trainer(pool, darker, 40)
    assert run(tuned)
    assert int(tuned.watch.ended) == why
    assert tuned.step == tuned.steps == 4
    assert tuned.reason == tuning.REASONS[why]
    for one, other in zip(tuned.best.parameters(), tuned.first.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_an_interrupted_tuning_goes_on_as_if_it_had_not(pool, darker, tmp_path):
    whole = trainer(pool, darker, 9)
    run(whole, tmp_path / "whole", {"a": 1})
    begun = trainer(pool, darker, 9)
    assert not run(begun, tmp_path / "parts", {"a": 1}, until=0.0)  # one step
    assert begun.reason == "the time was up"
    again = trainer(pool, darker, 9)
    run(again, tmp_path / "parts", {"a": 1})
    assert again.step == whole.step
    for name in ("network", "average", "best"):
        for one, other in zip(getattr(whole, name).parameters(), getattr(again, name).parameters(), strict=True):
            torch.testing.assert_close(one, other)
    torch.testing.assert_close(whole.watch.seen, again.watch.seen)
    ended = trainer(pool, darker, 9)
    run(ended, tmp_path / "parts", {"a": 1})  # nothing is left to do
    assert np.isclose(float(ended.watch.seen[1, 0]), float(again.watch.seen[1, 0]))
