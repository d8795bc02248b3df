"""The classifiers of a run: learnt once for all its engines, and only those that an engine needs."""

from __future__ import annotations

import pytest
from quick_runs import QUICK, preparation_inputs, small_plan

from faceaug.errors import IntegrityError
from faceaug.synthesis import label_classifiers
from faceaug.synthesis.label_classifiers import (
    CLASSIFIER_FILES,
    GUIDANCE_FILE,
    HELD_OUT_FILE,
    METRICS_FILE,
    fit_label_classifiers,
)
from faceaug.synthesis.request import check_request

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def request_of_toys(toy_dataset):
    return check_request(toy_dataset, small_plan(toy_dataset, "bar,spot:-3/0/3", 8), QUICK)


def test_both_are_learnt_once(request_of_toys, toy_dataset, tmp_path, monkeypatch):
    inputs = preparation_inputs(toy_dataset, tmp_path)
    one = fit_label_classifiers(request_of_toys, inputs)
    assert {path.name for path in tmp_path.iterdir()} == set(CLASSIFIER_FILES)
    assert [task.name for task in one.tasks] == ["bar", "spot"]
    assert one.guidance is not None
    assert one.guidance.semantics == one.held_out.semantics == ("bar=no", "bar=yes", "spot")
    monkeypatch.setattr(label_classifiers, "train_classifiers", None)
    two = fit_label_classifiers(request_of_toys, inputs)
    assert two.guidance is not None
    assert (two.tasks, two.metrics) == (one.tasks, one.metrics)


def test_an_engine_that_only_judges_trains_no_guidance(request_of_toys, toy_dataset, tmp_path):
    inputs = preparation_inputs(toy_dataset, tmp_path)
    assert fit_label_classifiers(request_of_toys, inputs, guidance=False).guidance is None
    assert {path.name for path in tmp_path.iterdir()} == {HELD_OUT_FILE, METRICS_FILE}
    before = (tmp_path / HELD_OUT_FILE).read_bytes()
    both = fit_label_classifiers(request_of_toys, inputs)  # an engine of the same run that edits
    assert both.guidance is not None
    assert (tmp_path / GUIDANCE_FILE).exists()
    assert (tmp_path / HELD_OUT_FILE).read_bytes() == before
    assert fit_label_classifiers(request_of_toys, inputs, guidance=False).guidance is None


def test_what_was_measured_needs_no_guidance(request_of_toys, toy_dataset, tmp_path):
    inputs = preparation_inputs(toy_dataset, tmp_path)
    partly = fit_label_classifiers(request_of_toys, inputs, measured=["spot"])
    assert partly.guidance is not None
    assert partly.guidance.semantics == ("bar=no", "bar=yes")
    assert partly.held_out.semantics == ("bar=no", "bar=yes", "spot")
    other = preparation_inputs(toy_dataset, tmp_path / "all")
    other.folder.mkdir()
    assert fit_label_classifiers(request_of_toys, other, measured=["bar", "spot"]).guidance is None


@pytest.mark.parametrize("name", CLASSIFIER_FILES)
def test_a_damaged_file_is_refused(request_of_toys, toy_dataset, tmp_path, name):
    inputs = preparation_inputs(toy_dataset, tmp_path)
    fit_label_classifiers(request_of_toys, inputs)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:20])
    with pytest.raises(IntegrityError, match=name):
        fit_label_classifiers(request_of_toys, inputs)


def test_another_run_on_the_same_faces_reads_them_from_the_cache(request_of_toys, toy_dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("FACEAUG_CACHE", str(tmp_path / "cache"))
    first, second, third = (preparation_inputs(toy_dataset, tmp_path / name) for name in ("a", "b", "c"))
    for inputs in (first, second, third):
        inputs.folder.mkdir()
    fit_label_classifiers(request_of_toys, first)
    monkeypatch.setattr(label_classifiers, "train_classifiers", None)
    fit_label_classifiers(request_of_toys, second)
    for name in CLASSIFIER_FILES:
        assert (second.folder / name).read_bytes() == (first.folder / name).read_bytes()
    with pytest.raises(TypeError):  # other classifiers are learnt where spot was measured
        fit_label_classifiers(request_of_toys, third, measured=["spot"])
