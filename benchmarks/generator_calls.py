"""Images that the generator synthesizes for an accepted sample of turned heads.

    python benchmarks/generator_calls.py

The demo data set is balanced by yaw with the engine `generator`: samples between 25 and 35 degrees to either side,
which are within 5 degrees of 30. Every latent that the generator turns into an image is counted, those of the learning
apart from those of the making. Writes benchmarks/results/generator_calls.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from _record import environment, write_result
from torch import Tensor

from faceaug import RunConfig, analyze, balance, demo, load_dataset, plan
from faceaug.analysis.analyze import Analysis
from faceaug.generators.base import Generator
from faceaug.generators.registry import load_generator

BINS, WANTED = "yaw:-90/-35/-25/25/35/90", (1, 3)  # cells of the wanted bins, within 5 degrees of -30 and of 30


class Counted:
    """A generator that counts its images; everything else is the generator's own."""

    def __init__(self, generator: Generator) -> None:
        self._generator, self.images = generator, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def synthesize(self, w: Tensor) -> Tensor:
        self.images += len(w)
        return self._generator.synthesize(w)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=60, help="for each of the two bins")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    dataset = load_dataset(demo.path())
    analysis = analyze(dataset, by=BINS)
    wanted = plan(analysis, _totals(analysis, given.samples))
    generator = Counted(load_generator("digiface"))
    learnt: list[int] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "synthesis" and not learnt:
            learnt.append(generator.images)

    config = RunConfig(generator=generator, engine="generator", seed=given.seed, report=False, workers=1)
    with tempfile.TemporaryDirectory() as folder:
        result = balance(dataset, Path(folder) / "out", plan=wanted, config=config, progress=progress)
    made = generator.images - learnt[0]
    totals = result.manifest.totals
    record = {
        **environment(given.seed, ("torch", "numpy")),
        "planned": totals.planned,
        "attempts": sum(cell.tried for cell in result.manifest.cells),
        "accepted": totals.accepted,
        "images_learning": learnt[0],
        "images_making": made,
        "images_an_accepted_sample": made / max(1, totals.accepted),
        "rejected": dict(totals.rejected),
        "seconds": dict(result.timings),
    }
    print(write_result("generator_calls", record))


def _totals(analysis: Analysis, samples: int) -> list[dict[str, Any]]:
    """Return the wanted totals of the two bins; the others stay as they are."""
    axis = analysis.axes[0]
    return [{axis.name: axis.levels[k], "count": int(analysis.counts[k]) + samples} for k in WANTED]


if __name__ == "__main__":
    main()
