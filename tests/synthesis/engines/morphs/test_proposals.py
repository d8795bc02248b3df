"""What is tried in a cell: no pair twice, nothing that a reading refuses, and the same whoever asks first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from demo_faces import faces

from faceaug.morphing.blend import MorphPlan
from faceaug.morphing.donors import DonorIndex
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig
from faceaug.synthesis.engines.morphs.attempt import ALONE, LABELLED, NEW_PERSON
from faceaug.synthesis.engines.morphs.proposals import CellProposals, PairReadings

pytestmark = pytest.mark.slow
OPEN = AcceptanceThresholds(residual=9.0, unregistered=1.0, mixed=0.0, distorted=1.0, uncovered=1.0, duplicate_bits=0)
MOST = 200


def proposals(count: int = 6, labels=lambda _: "", persons=lambda _: "", **changes) -> CellProposals:
    members = [face for face, _ in faces()][:count]
    index = DonorIndex(members, np.empty((count, 0)), np.empty(0, bool), 1.0)
    config = RunConfig(engine="morph", thresholds=OPEN.model_copy(update=changes))
    return CellProposals(index, 2, config, PairReadings(labels, persons))


def pairs(cell: CellProposals) -> list[tuple[int, int] | str]:
    """Return rows of host and donor of all attempts, or why there is no morph."""
    found: list[tuple[int, int] | str] = []
    for number in range(MOST):
        plan = cell.plan(number)
        if plan is None:
            return found
        found.append(plan if isinstance(plan, str) else (plan.host.row, plan.donors[0].row))
    raise AssertionError("there is no end")


def made(found: list[tuple[int, int] | str]) -> list[tuple[int, int]]:
    return [pair for pair in found if not isinstance(pair, str)]


def test_no_pair_is_tried_twice_and_every_host_has_its_turn_first():
    found = pairs(proposals())
    assert len(set(made(found))) == len(made(found)) > 6
    assert len({pair[0] for pair in found[:6]}) == 6
    assert ALONE in found


def test_the_same_is_tried_whoever_asks_first():
    expected, other, threaded = pairs(proposals()), proposals(), proposals()
    for number in reversed(range(len(expected))):
        plan = other.plan(number)
        assert (plan if isinstance(plan, str) else (plan.host.row, plan.donors[0].row)) == expected[number]
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(threaded.plan, range(len(expected))))
    assert [plan if isinstance(plan, str) else (plan.host.row, plan.donors[0].row) for plan in plans] == expected
    one, two = proposals().plan(0), other.plan(0)
    assert isinstance(one, MorphPlan)
    assert isinstance(two, MorphPlan)
    assert one.weights == two.weights


def test_pairs_of_one_person_are_never_tried():
    rows = [face.row for face, _ in faces()][:6]
    found = pairs(proposals(persons=lambda pair: NEW_PERSON if pair[0].row == rows[0] else ""))
    assert made(found)
    assert rows[0] not in {host for host, _ in made(found)}
    assert NEW_PERSON in found


def test_what_is_only_predicted_to_fail_comes_last():
    rows = [face.row for face, _ in faces()][:6]
    found = pairs(proposals(labels=lambda pair: LABELLED if pair[0].row == rows[0] else ""))
    hosts = [host for host, _ in made(found)]
    assert hosts.index(rows[0]) > max(k for k, host in enumerate(hosts) if host != rows[0])


@pytest.mark.parametrize("count", [1, 2])
def test_a_cell_of_few_faces_comes_to_an_end(count):
    found = pairs(proposals(count))
    assert len(made(found)) <= count * (count - 1)


def test_morphs_that_are_predicted_to_be_near_copies_are_left_out():
    assert len(made(pairs(proposals(duplicate_bits=12)))) < len(made(pairs(proposals())))
    assert not made(pairs(proposals(duplicate_bits=64)))
