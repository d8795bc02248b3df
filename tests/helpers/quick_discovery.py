"""A discovery that takes seconds, and that tests share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from faceaug.discovery.config import DiscoveryConfig, DiscoveryRun
from faceaug.discovery.discover import discover
from faceaug.reconstruction.synthetic_scenes import Scenes
from faceaug.reconstruction.training.schedule import ReconstructionSchedule

QUICK = DiscoveryConfig(
    samples=420,
    held_out=64,
    linear_steps=40,
    reader_steps=4,
    alignment_steps=2,
    turned_faces=64,
    view_reader_steps=2,
    calibration_samples=64,
    atoms=6,
    schedule=ReconstructionSchedule(side=16, steps=8, distil_steps=4, batch_size=4, pairs=1, refit_every=2),
)


@pytest.fixture(scope="session")
def discovered(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A folder with the discovery of `Scenes(16)`: directions.safetensors, its working folder, and stages.json.

    The latter is a list of each stage with the last number of its steps, and of all its steps.
    """

    def make(folder: Path) -> None:
        stages: list[tuple[str, int, int]] = []

        def record(stage: str, done: int, total: int, _: object) -> None:
            if stages and stages[-1][0] == stage:
                stages.pop()
            stages.append((stage, done, total))

        run = DiscoveryRun(progress=record, command="faceaug discover")
        discover(Scenes(16), folder / "directions.safetensors", QUICK, run)
        (folder / "stages.json").write_text(json.dumps(stages))

    return made_once("discovered", make)
