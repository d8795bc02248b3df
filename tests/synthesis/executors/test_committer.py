"""Driver and committer with many units of work and workers that fail: nothing is lost or twice, and order is kept."""

from __future__ import annotations

import dataclasses
import heapq
import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from candidates import candidate

from faceaug.cluster.placement import RETRIES
from faceaug.errors import FaceaugError
from faceaug.planning.plan import PlannedCell
from faceaug.synthesis.acceptance.near_duplicates import DuplicateIndex
from faceaug.synthesis.accounting import LOST, LOST_IN_TURN, Accounting
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig
from faceaug.synthesis.engines.base import BlockResult, Candidate
from faceaug.synthesis.executors.base import LostBlockError
from faceaug.synthesis.loop import fill_cells

UNITS, CELLS, FAILURES = 40_000, 50, 0.1
"""Blocks, cells, and the share of tries at a block that fail; a thousand times as many as a cluster would lose."""
ACCEPTED = 0.05  # of attempts; a block is one attempt
CONFIG = RunConfig(tries=40, report=False, thresholds=AcceptanceThresholds(duplicate_bits=0))
PICTURE = vars(candidate(0, image=b"a picture", w=None))


def proposed(cell: PlannedCell, block: int) -> BlockResult:
    """Return the one candidate of a block, or its refusal, as cell and block decide."""
    number = cell.index * 10**6 + block
    if number * 2654435761 % 2**32 >= ACCEPTED * 2**32:
        return BlockResult((), {block: "a gate"}, {})
    fields = {**PICTURE, "attempt": block, "seed": number, "hash": np.uint64(number * 2**20)}
    return BlockResult((Candidate(**fields),), {}, {})


class Simulated:
    """A cluster in a simulated time, whose workers take a random time for a block and are lost at random."""

    def __init__(
        self,
        workers: int,
        failures: float,
        seed: int = 0,
        dies_after: int | None = None,
        fatal: int | None = None,
        gone_in: int | None = None,
    ) -> None:
        self.ahead, self._failures, self._rng = 2 * workers, failures, random.Random(seed)
        self._now, self._events, self._number = 0.0, [], 0
        self._dies_after, self._fatal = dies_after, fatal  # a number of blocks, and a cell
        self._gone_in, self._gone = gone_in, False  # a cell in which all workers are lost, and whether they are
        self.computed = Counter()
        self.most_under_way = self._under_way = 0
        self.tries = Counter()

    def submit(self, cell: PlannedCell, block: int) -> SimpleNamespace:
        pending = SimpleNamespace(cell=cell, block=block, outcome=None)
        pending.result = lambda: self._wait(pending)
        pending.cancel = lambda: None
        self._begin(pending)
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        return pending

    def _begin(self, pending: SimpleNamespace) -> None:
        self._number += 1
        heapq.heappush(self._events, (self._now + self._rng.expovariate(1.0), self._number, pending))

    def _wait(self, pending: SimpleNamespace) -> BlockResult:
        while pending.outcome is None:
            self._now, _, done = heapq.heappop(self._events)
            key = (done.cell.index, done.block)
            self.tries[key] += 1
            self._gone |= done.cell.index == self._gone_in
            if not self._gone and done.cell.index != self._fatal and self._rng.random() >= self._failures:
                done.outcome = proposed(done.cell, done.block)
                self.computed[key] += 1
                if self._dies_after is not None and self.computed.total() > self._dies_after:
                    raise KeyboardInterrupt
            elif self.tries[key] > RETRIES:
                done.outcome = LostBlockError("its node was lost")
            else:
                self._begin(done)
                continue
            self._under_way -= 1
        if isinstance(pending.outcome, LostBlockError):
            raise pending.outcome
        return pending.outcome

    def __enter__(self) -> Simulated:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Recorded:
    """An output that keeps the seeds of samples in their order, and the state that a resumed run begins with."""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.states: dict = {}
        self.manifest = SimpleNamespace(cells=(), progress=None)
        self._accepted = Counter()

    def readers(self):
        return iter(())

    def accepted(self):
        return self._accepted.copy()

    def append(self, samples, states, progress):
        self.seeds += [sample.seed for sample in samples]
        self._accepted.update(sample.cell for sample in samples)
        self.states |= states
        before = self.manifest.progress or {"blocks": {}, "nearest": {}, "recent": {}, "given_up": {}}
        for name in ("blocks", "nearest", "recent", "given_up"):
            before[name] |= progress[name]
        self.manifest.progress = before

    def update(self, states):
        self.states |= states


def cells(planned: int) -> list[PlannedCell]:
    return [PlannedCell(k, {"g": str(k)}, real=9, wanted=planned, planned=planned) for k in range(CELLS)]


def fill(executor: Simulated, output: Recorded, planned: int):
    request = SimpleNamespace(plan=SimpleNamespace(cells=cells(planned)), config=CONFIG)
    engine = SimpleNamespace(
        real_hashes=np.empty(0, np.uint64),
        unreachable=lambda cell: "",
        blocks=lambda cell: planned * CONFIG.tries,
        stored_hashes=lambda reader: iter(()),
    )
    return fill_cells(request, engine, executor, output, lambda *_: None)


def expected(planned: int, lost: set[tuple[int, int]]) -> list[int]:
    """Return the seeds of the samples of a run without any of this: in every cell the first accepted attempts."""
    seeds = []
    for cell in cells(planned):
        accepted = 0
        for block in range(planned * CONFIG.tries):
            if accepted == planned:
                break
            for sample in proposed(cell, block).candidates if (cell.index, block) not in lost else ():
                seeds.append(sample.seed)
                accepted += 1
    return seeds


@pytest.mark.slow
def test_many_units_with_failing_workers_give_every_sample_once_in_order():
    planned = int(UNITS * ACCEPTED) // CELLS
    executor, output = Simulated(2000, FAILURES), Recorded()
    accounting = fill(executor, output, planned)
    lost = {key for key, tries in executor.tries.items() if tries > RETRIES and not executor.computed[key]}
    assert executor.computed.total() > 0.95 * UNITS
    assert output.seeds == expected(planned, lost)
    assert len(set(output.seeds)) == len(output.seeds) == planned * CELLS
    assert sum(refused[LOST] for refused in accounting.refused.values()) <= len(lost)
    assert lost  # otherwise the failures were too few to show anything
    assert executor.most_under_way <= 2 * executor.ahead
    assert executor.computed.total() < 1.1 * UNITS  # few are computed in vain
    assert max(executor.computed.values()) == 1


def test_a_driver_that_ends_at_any_moment_is_resumed_to_the_same_samples():
    planned, output = 4, Recorded()
    for session in range(200):
        try:
            fill(Simulated(7 + session % 5, 0.01, session, dies_after=150), output, planned)
            break
        except KeyboardInterrupt:
            continue
    assert 5 < session < 199
    assert not any(state.rejected.get(LOST) for state in output.states.values())
    assert output.seeds == expected(planned, set())
    assert len(set(output.seeds)) == len(output.seeds) == planned * CELLS


def test_a_cell_whose_blocks_are_all_lost_ends_short_with_the_reason():
    executor, output = Simulated(4, 0.0, fatal=0), Recorded()
    fill(executor, output, 10)
    assert output.seeds == [seed for seed in expected(10, set()) if seed >= 10**6]  # the other cells are full
    assert output.manifest.progress["given_up"]["0"]
    assert max(executor.tries.values()) == RETRIES + 1
    note = output.states[0].note
    assert note.startswith(f"10 short, given up since {LOST_IN_TURN} blocks in turn were lost with their workers")
    assert "its node was lost" in note
    assert output.states[0].rejected == {LOST: LOST_IN_TURN}


def test_a_lost_cluster_ends_the_run_and_resumed_it_makes_every_sample():
    output = Recorded()
    with pytest.raises(FaceaugError, match=r"2 cells in turn were lost .*its node was lost.* with --resume"):
        fill(Simulated(4, 1.0), output, 4)
    fill(Simulated(4, 0.0), output, 4)
    assert output.seeds == expected(4, set())


def test_a_cluster_that_is_lost_in_the_last_cell_ends_the_run_with_an_error():
    output = Recorded()
    with pytest.raises(FaceaugError, match=r"last blocks were lost .*its node was lost.* with --resume"):
        fill(Simulated(1, 0.0, gone_in=CELLS - 1), output, 4)
    assert 0 < len(output.seeds) < 4 * CELLS
    fill(Simulated(4, 0.0), output, 4)
    assert output.seeds == expected(4, set())


def test_a_last_cell_whose_blocks_end_their_workers_ends_short_while_others_can_be_computed():
    executor, output = Simulated(4, 0.0, fatal=CELLS - 1), Recorded()
    fill(executor, output, 4)
    assert output.seeds == [seed for seed in expected(4, set()) if seed < (CELLS - 1) * 10**6]
    assert output.states[CELLS - 1].rejected == {LOST: LOST_IN_TURN}
    again = Simulated(4, 0.0, fatal=CELLS - 1)
    fill(again, output, 4)  # resumed, it tries them again, and ends as before
    assert again.computed.total() == 1


def test_the_next_engine_takes_over_where_the_blocks_of_one_are_lost():
    accounting, cell = Accounting(DuplicateIndex(np.empty(0, np.uint64), 0)), cells(5)[0]
    accounting.take(cell, 0, dataclasses.replace(proposed(cell, 0), next_engine=8))
    for block in range(1, 1 + LOST_IN_TURN):
        accounting.lose(cell, block, 20, "its node was lost")
    assert accounting.next_block(0) == 8


def test_an_executor_is_ended_where_the_run_cannot_be_resumed(monkeypatch):
    executor, output, ended = Simulated(4, 0.0), Recorded(), []
    output.manifest.progress = {"blocks": {}}  # damaged
    monkeypatch.setattr(Simulated, "__exit__", lambda *_: ended.append(True))
    with pytest.raises(KeyError):
        fill(executor, output, 4)
    assert ended
