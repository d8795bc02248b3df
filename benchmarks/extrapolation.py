"""What extrapolation reaches: hosts of neighbouring cells that are moved to cells of a few faces, and what gates keep.

    python benchmarks/extrapolation.py IMAGES LABELS

LABELS has the columns gender, ethnicity and age. Some cells are thinned to a few faces; the faces that were taken away
are the comparison: what the held-out classifier says of real faces of the cell that it was not trained on. Attempts are
counted by the gate that refuses them, and measured with the gates on label and identity open. The result goes to
benchmarks/results/extrapolation.json. Pictures are written only where --pictures names a folder.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _record import environment, write_result

from faceaug.analysis.analyze import analyze
from faceaug.datasets.dataset import FaceDataset, LoadOptions, load_dataset
from faceaug.datasets.thumbnails import load_thumbnails
from faceaug.planning.plan import Plan, PlannedCell, plan
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig
from faceaug.synthesis.engines.base import Candidate, PreparationInputs
from faceaug.synthesis.engines.morphs.extrapolate import ExtrapolationEngine
from faceaug.synthesis.engines.morphs.morph import MORPH_BLOCK, create_engine
from faceaug.synthesis.engines.photographs import read_photograph
from faceaug.synthesis.request import cells_of, check_request
from faceaug.utils.files import write_bytes
from faceaug.utils.images import encode

BY = "gender,ethnicity,age:0/13/20/40/60/120"
HELD_OUT = AcceptanceThresholds().held_out
IDENTITY = AcceptanceThresholds().identity
AXES = ("gender", "ethnicity", "age")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("labels")
    parser.add_argument("--rows", type=int, default=2000, help="faces of the data set that take part")
    parser.add_argument("--cells", type=int, default=6, help="cells that are thinned")
    parser.add_argument("--left", type=int, default=4, help="faces that are left in each")
    parser.add_argument("--blocks", type=int, default=3, help=f"blocks of {MORPH_BLOCK} attempts in each cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, default=None)
    given = parser.parse_args()
    dataset = load_dataset(given.images, given.labels, options=LoadOptions(check="none"))
    rng = np.random.Generator(np.random.PCG64(given.seed))
    dataset = dataset.select(np.sort(rng.permutation(len(dataset))[: given.rows]))
    thin, away, chosen = thinned(dataset, given.cells, given.left, rng)
    record: dict[str, Any] = {
        **environment(given.seed, ("torch", "numpy", "opencv-python-headless")),
        "faces": len(thin),
        "faces_left_in_a_cell": given.left,
        **measure(thin, away, chosen, given),
    }
    print(write_result("extrapolation", record))


def thinned(
    dataset: FaceDataset, cells: int, left: int, rng: np.random.Generator
) -> tuple[FaceDataset, FaceDataset, list[int]]:
    """Return the data set without most faces of some cells, the faces that were taken away, and these cells."""
    codes = cells_of(dataset, plan(analyze(dataset, BY)).axes)
    large = [int(cell) for cell, count in sorted(Counter(codes.tolist()).items()) if cell >= 0 and count >= 3 * left]
    chosen = sorted(int(cell) for cell in rng.permutation(large)[:cells])
    taken = np.concatenate([rng.permutation(np.flatnonzero(codes == cell))[left:] for cell in chosen])
    return dataset.select(np.setdiff1d(np.arange(len(dataset)), taken)), dataset.select(np.sort(taken)), chosen


def planned(dataset: FaceDataset, chosen: list[int], count: int) -> Plan:
    """Return a plan that asks for samples of some cells alone."""
    whole = plan(analyze(dataset, BY))
    return replace(
        whole,
        cells=tuple(
            replace(c, wanted=count, planned=count) if c.index in chosen else replace(c, planned=0) for c in whole.cells
        ),
    )


def measure(dataset: FaceDataset, away: FaceDataset, chosen: list[int], given: argparse.Namespace) -> dict[str, Any]:
    """Attempt to fill the thinned cells with morphs and by extrapolation."""
    thresholds = AcceptanceThresholds(held_out=0.0, identity=0.0)
    config = RunConfig(engine="morph", extrapolate=True, seed=given.seed, thresholds=thresholds)
    wanted = planned(dataset, chosen, given.blocks * MORPH_BLOCK)
    request = check_request(dataset, wanted, config)
    morphs = create_engine(request)
    moves = ExtrapolationEngine(request, morphs)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        inputs = PreparationInputs(load_thumbnails(dataset, 64)[0], "jpeg", "jpeg", Path(folder), lambda *_: None)
        morphs.prepare(inputs)
        prepared = moves.prepare(inputs)
    record: dict[str, Any] = {
        "preparation_seconds": round(time.perf_counter() - start, 1),
        "r2": prepared.metrics["extrapolate"]["r2"],
        "real": real_confidence(moves, away, wanted, chosen),
    }
    for engine in (morphs, moves):
        refused: Counter[str] = Counter()
        rows: list[dict[str, Any]] = []
        start = time.perf_counter()
        for cell in (wanted.cells[index] for index in chosen):
            for block in range(given.blocks if not engine.unreachable(cell) else 0):
                result = engine.propose(cell, block)
                refused.update(result.refused.values())
                rows += [row_of(engine, cell, candidate, given.pictures) for candidate in result.candidates]
        record[engine.names[0]] = {
            "attempts": len(chosen) * given.blocks * MORPH_BLOCK,
            "seconds": round(time.perf_counter() - start, 1),
            "refused": dict(refused.most_common()),
            "by_axis": {
                axis: summary([row for row in rows if row["axis"] == axis])
                for axis in sorted({row["axis"] for row in rows})
            },
        }
    return record


def row_of(engine: Any, cell: PlannedCell, candidate: Candidate, pictures: Path | None) -> dict[str, Any]:
    """Return what is known of one sample, and of its host before."""
    faces = {face.sha256: face for index in engine._faces.by_cell.values() for face in index.faces}
    assert candidate.source is not None
    host = faces[candidate.source.sha256]
    (photograph,) = engine._photographs([host])
    before, _ = engine._judge.read(photograph.pixels, [photograph], cell.levels, 0.0)
    codes = cells_of(engine._dataset.select([host.row]), engine._axes)
    levels = engine._request.plan.cells[int(codes[0])].levels
    moved = next((name for name in AXES if levels[name] != cell.levels[name]), "none")
    step = ""
    if moved == "age":
        order = next(axis for axis in engine._axes if axis.name == "age").levels
        step = " up" if order.index(cell.levels["age"]) > order.index(levels["age"]) else " down"
    if pictures is not None:
        name = f"{engine.names[0]}-{moved}{step.strip()}-{cell.index}-{candidate.attempt}"
        data = candidate.image if isinstance(candidate.image, bytes) else encode(candidate.image, "png")
        pictures.mkdir(parents=True, exist_ok=True)
        write_bytes(pictures / f"{name}.jpg", data)
        write_bytes(pictures / f"{name}-host.jpg", engine._dataset.encoded(host.row))
    return {
        "axis": moved + step,
        "before": before[moved] if moved != "none" else min(before.values()),
        "after": candidate.confidence[moved] if moved != "none" else min(candidate.confidence.values()),
        "others": min([v for name, v in candidate.confidence.items() if name != moved], default=1.0),
        "identity": candidate.semantic.get("identity_distance", float("nan")),
        "outside": candidate.semantic.get("change_outside", float("nan")),
        "yaw": abs(candidate.semantic["yaw"] - host.measured[0]),
        "pitch": abs(candidate.semantic["pitch"] - host.measured[1]),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means and shares of samples."""
    after, identity = (np.array([row[name] for row in rows]) for name in ("after", "identity"))

    def middle(name: str) -> float | None:
        values = np.array([row[name] for row in rows])
        return round(float(np.nanmedian(values)), 3) if np.isfinite(values).any() else None

    return {
        "n": len(rows),
        "probability_before": round(float(np.mean([row["before"] for row in rows])), 3),
        "probability_after": round(float(after.mean()), 3),
        "host_reached": round(float(np.mean([row["before"] >= HELD_OUT for row in rows])), 3),
        "reached": round(float((after >= HELD_OUT).mean()), 3),
        "new_person": round(float((identity >= IDENTITY).mean()), 3),
        "identity_distance": middle("identity"),
        "change_outside": middle("outside"),
        "yaw_drift_degrees": middle("yaw"),
        "pitch_drift_degrees": middle("pitch"),
    }


def real_confidence(engine: Any, away: FaceDataset, wanted: Plan, chosen: list[int]) -> dict[str, Any]:
    """Return what the held-out classifier says of the real faces that were taken away."""
    codes, found = cells_of(away, wanted.axes), []
    for row in range(min(len(away), 200)):
        photograph = replace(read_photograph(away, row), row=-1 - row)  # no row of the engine's data set
        levels = wanted.cells[int(codes[row])].levels
        found.append(engine._judge.read(photograph.pixels, [photograph], levels, 0.0)[0])
    return {
        name: {
            "n": len(found),
            "probability": round(float(np.mean([f[name] for f in found])), 3),
            "reached": round(float(np.mean([f[name] >= HELD_OUT for f in found])), 3),
        }
        for name in AXES
    }


if __name__ == "__main__":
    main()
