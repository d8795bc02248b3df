"""Sliders of generated faces: what is asked is reached, and the rest is kept as far as it can be."""

from __future__ import annotations

import numpy as np
import pytest

from faceaug.errors import UsageError
from faceaug.explorer.generated import FaceEdit
from faceaug.reconstruction.semantics import FACTOR_NAMES

SEEDS = range(4)


def test_a_face_is_one_that_generator_sample_gives(generated):
    first, again = generated.original(3), generated.original(3)
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, generated.original(4).image)
    assert first.image.shape == (64, 64, 3)


@pytest.mark.parametrize(("name", "step"), [("yaw", 12.0), ("light_x", -15.0)])
def test_a_settled_edit_comes_nearer_than_it_was(generated, name, step):
    missed = []
    for seed in SEEDS:
        goal = generated.original(seed).measured[name] * 0.5 + step
        missed.append(abs(generated.edit(FaceEdit(seed, {name: goal}, settle=True)).measured[name] - goal))
    assert np.mean(missed) < 0.5 * abs(step)


def test_keeping_the_rest_moves_the_rest_less(generated):
    rest = [name for name in FACTOR_NAMES if name != "yaw"]
    spread = {slider.name: slider.high - slider.low for slider in generated.sliders}

    def moved(keep: bool) -> float:
        total = 0.0
        for seed in SEEDS:
            before = generated.original(seed).measured
            after = generated.edit(FaceEdit(seed, {"yaw": 20.0}, keep, settle=True)).measured
            total += sum(abs(after[name] - before[name]) / spread[name] for name in rest)
        return total

    assert moved(keep=True) < 0.8 * moved(keep=False)


def test_the_meter_refuses_what_no_sample_is_like(generated):
    (plausible,) = generated.original(0).meters
    assert plausible.passes
    far = generated.edit(FaceEdit(0, {"jaw_shape_1": 12.0}, keep=True))
    assert not far.meters[0].passes


def test_every_slider_covers_its_range(generated):
    names = [slider.name for slider in generated.sliders]
    assert names[: len(FACTOR_NAMES)] == list(FACTOR_NAMES)
    assert all(slider.low < slider.high for slider in generated.sliders)


def test_an_unknown_semantic_is_refused(generated):
    with pytest.raises(UsageError, match="yaw"):
        generated.edit(FaceEdit(0, {"yaww": 1.0}))
