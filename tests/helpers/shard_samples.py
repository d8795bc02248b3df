"""Small output folders for tests: different images, columns of every type, and cells that end short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from faceaug.analysis.axes import Axis
from faceaug.planning.plan import Plan, PlannedCell
from faceaug.shards.columns import Column
from faceaug.shards.manifest import CellRecord, CreatedBy, DatasetRecord, GeneratorRecord, ManifestHeader, ModelRecord
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.run_state import CellState
from faceaug.shards.writer import Sample

COLUMNS = (
    Column(group="attr", name="gender", type="category", levels=("female", "male"), meaning="as labelled"),
    Column(group="attr", name="skin/tone", type="category", levels=("dunkel", "hell-weiß", "never")),
    Column(group="attr", name="age", type="float64", unit="years"),
    Column(group="semantic", name="yaw", type="float32", unit="degrees", meaning="measured"),
    Column(group="harmonize", name="noise", type="float32"),
)
CELLS = ("female", "male")
PLANNED = (40, 30)


def sample(index: int, *, size: int = 24, cell: int | None = None, **changes: Any) -> Sample:
    """Return sample `index`: smooth noise, so that JPEG files have different lengths and decode almost exactly."""
    rng = np.random.default_rng([7, index])
    coarse = rng.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
    image = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    rerendered = index % 5 == 4
    cell = index % 2 if cell is None else cell
    w = None if rerendered else rng.standard_normal(6).astype(np.float32)
    values: dict[str, Any] = {
        "image": image,
        "w": w,
        "origin_w": None if w is None else w + 1,
        "engine": "rerender" if rerendered else "generator",
        "source_sha256": bytes(range(32)) if rerendered else None,
        "harmonize": {"noise": 0.5} if index % 3 else {},
        "cell": cell,
        "attr": {"gender": CELLS[cell % 2], "age": 20.0 + index, **({"skin/tone": "hell-weiß"} if index % 4 else {})},
        "attr_confidence": {"gender": 0.75},
        "semantic": {"yaw": float(index)},
        "plausibility": 1.5 if w is not None else float("nan"),
        "realism": 0.25,
        "seed": 2**64 - 1 - index,
        "quality": 80 + index % 10,
    }
    return Sample(**{**values, **changes})


def header(**changes: Any) -> ManifestHeader:
    """Return the header of a run."""
    values: dict[str, Any] = {
        "created_by": CreatedBy(faceaug="0.1.0", command="faceaug balance faces/ -o out/"),
        "seed": 3,
        "generator": GeneratorRecord(name="toy", sha256="a" * 64, licence="MIT", origin="made up", w_dim=6),
        "directions": ModelRecord(name="toy directions", sha256="b" * 64),
        "classifiers": (ModelRecord(name="gender", sha256="c" * 64),),
        "dataset": DatasetRecord(name="faces|old", fingerprint="d" * 64, rows=90, reader="folder"),
        "columns": COLUMNS,
        "config": {"by": "gender"},
    }
    return ManifestHeader(**{**values, **changes})


def cells() -> list[CellRecord]:
    """Return the planned cells."""
    return [
        CellRecord.planned_only(k, {"gender": name}, real=50 - 10 * k, wanted=PLANNED[k] + 5, planned=PLANNED[k])
        for k, name in enumerate(CELLS)
    ]


def plan() -> dict[str, Any]:
    """Return the plan that goes with the cells."""
    listed = tuple(PlannedCell(c.index, c.attributes, c.real, c.wanted, c.planned) for c in cells())
    return Plan((Axis("gender", "categorical", CELLS),), listed, "uniform").to_dict()


def write_output(path: Path, *, count: int = 30, rows: int = 12, finish: bool = True, **changes: Any) -> Path:
    """Write an output folder of `count` samples in shards of `rows`; `changes` go to the header."""
    with OutputFolder.open(path, "f" * 64, max_rows=rows) as folder:
        folder.begin(header(**changes), cells(), plan())
        for start in range(0, count, rows):
            samples = [sample(k) for k in range(start, min(count, start + rows))]
            rejected = {0: CellState({"blurred": start}), 1: CellState({"duplicate": 1}, note="only so far")}
            folder.append(samples, rejected, progress={"next": start + rows})
            folder.commit()
        if finish:
            folder.finish(measured={"seconds": 1.5})
    return path
