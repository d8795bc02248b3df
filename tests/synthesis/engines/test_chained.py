"""Engines one after the other: the first's blocks, then the second's, numbered as each would number them alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from faceaug.planning.plan import PlannedCell
from faceaug.shards.columns import Column
from faceaug.shards.manifest import GeneratorRecord, ModelRecord
from faceaug.synthesis.engines.base import BlockResult, Preparation
from faceaug.synthesis.engines.chained import ChainedEngine
from faceaug.synthesis.estimate import RunEstimate

CELL = PlannedCell(0, {"yaw": "0 to 9"}, real=3, wanted=5, planned=5)
RECORD = GeneratorRecord(name="toy", sha256="a" * 64, licence="none", origin="a test")


class FixedEngine:
    """Gives a fixed number of blocks, and says which of its own each is."""

    def __init__(self, name: str, count: int, unreachable: str = "", generator: GeneratorRecord | None = None) -> None:
        self.names, self.count, self.reason, self.generator = (name,), count, unreachable, generator
        self.takes_image_sizes = generator is None
        self.real_hashes = np.array([len(name)], np.uint64)
        self.identity = {"weights": name}
        self.columns = (Column(group="attr", name="yaw", type="float64", meaning=name),)
        self.preparation = Preparation(
            files=(f"{name}.safetensors",),
            directions=ModelRecord(name="directions", sha256="d" * 64) if generator else None,
            classifiers=(ModelRecord(name=name, sha256="c" * 64),),
            metrics={name: 1, "seconds": {f"learning {name}": 2.0}},
        )

    def unreachable(self, cell):
        return self.reason

    def blocks(self, cell):
        return self.count

    def estimate(self):
        return RunEstimate(10.0 * self.count, 100.0 * self.count)

    def prepare(self, inputs):
        return self.preparation

    def propose(self, cell, block):
        assert block < self.count
        return BlockResult((), {block: self.names[0]}, {})

    def stored_hashes(self, reader):
        yield from reader.hashes[self.names[0]]


def proposed(*engines) -> list:
    """Return which engine gave each block of a chain, its number there, and the block at which the next begins."""
    chain = ChainedEngine(engines)
    results = [chain.propose(CELL, block) for block in range(chain.blocks(CELL))]
    return [(name, block, result.next_engine) for result in results for block, name in result.refused.items()]


def test_the_second_begins_where_the_first_ends():
    blocks = proposed(FixedEngine("rerender", 2), FixedEngine("edit", 2))
    assert blocks == [("rerender", 0, 2), ("rerender", 1, 2), ("edit", 0, None), ("edit", 1, None)]


def test_an_engine_that_cannot_fill_a_cell_is_passed_over():
    assert proposed(FixedEngine("rerender", 2, "no faces"), FixedEngine("edit", 1)) == [("edit", 0, None)]
    assert proposed(FixedEngine("rerender", 1), FixedEngine("edit", 2, "out of reach")) == [("rerender", 0, 1)]


@pytest.mark.parametrize(("one", "two", "expected"), [("a", "b", "a; b"), ("a", "", ""), ("", "b", "")])
def test_a_cell_is_out_of_reach_when_it_is_for_all(one, two, expected):
    assert ChainedEngine([FixedEngine("rerender", 1, one), FixedEngine("edit", 1, two)]).unreachable(CELL) == expected


def test_hashes_of_the_samples_of_all_engines_are_read_again():
    chain = ChainedEngine([FixedEngine("rerender", 1), FixedEngine("edit", 1)])
    assert list(chain.stored_hashes(SimpleNamespace(hashes={"rerender": [1, 2], "edit": [3]}))) == [1, 2, 3]
    assert chain.real_hashes.tolist() == [4, 8]  # a copy of a face by the hash of any engine is a copy


def test_what_decides_samples_is_what_decides_those_of_each():
    chain = ChainedEngine([FixedEngine("rerender", 1), FixedEngine("edit", 1, generator=RECORD)])
    assert chain.identity == {"rerender": {"weights": "rerender"}, "edit": {"weights": "edit"}}
    assert (chain.names, chain.generator) == (("rerender", "edit"), RECORD)
    assert ChainedEngine([FixedEngine("rerender", 1)]).generator is None
    assert chain.columns[0].meaning == "edit"  # a generator's tells more than that a label is the photograph's


def test_all_are_prepared_and_their_records_put_together():
    chain = ChainedEngine([FixedEngine("rerender", 1), FixedEngine("edit", 1, generator=RECORD)])
    preparation = chain.prepare(None)
    assert preparation.files == ("rerender.safetensors", "edit.safetensors")
    assert preparation.directions.name == "directions"
    assert [record.name for record in preparation.classifiers] == ["edit", "rerender"]
    assert preparation.metrics == {
        "rerender": 1,
        "edit": 1,
        "seconds": {"learning rerender": 2.0, "learning edit": 2.0},
    }


def test_the_estimate_is_that_of_trying_all_with_each():
    assert ChainedEngine([FixedEngine("a", 1), FixedEngine("b", 3)]).estimate() == RunEstimate(40.0, 300.0)
