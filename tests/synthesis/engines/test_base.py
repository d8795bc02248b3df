"""Engines one after the other: the first's blocks, then the second's, numbered as each would number them alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from faceaug.planning.plan import PlannedCell
from faceaug.synthesis.engines.base import ChainedEngine

CELL = PlannedCell(0, {"yaw": "0 to 9"}, real=3, wanted=5, planned=5)


class Fixed:
    """Gives so many blocks and says which of its own each is."""

    def __init__(self, name: str, count: int, beyond: str = "") -> None:
        self.name, self.count, self.why = name, count, beyond
        self.real = np.array([len(name)], np.uint64)

    def beyond(self, cell):
        return self.why

    def blocks(self, cell):
        return self.count

    def make(self, cell, block):
        assert block < self.count
        return self.name, block

    def marks(self, reader):
        yield from reader.marks[self.name]


def made(*engines) -> list:
    relay = ChainedEngine(engines)
    return [relay.make(CELL, block) for block in range(relay.blocks(CELL))]


def test_the_second_begins_where_the_first_ends():
    assert made(Fixed("turned", 2), Fixed("drawn", 2)) == [("turned", 0), ("turned", 1), ("drawn", 0), ("drawn", 1)]


def test_what_cannot_fill_a_cell_is_passed_over():
    assert made(Fixed("turned", 2, "no faces"), Fixed("drawn", 1)) == [("drawn", 0)]
    assert made(Fixed("turned", 1), Fixed("drawn", 2, "out of reach")) == [("turned", 0)]


@pytest.mark.parametrize(("one", "two", "said"), [("a", "b", "a; b"), ("a", "", ""), ("", "b", "")])
def test_a_cell_is_beyond_reach_when_it_is_for_all(one, two, said):
    assert ChainedEngine([Fixed("turned", 1, one), Fixed("drawn", 1, two)]).beyond(CELL) == said


def test_all_that_was_made_is_known_again():
    relay = ChainedEngine([Fixed("turned", 1), Fixed("drawn", 1)])
    assert list(relay.marks(SimpleNamespace(marks={"turned": [1, 2], "drawn": [3]}))) == [1, 2, 3]
    assert relay.real.tolist() == [6]
