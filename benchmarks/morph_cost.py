"""Where the time of morphs goes: milliseconds of a core by step, for an attempt and for an accepted sample.

    python benchmarks/morph_cost.py utkface/images utkface/labels.csv

As many photographs are taken of each cell of gender and ethnicity, but for the first, of which half as many more; the
plan makes them equal. The engine makes its samples with one worker. Every step is timed by the clock of its thread, a
step within another apart from it; reading and learning before are left out. Writes benchmarks/results/morph_cost.json.
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

from faceaug import RunConfig, analyze, balance, load_dataset, plan
from faceaug.synthesis.acceptance.real_copies import RealCopies
from faceaug.synthesis.accounting import Accounting
from faceaug.synthesis.engines.morphs import morph, proposals
from faceaug.synthesis.engines.morphs.identity_gate import IdentityGate
from faceaug.synthesis.engines.morphs.label_judge import LabelJudge
from faceaug.synthesis.engines.morphs.morph import MorphEngine

BY = "gender,ethnicity"
STEPS: dict[str, tuple[tuple[Any, str], ...]] = {
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
    "compared with real images": ((RealCopies, "resemblance"),),
    "accounting": ((Accounting, "take"),),
}
"""Steps, and the functions that they consist of."""


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--photographs", type=int, default=60, help="of each cell")
    given = parser.parse_args()
    dataset = load_dataset(given.images, labels=given.labels)
    cells = dataset.table.groupby(BY.split(","), sort=True).indices.values()
    shares = [given.photographs + (given.photographs // 2 if number == 0 else 0) for number in range(len(cells))]
    rows = np.sort(np.concatenate([rows[:share] for rows, share in zip(cells, shares, strict=True)]))
    dataset = dataset.select(rows)
    watch = Stopwatch()
    for step, functions in STEPS.items():
        for owner, name in functions:
            watch.watch(owner, name, step)
    config = RunConfig(engine="morph", workers=1, report=False)
    with tempfile.TemporaryDirectory() as folder:
        result = balance(dataset, Path(folder) / "out", plan=plan(analyze(dataset, BY), "uniform"), config=config)
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
    print(write_result("morph_cost", record))


if __name__ == "__main__":
    main()
