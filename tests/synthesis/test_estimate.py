"""The estimate of a run's time and size: it counts what a run does; how long each takes is measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from demo_faces import labelled_demo
from fakes import ToyFaces
from nosy_faces import nosy_dataset, nosy_estimator
from quick_runs import changed

from faceaug.analysis.analyze import analyze
from faceaug.errors import UsageError
from faceaug.planning.plan import Budget, Plan, plan
from faceaug.synthesis import estimate as estimates
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.latent import latent_edit
from faceaug.synthesis.estimate import RunEstimate, estimate

CONFIG = RunConfig(engine="generator", workers=1, generator=ToyFaces())


def planned(dataset, total: int, by: str = "bar") -> Plan:
    return plan(analyze(dataset, by), "min:2000", Budget(max_total=total))


@pytest.fixture
def known_speed(monkeypatch):
    """A machine of which the speed is known: a hundredth of a second an image, a tenth a step of training."""
    monkeypatch.setattr(estimates, "_read_and_step_seconds", lambda generator, config: (0.01, 0.1))


@pytest.fixture
def of(toy_dataset, known_speed):
    """Estimate a run of so many samples."""

    def run(total: int, **changes) -> RunEstimate:
        return estimate(toy_dataset, planned(toy_dataset, total), changed(CONFIG, **changes))

    return run


def test_more_samples_take_longer_and_more_workers_less(of, monkeypatch):
    assert of(0).seconds < of(100).seconds < of(1000).seconds
    assert of(1000, workers=4).seconds < of(1000, workers=2).seconds < of(1000).seconds
    assert of(1000, tries=1).seconds < of(1000).seconds
    assert of(100, survey_samples=20_000).seconds - of(100, survey_samples=10_000).seconds == pytest.approx(100)


def test_edits_of_real_faces_take_an_encoder_and_no_search(of, monkeypatch):
    with pytest.raises(UsageError, match="no directions of view and light are known"):
        of(100, from_real=True)
    monkeypatch.setattr(latent_edit, "_learned_directions", lambda *_: object())
    encoder = (of(0, from_real=True).seconds - of(0).seconds) / 0.1
    assert 500 < encoder < 5000  # as many steps of training, and no search of cells
    assert of(1000, from_real=True).seconds > 2 * max(of(1000).seconds, of(0, from_real=True).seconds)


def test_the_time_of_a_sample_is_of_the_order_of_an_edit(of):
    """Each sample takes some attempts, each attempt some readings, each reading a hundredth of a second."""
    assert 0.1 < (of(1500).seconds - of(500).seconds) / 1000 < 1.0


@pytest.mark.parametrize(("layout", "least", "most"), [("blob", 1500, 6000), ("raw", 64 * 64 * 3, 64 * 64 * 3 + 1000)])
def test_bytes_are_those_of_the_data_sets_files_or_of_pixels(of, toy_dataset, layout, least, most):
    size = of(100, layout=layout).bytes / 100
    assert least < size < most
    if layout == "blob":
        files = np.mean([len(toy_dataset.encoded(i)) for i in range(len(toy_dataset))])
        assert size == pytest.approx(files + 8 * ToyFaces().w_dim, rel=0.3)


def test_bytes_follow_the_format_of_the_samples(of):
    assert of(100, image_format="png").bytes > 1.5 * of(100, image_format="jpeg").bytes


def test_several_engines_take_as_long_as_each_and_write_as_much_as_the_largest(tmp_path, known_speed, monkeypatch):
    dataset = nosy_dataset(tmp_path / "faces", 40)
    place = "faceaug.synthesis.engines.rerendering.rerender.rerender_estimate"
    monkeypatch.setattr(place, lambda *_: RunEstimate(7.0, 10.0))
    config = changed(CONFIG, reconstruction=nosy_estimator(), aligned=True)
    rerender, generator, both = (
        estimate(dataset, planned(dataset, 100, "yaw:-25/-10/10/25"), changed(config, engine=engine, **more))
        for engine, more in (("rerender", {"generator": "embedded"}), ("generator", {}), ("both", {}))
    )
    assert rerender.seconds == 7
    assert both == RunEstimate(pytest.approx(generator.seconds + 7), generator.bytes)


def test_rerendered_faces_are_measured_to_estimate_them(tmp_path):
    dataset = nosy_dataset(tmp_path / "faces", 20)
    config = RunConfig(engine="rerender", reconstruction=nosy_estimator(), aligned=True, workers=1)
    few, many = (estimate(dataset, planned(dataset, n, "yaw:-25/-10/10/25"), config) for n in (10, 1000))
    assert 0 < few.seconds < many.seconds
    assert many.bytes == pytest.approx(100 * few.bytes)


def test_it_measures_and_leaves_everything_as_it_was(toy_dataset):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        found = estimate(toy_dataset, planned(toy_dataset, 50), CONFIG)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert found.seconds > 0
    assert found.bytes > 0
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_morphs_are_expected_by_the_number_of_faces(tmp_path):
    dataset = labelled_demo(tmp_path / "images")
    few, many = (planned(dataset, count, "kind") for count in (4, 400))
    config = RunConfig(engine="morph", reconstruction=nosy_estimator(), aligned=True, workers=1)
    one, other = (estimate(dataset, wanted, config) for wanted in (few, many))
    assert sum(cell.accepted for cell in one.cells) == 4
    rare = int((dataset.table["kind"] == "rare").sum())
    (short,) = (cell for cell in other.cells if few.cells[cell.cell].real == rare)
    assert 0 < short.accepted < many.cells[short.cell].planned
    assert short.accepted <= 8 * rare  # each face in 16 samples, of two faces each
    assert one.seconds < other.seconds
