"""Small runs in processes of their own that can be killed, with an engine whose blocks take a while and are noted.

What the engine does is said by the environment, which processes of other executors inherit: `PACED_SECONDS` for each
block, `PACED_LOG`, a file that gets a line for each block that was begun, and `PACED_FATAL`, a block "CELL-BLOCK" that
ends the process which computes it.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from forked import context
from mean_engine import MeanEngine

from faceaug import balance, load_dataset
from faceaug.planning.plan import Plan, PlannedCell
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig
from faceaug.synthesis.engines import registry
from faceaug.synthesis.engines.base import BlockResult
from faceaug.synthesis.engines.registry import EngineSpec

SAMPLES = 60


class PacedEngine(MeanEngine):
    """An engine whose blocks take a while; an `Engine`."""

    def propose(self, cell: PlannedCell, block: int) -> BlockResult:
        if log := os.environ.get("PACED_LOG"):
            with open(log, "a") as file:
                file.write(f"{cell.index}-{block}\n")
        if os.environ.get("PACED_FATAL") == f"{cell.index}-{block}":
            os._exit(9)
        time.sleep(float(os.environ.get("PACED_SECONDS", 0)))
        return super().propose(cell, block)


def spec() -> EngineSpec:
    return EngineSpec(PacedEngine, lambda config: frozenset({"generator", "survey_samples", "from_real"}))


def write_plugin(folder: Path) -> str:
    """Write metadata by which processes that have the folder in their path find the engine; return that path."""
    metadata = folder / "paced-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: paced\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[faceaug.engines]\nmean = paced_runs:spec\n")
    return os.pathsep.join([str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])


def know_engine() -> None:
    """Let this process know the engine."""
    registry.entry_points = lambda group: [EntryPoint("mean", "paced_runs:spec", group)]  # type: ignore[assignment]


def config(**changes: Any) -> RunConfig:
    thresholds = AcceptanceThresholds(duplicate_bits=0, resemblance=1.0)
    return RunConfig(engine="mean", max_uses=99, report=False, workers=2, thresholds=thresholds, **changes)


def parts(folder: Path) -> tuple[Any, Plan]:
    """Return the data set and the plan of the faces of `cheap_runs.write_faces`."""
    import faceaug

    dataset = load_dataset(folder / "faces", folder / "labels.csv")
    return dataset, faceaug.plan(faceaug.analyze(dataset, "g"), "min:400", faceaug.Budget(max_total=SAMPLES))


def drive(folder: Path, out: Path, resume: bool = False, **changes: Any) -> None:
    """Run `SAMPLES` samples from the faces of a folder."""
    know_engine()
    dataset, plan = parts(folder)
    balance(dataset, out, plan=plan, config=config(**changes), resume=resume)


def work(folder: Path, out: Path, rank: int, of: int, **changes: Any) -> None:
    """Compute a share of such a run."""
    from faceaug.synthesis.executors.worker import Share, work_share
    from faceaug.synthesis.request import check_request

    know_engine()
    work_share(check_request(*parts(folder), config(**changes)), out, Share(rank, of), patience=60)


def start(target: Any, *words: Any, environment: dict[str, str], **changes: Any) -> Any:
    """Begin `drive` or `work` in a process of its own."""
    process = context.Process(target=_run, args=(target, words, environment, changes))
    process.start()
    return process


def _run(target: Any, words: Any, environment: dict[str, str], changes: dict[str, Any]) -> None:
    os.environ.update(environment)
    target(*words, **changes)


def begun(log: Path) -> Counter[str]:
    """Return how often each block was begun."""
    return Counter(log.read_text().split() if log.exists() else [])


def wait_until(condition: Any, seconds: float = 200) -> None:
    """Wait until a condition holds; AssertionError where it does not for long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
