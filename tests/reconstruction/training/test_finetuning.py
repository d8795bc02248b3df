"""Fine-tuning: photographs are explained better, factors keep their meaning, and it stops where they would not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from faceaug.errors import UsageError
from faceaug.generators.pool import sample_pool
from faceaug.reconstruction.networks import Reconstructor
from faceaug.reconstruction.synthetic_scenes import Scenes
from faceaug.reconstruction.training.finetuning import (
    FACTORS_DRIFTED,
    NO_GAIN,
    RUNNING,
    SAMPLES_WORSE,
    STOP_REASONS,
    FinetuneImages,
    FinetuneSchedule,
    FinetuneTrainer,
)
from faceaug.utils.training.train_loop import run

pytestmark = pytest.mark.slow

UNBOUNDED = dict(max_error_ratio=1e9, max_drift=1e9)
QUICK = FinetuneSchedule(batch_size=8, lr=1e-3, ema_decay=0.5, check_every=4)


@pytest.fixture(scope="module")
def images() -> FinetuneImages:
    """Samples, and photographs: the same faces, darker and redder than any sample."""
    samples = sample_pool(Scenes(16), 100, 0, 16).images
    photographs = (samples.float() * torch.tensor([0.7, 0.45, 0.45]).view(1, 3, 1, 1)).byte()
    return FinetuneImages(photographs[:70], photographs[70:], samples[:70], samples[70:])


def trainer_of(images: FinetuneImages, **schedule) -> FinetuneTrainer:
    return FinetuneTrainer(Reconstructor(16, 3), images, replace(QUICK, **schedule))


def test_photographs_are_explained_better_and_the_best_is_kept(images):
    trainer = trainer_of(images, steps=24, **UNBOUNDED)
    assert run(trainer)
    before, after = trainer.monitor.records[:, 0].tolist()
    assert after < 0.97 * before
    assert trainer.held_out_errors(trainer.best)[0] == pytest.approx(after, rel=1e-5)
    assert int(trainer.monitor.stop_code) == RUNNING
    assert trainer.stop_reason == "all steps were done"


@pytest.mark.parametrize(
    ("schedule", "code"),
    [
        (dict(max_error_ratio=0.0), SAMPLES_WORSE),
        (dict(max_drift=-1.0), FACTORS_DRIFTED),
        (dict(UNBOUNDED, patience=0, lr=0.0), NO_GAIN),
    ],
)
def test_an_early_stop_returns_the_original_network(images, schedule, code):
    trainer = trainer_of(images, steps=40, **schedule)
    assert run(trainer)
    assert int(trainer.monitor.stop_code) == code
    assert trainer.step == trainer.steps == 4
    assert trainer.stop_reason == STOP_REASONS[code]
    for one, other in zip(trainer.best.parameters(), trainer.original.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_an_interrupted_finetuning_continues_as_if_uninterrupted(images, tmp_path):
    whole = trainer_of(images, steps=9)
    run(whole, tmp_path / "whole", {"a": 1})
    interrupted = trainer_of(images, steps=9)
    assert not run(interrupted, tmp_path / "interrupted", {"a": 1}, until=0.0)  # one step
    assert interrupted.stop_reason == "the time was up"
    resumed = trainer_of(images, steps=9)
    run(resumed, tmp_path / "interrupted", {"a": 1})
    assert resumed.step == whole.step
    for name in ("network", "average", "best"):
        for one, other in zip(getattr(whole, name).parameters(), getattr(resumed, name).parameters(), strict=True):
            torch.testing.assert_close(one, other)
    torch.testing.assert_close(whole.monitor.records, resumed.monitor.records)
    finished = trainer_of(images, steps=9)
    run(finished, tmp_path / "interrupted", {"a": 1})  # no step is left
    assert np.isclose(float(finished.monitor.records[1, 0]), float(resumed.monitor.records[1, 0]))


def test_a_finetuning_without_steps_is_refused():
    with pytest.raises(UsageError, match="steps is 0; it must be at least 1"):
        FinetuneSchedule(steps=0)
