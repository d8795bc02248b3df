"""Where the time of samples made of photographs goes: milliseconds of a core by step, for an attempt and for a sample.

    python benchmarks/engine_cost.py morph utkface/images utkface/labels.csv
    python benchmarks/engine_cost.py rerender utkface/images utkface/labels.csv

Of each cell of gender and ethnicity as many photographs are taken, but for the first, of which half as many more. The
plan makes these cells equal for morphs, and bins of yaw for faces that are turned. The engine makes its samples with
one worker. Every step is timed by the clock of its thread, a step within another apart from it; reading and learning
before are left out. Writes benchmarks/results/morph_cost.json or rerender_cost.json.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from _record import environment, write_result

from faceaug import Budget, RunConfig, analyze, balance, load_dataset, plan
from faceaug.datasets.dataset import FaceDataset
from faceaug.measurement.measure import add_measured_columns, load_estimator
from faceaug.planning.plan import Plan
from faceaug.synthesis.acceptance.real_copies import RealCopies
from faceaug.synthesis.accounting import Accounting
from faceaug.synthesis.engines.morphs import morph, proposals
from faceaug.synthesis.engines.morphs.identity_gate import IdentityGate
from faceaug.synthesis.engines.morphs.label_judge import LabelJudge
from faceaug.synthesis.engines.morphs.morph import MorphEngine
from faceaug.synthesis.engines.rerendering import rerender
from faceaug.synthesis.engines.rerendering.rerender import RerenderEngine

CELLS, TURNED = "gender,ethnicity", "yaw:-90/-25/-10/10/25/90"
Steps = dict[str, tuple[tuple[Any, str], ...]]
"""Steps, and the functions that they consist of."""
COMMON: Steps = {"compared with real images": ((RealCopies, "resemblance"),), "accounting": ((Accounting, "take"),)}
MORPH: Steps = {
    "choice of donors, all else": ((MorphEngine, "propose"),),
    "registration": ((proposals, "register"), (proposals, "registration_faults")),
    "maps of the morph": ((proposals, "plan_morph"), (proposals, "predicted_descriptor")),
    "photographs read": ((morph, "read_photograph"),),
    "identity": ((IdentityGate, "_embedding"),),
    "mixture rendered": ((morph, "render_morph"),),
    "encoding": ((morph, "stored_image"),),
    "compared with its faces": ((morph, "descriptor_in_place"),),
    "held-out classifier": ((LabelJudge, "read"), (LabelJudge, "verdict")),
    "measured": ((morph, "measure_morphs"),),
}
RERENDER: Steps = {
    "all else": ((RerenderEngine, "propose"),),
    "photographs read": ((RerenderEngine, "_photograph"), (RerenderEngine, "_decoded")),
    "photographs measured": ((RerenderEngine, "_measured"),),
    "corrections": ((RerenderEngine, "_warps"),),
    "rendered": ((RerenderEngine, "_rerender"),),
    "encoding": ((rerender, "stored_image"),),
    "samples measured": ((RerenderEngine, "_judged"),),
}


class Stopwatch:
    """Adds up the seconds that a thread computes in each step, without those of the steps within it."""

    def __init__(self) -> None:
        self.seconds = Counter[str]()
        self._local = threading.local()

    def watch(self, owner: Any, name: str, step: str) -> None:
        """Time a function of a module or class under the name of a step."""
        function = getattr(owner, name)

        def timed(*given: Any, **named: Any) -> Any:
            within: list[float] = self._local.__dict__.setdefault("within", [])
            within.append(0.0)
            start = time.thread_time()
            result = function(*given, **named)
            if name == "measure_morphs":
                result = iter(list(result))  # it measures as it is read
            spent = time.thread_time() - start
            self.seconds[step] += spent - within.pop()
            if within:
                within[-1] += spent
            return result

        setattr(owner, name, timed)


def some_of_each(dataset: FaceDataset, photographs: int) -> FaceDataset:
    """Return the first photographs of each cell, and half as many more of the first cell."""
    cells = dataset.table.groupby(CELLS.split(","), sort=True).indices.values()
    shares = [photographs + (photographs // 2 if number == 0 else 0) for number in range(len(cells))]
    return dataset.select(np.sort(np.concatenate([rows[:n] for rows, n in zip(cells, shares, strict=True)])))


def planned(engine: str, dataset: FaceDataset) -> tuple[FaceDataset, Plan]:
    """Return the data set as the engine needs it, and what is to be made."""
    if engine == "morph":
        return dataset, plan(analyze(dataset, CELLS), "uniform")
    dataset = add_measured_columns(dataset, ["yaw"], load_estimator)
    return dataset, plan(analyze(dataset, TURNED), "uniform", Budget(max_total=len(dataset) // 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=["morph", "rerender"])
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--photographs", type=int, default=60, help="of each cell")
    given = parser.parse_args()
    dataset = some_of_each(load_dataset(given.images, labels=given.labels), given.photographs)
    dataset, wanted = planned(given.engine, dataset)
    watch = Stopwatch()
    for step, functions in {**COMMON, **(MORPH if given.engine == "morph" else RERENDER)}.items():
        for owner, name in functions:
            watch.watch(owner, name, step)
    config = RunConfig(engine=given.engine, workers=1, report=False)
    with tempfile.TemporaryDirectory() as folder:
        result = balance(dataset, Path(folder) / "out", plan=wanted, config=config)
    attempts = sum(cell.tried for cell in result.manifest.cells)
    record = {
        **environment(0, ("torch", "numpy", "opencv-python-headless")),
        "photographs": len(dataset),
        "planned": result.planned,
        "attempts": attempts,
        "accepted": result.accepted,
        "rejected": dict(result.manifest.totals.rejected),
        "milliseconds": {
            step: {"attempt": 1000 * seconds / attempts, "accepted": 1000 * seconds / max(1, result.accepted)}
            for step, seconds in watch.seconds.most_common()
        },
    }
    print(write_result(f"{given.engine}_cost", record))


if __name__ == "__main__":
    main()
