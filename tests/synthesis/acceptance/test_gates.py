"""Each gate passes and refuses at its threshold; the first that refuses gives the reason; others plug in."""

from __future__ import annotations

from dataclasses import fields, replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch
from quick_runs import changed

from faceaug.errors import FaceaugError
from faceaug.synthesis.acceptance import gates
from faceaug.synthesis.acceptance.gates import BUILT_IN, CandidateBatch, all_gates, gate_identities, refuse
from faceaug.synthesis.config import AcceptanceThresholds

THRESHOLDS = AcceptanceThresholds(confidence=0.7, held_out=0.5, drift=0.4, spill=0.6)


def batch(n=3, **changes) -> CandidateBatch:
    """Return samples that every gate lets pass, but for what is changed."""
    images, half = torch.zeros(n, 3, 8, 8), np.full(n, 0.5)
    values = {
        "images": images,
        "origins": lambda: images,
        "confidence": np.full((n, 2), 0.9),
        "held_out": np.full((n, 2), 0.9),
        "drift": np.zeros(n),
        "spill": np.zeros(n),
        "plausibility": half,
        "realism": half,
        "face_quality": half,
        "misexposure": half,
        "discolouring": half,
        "thresholds": THRESHOLDS,
    }
    return CandidateBatch(**{**values, **changes})


@pytest.mark.parametrize(
    ("gate", "field", "threshold", "above"),
    [
        ("plausible", "plausibility", 1.0, True),
        ("well exposed", "misexposure", 1.0, True),
        ("natural colour", "discolouring", 1.0, True),
        ("face quality", "face_quality", 0.0, False),
        ("realistic", "realism", 1.0, True),
        ("attribute reached", "confidence", THRESHOLDS.confidence, False),
        ("held-out classifier agrees", "held_out", THRESHOLDS.held_out, False),
        ("scene kept", "drift", THRESHOLDS.drift, True),
        ("change inside the face", "spill", THRESHOLDS.spill, True),
    ],
)
def test_a_gate_refuses_beyond_its_threshold(gate, field, threshold, above):
    bad, good = (threshold + 1e-9, threshold - 1e-9) if above else (threshold - 1e-9, threshold + 1e-9)
    values = np.array([good, bad, threshold])
    if field in ("confidence", "held_out"):
        values = np.stack([np.full(3, 0.9), values], 1)  # every requested attribute has to pass
    found = batch(**{field: values})
    np.testing.assert_array_equal(BUILT_IN[gate](found), [True, False, True])
    assert refuse(found, BUILT_IN) == [None, gate, None]


@pytest.mark.parametrize(
    "field",
    [
        "confidence",
        "held_out",
        "drift",
        "spill",
        "plausibility",
        "realism",
        "face_quality",
        "misexposure",
        "discolouring",
    ],
)
def test_what_was_not_measured_is_refused(field):
    """NaN is no pass: a reading that failed must not slip through."""
    value = getattr(batch(), field).copy()
    value[1] = np.nan
    assert [reason is None for reason in refuse(batch(**{field: value}), BUILT_IN)] == [True, False, True]


@pytest.mark.parametrize(
    ("name", "value", "gate"),
    [
        ("confidence", 0.6, "attribute reached"),
        ("held_out", 0.4, "held-out classifier agrees"),
        ("drift", 0.5, "scene kept"),
        ("spill", 0.7, "change inside the face"),
    ],
)
def test_thresholds_of_the_classifiers_and_the_scene_are_used(name, value, gate):
    found = batch(
        confidence=np.full((1, 1), 0.65),
        held_out=np.full((1, 1), 0.45),
        drift=np.array([0.45]),
        spill=np.array([0.65]),
        n=1,
    )
    assert not BUILT_IN[gate](found)[0]
    assert BUILT_IN[gate](replace(found, thresholds=changed(THRESHOLDS, **{name: value})))[0]


def test_every_built_in_gate_is_tested_at_its_threshold():
    cases = test_a_gate_refuses_beyond_its_threshold.pytestmark[0].args[1]
    assert {case[0] for case in cases} == set(BUILT_IN)


def test_the_first_that_refuses_gives_the_reason():
    found = batch(plausibility=np.array([2.0, 0.5, 2.0]), spill=np.array([9.0, 9.0, 0.0]))
    assert refuse(found, BUILT_IN) == ["plausible", "change inside the face", "plausible"]
    backwards = dict(reversed(BUILT_IN.items()))
    assert refuse(found, backwards) == ["change inside the face", "change inside the face", "plausible"]
    assert refuse(found, {}) == [None, None, None]


def test_an_empty_batch_has_no_reasons():
    arrays = [f.name for f in fields(CandidateBatch)[:-3] if f.name != "origins"]
    assert refuse(replace(batch(), **{name: getattr(batch(), name)[:0] for name in arrays}), BUILT_IN) == []


class Point:
    """An entry point of the group."""

    def __init__(self, name, gate):
        self.name, self.gate = name, gate

    def load(self):
        return self.gate


def test_gates_of_others_are_asked_last_and_in_order(monkeypatch):
    batches = []

    def dark(found):
        batches.append(found)
        return found.images.mean((1, 2, 3)).numpy() < 0

    def never(found):
        return np.zeros(len(found.drift), bool)

    points = {"faceaug.gates": [Point("zebra", never), Point("dark enough", dark)]}
    monkeypatch.setattr(gates, "entry_points", lambda group: points[group])
    images = torch.tensor([-0.5, 0.5, -0.5])[:, None, None, None].expand(3, 3, 8, 8)
    found = batch(images=images, spill=np.array([0.0, 0.0, 9.0]))
    assert list(all_gates()) == [*BUILT_IN, "dark enough", "zebra"]
    assert refuse(found, all_gates()) == ["zebra", "dark enough", "change inside the face"]
    assert batches == [found]


@pytest.mark.parametrize(
    "answer",
    [[True, False, True], np.array([1, 0, 2]), torch.tensor([True, False, True])],
    ids=["list", "int", "torch"],
)
def test_any_truth_values_will_do(answer):
    assert refuse(batch(), {"odd": lambda found: answer}) == [None, "odd", None]


@pytest.mark.parametrize("answer", [True, np.ones(2, bool), np.ones((3, 2), bool)])
def test_a_gate_that_does_not_answer_for_each_sample_is_named(answer):
    with pytest.raises(FaceaugError, match="the gate 'odd' answered"):
        refuse(batch(), {"odd": lambda found: answer})


def test_a_plug_in_of_another_version_is_another_gate(monkeypatch):
    class Distribution:
        name, version = "shades", "1.0"

    point = EntryPoint("dark", "json:loads", "faceaug.gates")
    monkeypatch.setattr(gates, "entry_points", lambda group: [point])
    monkeypatch.setattr("json.__version__", "7", raising=False)
    identities = [gate_identities()]
    monkeypatch.setattr("json.__version__", "8")
    identities.append(gate_identities())
    point = EntryPoint("dark", "json:dumps", "faceaug.gates")
    identities.append(gate_identities())
    vars(point)["dist"] = Distribution
    identities.append(gate_identities())
    Distribution.version = "1.1"
    identities.append(gate_identities())
    assert all("dark" in found for found in identities)
    assert len({tuple(found) for found in identities}) == 5
    monkeypatch.setattr(gates, "entry_points", lambda group: [])
    assert gate_identities() == sorted(BUILT_IN)


def test_without_others_the_built_in_ones_are_all(monkeypatch):
    monkeypatch.setattr(gates, "entry_points", lambda group: [])
    assert all_gates() == BUILT_IN
    assert gates.DUPLICATE not in BUILT_IN


def test_labels_of_a_real_face_must_be_as_sure_as_in_its_photograph():
    sure, unsure = np.array([[0.9, 0.9], [0.9, 0.2], [0.9, 0.2]]), np.array([[0.7, 0.5], [0.7, 0.1], [0.7, 0.3]])
    for field, least, gate in (
        ("confidence", "least_confidence", "attribute reached"),
        ("held_out", "least_held_out", "held-out classifier agrees"),
    ):
        assert refuse(batch(**{field: sure}), BUILT_IN) == [None, gate, gate]
        assert refuse(batch(**{field: sure, least: unsure}), BUILT_IN) == [None, None, gate]
