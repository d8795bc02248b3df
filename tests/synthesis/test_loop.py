"""The loop that fills cells: the same samples whatever computes the blocks, and no more work after an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import forked
import numpy as np
import pytest
from finished_runs import assert_same_samples
from mean_engine import MeanEngine
from quick_runs import changed, small_plan

from faceaug.planning.plan import PlannedCell
from faceaug.shards.manifest import CreatedBy, read_manifest
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.base import BlockResult
from faceaug.synthesis.executors.base import Executor, LostBlockError
from faceaug.synthesis.executors.local import LocalExecutor
from faceaug.synthesis.loop import fill_cells
from faceaug.synthesis.request import check_request
from faceaug.synthesis.stages import begin_output, open_output, prepare_engine, read_images

CONFIG = RunConfig(engine="generator", image_format="png", report=False, workers=1)  # read by the accounting alone
PLANNED = 20


class _Deferred(Future):
    """A result that is computed when somebody waits for it."""

    def __init__(self, compute_all: Callable[[], None]) -> None:
        super().__init__()
        self._compute_all = compute_all

    def result(self, timeout: float | None = None) -> BlockResult:
        self._compute_all()
        return super().result(timeout)


class ScrambledExecutor:
    """Computes all blocks that are under way in a random order once the first is waited for."""

    def __init__(self, engine, ahead: int = 6) -> None:
        self._engine, self.ahead, self._rng = engine, ahead, np.random.default_rng(0)
        self._pending: list[tuple[_Deferred, PlannedCell, int]] = []
        self.order: list[tuple[int, int]] = []

    def submit(self, cell: PlannedCell, block: int) -> Future[BlockResult]:
        future = _Deferred(self._compute_all)
        self._pending.append((future, cell, block))
        return future

    def _compute_all(self) -> None:
        self._rng.shuffle(self._pending)
        while self._pending:
            future, cell, block = self._pending.pop()
            self.order.append((cell.index, block))
            future.set_result(self._engine.propose(cell, block))

    def __enter__(self) -> ScrambledExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        self._pending.clear()


class ProcessExecutor:
    """Computes blocks in processes that know nothing of this one, as on another machine: the engine is sent to them."""

    ahead = 3

    def __init__(self, engine) -> None:
        self._engine = engine
        self._pool = ProcessPoolExecutor(2, mp_context=forked.context)

    def submit(self, cell: PlannedCell, block: int) -> Future[BlockResult]:
        return self._pool.submit(self._engine.propose, cell, block)

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def request_(toy_dataset):
    return check_request(toy_dataset, small_plan(toy_dataset, "bar", PLANNED), CONFIG)


def fill(request, out: Path, executor_of: Callable[..., Executor]) -> Executor:
    """Fill the cells of a request by an engine that needs no training, and return the executor."""
    engine, progress = MeanEngine(request), lambda *_: None
    with open_output(request, engine, out, resume=False) as output:
        images = read_images(request, progress)
        begin_output(request, engine, images, output, CreatedBy(faceaug="0", command="a test"))
        prepare_engine(engine, images, output, progress)
        executor = executor_of(engine)
        seconds = fill_cells(request, engine, executor, output, progress).seconds()
        output.finish(measured={"seconds": seconds})
    return executor


@pytest.fixture(scope="module")
def base(request_, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "base"
    fill(request_, out, lambda engine: LocalExecutor(engine, 1))
    assert read_manifest(out).totals.accepted == PLANNED
    return out


def test_blocks_computed_in_a_scrambled_order_give_the_same_samples(base, request_, tmp_path):
    executor = fill(request_, tmp_path / "out", ScrambledExecutor)
    assert executor.order != sorted(executor.order)
    assert_same_samples(base, tmp_path / "out")


@pytest.mark.parametrize("ahead", [1, 50])
def test_the_number_of_blocks_under_way_does_not_matter(base, request_, tmp_path, ahead):
    fill(request_, tmp_path / "out", lambda engine: ScrambledExecutor(engine, ahead))
    assert_same_samples(base, tmp_path / "out")


def test_threads_give_the_same_samples(base, request_, tmp_path):
    fill(request_, tmp_path / "out", lambda engine: LocalExecutor(engine, 4))
    assert_same_samples(base, tmp_path / "out")


@pytest.mark.slow
def test_processes_give_the_same_samples(base, request_, tmp_path):
    fill(request_, tmp_path / "out", ProcessExecutor)
    assert_same_samples(base, tmp_path / "out")


# --- what is submitted ---


CELLS = [PlannedCell(k, {"bar": level}, real=9, wanted=9, planned=2) for k, level in enumerate(("no", "yes"))]


class ManualExecutor:
    """Records what is submitted; the first `done` blocks hold nothing at all, the next one fails."""

    def __init__(self, done: int = 0, ahead: int = 4, error: BaseException | None = None) -> None:
        self.ahead, self._done, self._error = ahead, done, error
        self.submitted: list[tuple[int, int]] = []
        self.futures: list[Future[BlockResult]] = []
        self.closed = False

    def submit(self, cell: PlannedCell, block: int) -> Future[BlockResult]:
        future: Future[BlockResult] = Future()
        self.submitted.append((cell.index, block))
        self.futures.append(future)
        if len(self.futures) <= self._done:
            future.set_result(BlockResult((), {block: "a gate"}, {}))
        elif len(self.futures) == self._done + 1 and self._error is not None:
            future.set_exception(self._error)
        return future

    def __enter__(self) -> ManualExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True


class Output:
    """An output folder that records the states of cells."""

    def __init__(self) -> None:
        self.manifest = SimpleNamespace(cells=(), progress=None)
        self.states: dict[int, str] = {}
        self.appended = 0

    def readers(self):
        return iter(())

    def accepted(self):
        return Counter()

    def append(self, samples, states, progress):
        self.appended += 1

    def update(self, states, progress=None):
        self.states = {index: state.note for index, state in states.items()}


def engine(unreachable: int | None = None, blocks: int = 3):
    return SimpleNamespace(
        real_hashes=np.empty(0, np.uint64),
        unreachable=lambda cell: "too far" if cell.index == unreachable else "",
        blocks=lambda cell: blocks,
    )


def run(executor: ManualExecutor, output: Output, progress=lambda *_: None, **given):
    config = changed(CONFIG, tries=1)  # so that a cell may need all its blocks
    request = SimpleNamespace(plan=SimpleNamespace(cells=CELLS, total=4), config=config)
    return fill_cells(request, engine(**given), executor, output, progress)


def test_every_block_is_submitted_in_order_and_the_cells_end_with_a_note():
    executor, output = ManualExecutor(done=6), Output()
    assert run(executor, output).seconds() >= 0
    assert executor.submitted == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert output.appended == 6
    assert executor.closed
    assert set(output.states) == {0, 1}
    assert all(note.startswith("2 short after all attempts") for note in output.states.values())


def test_nothing_is_tried_for_cells_out_of_reach():
    executor, output = ManualExecutor(done=6), Output()
    run(executor, output, unreachable=0)
    assert executor.submitted == [(1, 0), (1, 1), (1, 2)]
    assert output.states[0] == "too far"


def test_workers_that_lost_a_block_are_asked_for_one_of_a_cell_within_reach():
    class Losing(ManualExecutor):
        def submit(self, cell: PlannedCell, block: int) -> Future[BlockResult]:
            future = super().submit(cell, block)
            if len(self.futures) > 1:
                future.set_result(BlockResult((), {}, {}))
            return future

    executor = Losing(error=LostBlockError("its worker is gone"))
    run(executor, Output(), unreachable=0, blocks=1)
    assert executor.submitted == [(1, 0), (1, 0)]


@pytest.mark.parametrize("done", [0, 2])
def test_nothing_more_is_begun_after_an_error(done):
    executor = ManualExecutor(done=done, error=RuntimeError("of the engine"))
    with pytest.raises(RuntimeError, match="of the engine"):
        run(executor, Output())
    assert done + 1 < len(executor.futures) <= done + executor.ahead
    assert all(future.cancelled() for future in executor.futures[done + 1 :])
    assert executor.closed


def test_an_interruption_cancels_what_has_not_begun():
    executor, output = ManualExecutor(done=2), Output()

    def interrupt(stage, done, total):
        if output.appended:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(executor, output, interrupt)
    assert output.appended == 1
    assert all(future.cancelled() for future in executor.futures[2:])
    assert executor.closed


def test_a_local_executor_ends_with_no_block_under_way():
    started = []

    class Slow:
        def propose(self, cell, block):
            started.append(block)
            return BlockResult((), {}, {})

    with LocalExecutor(Slow(), 1) as executor:
        futures = [executor.submit(CELLS[0], block) for block in range(5)]
        futures[0].result()
    assert all(future.done() for future in futures)
    assert len(started) + sum(future.cancelled() for future in futures) == 5
