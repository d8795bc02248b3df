"""Each gate passes and refuses round its limit; the first that refuses names the reason; others plug in."""

from __future__ import annotations

from dataclasses import fields, replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch

from faceaug.errors import FaceaugError
from faceaug.synthesis.acceptance import gates
from faceaug.synthesis.acceptance.gates import (
    BUILT_IN,
    AcceptanceThresholds,
    CandidateBatch,
    all_gates,
    gate_marks,
    refuse,
)

LIMITS = AcceptanceThresholds(confidence=0.7, judge=0.5, drift=0.4, spill=0.6)


def batch(n=3, **changes) -> CandidateBatch:
    """Samples that every gate lets pass, but for what is changed."""
    pictures = torch.zeros(n, 3, 8, 8)
    values = dict(
        images=pictures, origin_images=pictures, confidence=np.full((n, 2), 0.9), judged=np.full((n, 2), 0.9),
        drift=np.zeros(n), spill=np.zeros(n), plausibility=np.full(n, 0.5), realism=np.full(n, 0.5),
        soundness=np.full(n, 0.5), misexposure=np.full(n, 0.5), discolouring=np.full(n, 0.5), limits=LIMITS,
    )  # fmt: skip
    return CandidateBatch(**{**values, **changes})


@pytest.mark.parametrize(
    ("gate", "field", "limit", "above"),
    [
        ("plausible", "plausibility", 1.0, True),
        ("well exposed", "misexposure", 1.0, True),
        ("natural colour", "discolouring", 1.0, True),
        ("sound face", "soundness", 0.0, False),
        ("realistic", "realism", 1.0, True),
        ("attribute reached", "confidence", LIMITS.confidence, False),
        ("judge agrees", "judged", LIMITS.judge, False),
        ("scene kept", "drift", LIMITS.drift, True),
        ("face only", "spill", LIMITS.spill, True),
    ],
)
def test_round_its_limit(gate, field, limit, above):
    bad, good = (limit + 1e-9, limit - 1e-9) if above else (limit - 1e-9, limit + 1e-9)
    values = np.array([good, bad, limit])
    if field in ("confidence", "judged"):
        values = np.stack([np.full(3, 0.9), values], 1)  # every asked attribute has to pass
    found = batch(**{field: values})
    np.testing.assert_array_equal(BUILT_IN[gate](found), [True, False, True])
    assert refuse(found, BUILT_IN) == [None, gate, None]


@pytest.mark.parametrize(
    "field",
    ["confidence", "judged", "drift", "spill", "plausibility", "realism", "soundness", "misexposure", "discolouring"],
)
def test_what_was_not_measured_is_refused(field):
    """NaN is no pass: a reading that failed must not slip through."""
    value = getattr(batch(), field).copy()
    value[1] = np.nan
    assert [reason is None for reason in refuse(batch(**{field: value}), BUILT_IN)] == [True, False, True]


def test_every_limit_of_the_probes_and_the_scene_is_used():
    found = batch(confidence=np.full((1, 1), 0.65), judged=np.full((1, 1), 0.45), drift=np.array([0.45]),
                  spill=np.array([0.65]), n=1)  # fmt: skip
    for name, value in (("confidence", 0.6), ("judge", 0.4), ("drift", 0.5), ("spill", 0.7)):
        gate = {"confidence": "attribute reached", "judge": "judge agrees", "drift": "scene kept", "spill": "face only"}
        assert not BUILT_IN[gate[name]](found)[0]
        assert BUILT_IN[gate[name]](replace(found, limits=replace(LIMITS, **{name: value})))[0]


def test_every_built_in_gate_is_tested_round_its_limit():
    assert {case[0] for case in test_round_its_limit.pytestmark[0].args[1]} == set(BUILT_IN)


def test_the_first_that_refuses_gives_the_reason():
    found = batch(plausibility=np.array([2.0, 0.5, 2.0]), spill=np.array([9.0, 9.0, 0.0]))
    assert refuse(found, BUILT_IN) == ["plausible", "face only", "plausible"]
    backwards = dict(reversed(BUILT_IN.items()))
    assert refuse(found, backwards) == ["face only", "face only", "plausible"]
    assert refuse(found, {}) == [None, None, None]


def test_an_empty_batch_has_no_reasons():
    empty = {f.name: getattr(batch(), f.name)[:0] for f in fields(CandidateBatch)[:-3]}
    assert refuse(CandidateBatch(**empty, limits=LIMITS), BUILT_IN) == []


class Point:
    """An entry point of the group."""

    def __init__(self, name, gate):
        self.name, self.gate = name, gate

    def load(self):
        return self.gate


def test_gates_of_others_are_asked_last_and_in_order(monkeypatch):
    asked = []

    def dark(found):
        asked.append(found)
        return found.images.mean((1, 2, 3)).numpy() < 0

    def never(found):
        return np.zeros(len(found.drift), bool)

    points = {"faceaug.gates": [Point("zebra", never), Point("dark enough", dark)]}
    monkeypatch.setattr(gates, "entry_points", lambda group: points[group])
    found = batch(images=torch.tensor([-0.5, 0.5, -0.5])[:, None, None, None].expand(3, 3, 8, 8),
                  spill=np.array([0.0, 0.0, 9.0]))  # fmt: skip
    assert list(all_gates()) == [*BUILT_IN, "dark enough", "zebra"]
    assert refuse(found, all_gates()) == ["zebra", "dark enough", "face only"]
    assert asked == [found]


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
    marks = [gate_marks()]
    monkeypatch.setattr("json.__version__", "8")
    marks.append(gate_marks())
    point = EntryPoint("dark", "json:dumps", "faceaug.gates")
    marks.append(gate_marks())
    vars(point)["dist"] = Distribution
    marks.append(gate_marks())
    Distribution.version = "1.1"
    marks.append(gate_marks())
    assert all("dark" in found for found in marks)
    assert len({tuple(found) for found in marks}) == 5
    monkeypatch.setattr(gates, "entry_points", lambda group: [])
    assert gate_marks() == sorted(BUILT_IN)


def test_without_others_the_built_in_ones_are_all(monkeypatch):
    monkeypatch.setattr(gates, "entry_points", lambda group: [])
    assert all_gates() == BUILT_IN
    assert gates.DUPLICATE not in BUILT_IN


def test_labels_of_a_real_face_are_asked_for_as_its_photograph_has_them():
    sure, unsure = np.array([[0.9, 0.9], [0.9, 0.2], [0.9, 0.2]]), np.array([[0.7, 0.5], [0.7, 0.1], [0.7, 0.3]])
    for field, least, gate in (
        ("confidence", "least_confidence", "attribute reached"),
        ("judged", "least_judged", "judge agrees"),
    ):
        assert refuse(batch(**{field: sure}), BUILT_IN) == [None, gate, gate]
        assert refuse(batch(**{field: sure, least: unsure}), BUILT_IN) == [None, None, gate]
