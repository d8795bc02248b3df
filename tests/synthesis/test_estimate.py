"""The estimate of a run's time and size: it counts up what a run does; how long each takes is measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import ToyFaces

from faceaug.analysis.analyze import analyze
from faceaug.errors import UsageError
from faceaug.planning.plan import Budget, plan
from faceaug.synthesis import estimate as estimates
from faceaug.synthesis.balance import RunConfig
from faceaug.synthesis.estimate import estimate

SETTINGS = RunConfig(workers=1)


def wish(dataset, total):
    return plan(analyze(dataset, "bar"), "min:2000", Budget(max_total=total))


@pytest.fixture
def steady(monkeypatch):
    """A machine of which the speed is known: a hundredth of a second a picture, a tenth a step of training."""
    monkeypatch.setattr(estimates, "_seconds_of", lambda generator, settings: (0.01, 0.1))


def test_more_samples_take_longer_and_more_workers_less(toy_dataset, steady, monkeypatch):
    generator = ToyFaces()

    def seconds(total, **changes):
        return estimate(toy_dataset, wish(toy_dataset, total), generator, replace(SETTINGS, **changes))["seconds"]

    assert seconds(0) < seconds(100) < seconds(1000)
    assert seconds(1000, workers=4) < seconds(1000, workers=2) < seconds(1000)
    assert seconds(1000, tries=2) < seconds(1000)
    with pytest.raises(UsageError, match="no directions of view and light are known"):
        seconds(100, from_real=True)
    monkeypatch.setattr(estimates, "find_directions", lambda *_: object())
    encoder = (seconds(0, from_real=True) - seconds(0)) / 0.1
    assert 500 < encoder < 5000  # as many steps of training, and no search of cells
    assert seconds(1000, from_real=True) > 2 * seconds(1000) > 2 * seconds(0, from_real=True)
    assert seconds(100, draws=20_000) - seconds(100, draws=10_000) == pytest.approx(100, rel=1e-6)


def test_the_time_per_sample_is_of_the_order_of_an_edit(toy_dataset, steady):
    """Each sample takes some attempts, each attempt some looks, each look a hundredth of a second."""
    one, two = (estimate(toy_dataset, wish(toy_dataset, n), ToyFaces(), SETTINGS)["seconds"] for n in (500, 1500))
    assert 0.1 < (two - one) / 1000 < 1.0


@pytest.mark.parametrize(("layout", "least", "most"), [("blob", 1500, 6000), ("raw", 64 * 64 * 3, 64 * 64 * 3 + 1000)])
def test_bytes_are_those_of_the_targets_files_or_of_pixels(toy_dataset, steady, layout, least, most):
    found = estimate(toy_dataset, wish(toy_dataset, 100), ToyFaces(), replace(SETTINGS, layout=layout))
    assert least < found["bytes"] / 100 < most
    if layout == "blob":
        files = np.mean([len(toy_dataset.encoded(i)) for i in range(len(toy_dataset))])
        assert found["bytes"] / 100 == pytest.approx(files + 8 * ToyFaces().w_dim, rel=0.3)


def test_both_engines_take_as_long_as_each(toy_dataset, steady, monkeypatch):
    monkeypatch.setattr(estimates, "_rerendered", lambda *_: {"seconds": 7.0, "bytes": 10.0})
    monkeypatch.setattr(estimates, "load_estimator", lambda path: None)
    monkeypatch.setattr(estimates, "check_axes", lambda axes, engine: None)
    turned, drawn, both = (
        estimate(toy_dataset, wish(toy_dataset, 100), ToyFaces(), replace(SETTINGS, engine=engine))
        for engine in ("rerender", "generator", "both")
    )
    assert turned["seconds"] == 7
    assert both == {"seconds": pytest.approx(drawn["seconds"] + 7), "bytes": drawn["bytes"]}


def test_it_measures_and_leaves_everything_as_it_was(toy_dataset):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        found = estimate(toy_dataset, wish(toy_dataset, 50), ToyFaces(), SETTINGS)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert found["seconds"] > 0
    assert found["bytes"] > 0
    assert torch.equal(torch.get_rng_state(), state)


def test_bytes_follow_the_format_of_the_samples(toy_dataset, steady):
    def of(codec):
        settings = replace(SETTINGS, image_format=codec)
        return estimate(toy_dataset, wish(toy_dataset, 100), ToyFaces(), settings)["bytes"]

    assert of("png") > 1.5 * of("jpeg")
