"""Summarize measurements of photographs without labels, and a run of `faceaug balance` that used them.

    python benchmarks/measured_faces.py MEASURED OUT NAME

reads the table MEASURED that `faceaug measure` wrote and the output folder OUT of a run that counted by such a
measurement, and writes benchmarks/results/NAME.json: the distribution of the measurements, and the accounting of the
run.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _record import environment, write_result
from real_faces import read_all, shortened

from faceaug.measurement.estimator import CONFIDENCE_SUFFIX
from faceaug.measurement.measure import REASON_COLUMN
from faceaug.reconstruction.semantics import FACTOR_UNITS
from faceaug.shards.manifest import read_manifest
from faceaug.shards.verify import verify

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
TAIL_DEGREES = (10.0, 20.0, 30.0)  # to either side


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measured", type=Path, help="table that faceaug measure wrote")
    parser.add_argument("out", type=Path, help="output folder of a finished run")
    parser.add_argument("name", help="name of the result file, without .json")
    given = parser.parse_args()
    manifest, report = read_manifest(given.out), verify(given.out)
    record = {
        **environment(seed=manifest.seed, packages=("torch", "numpy")),
        "run": shortened(manifest.created_by.command),
        "measured": distribution(pd.read_parquet(given.measured)),
        "seconds": manifest.measured.get("seconds"),
        "totals": manifest.totals.model_dump(),
        "cells": [cell.model_dump() for cell in manifest.cells],
        "classifiers": manifest.measured.get("classifiers"),
        "r2": manifest.measured.get("r2"),
        "learned_directions": manifest.measured.get("learned_directions"),
        "verify": {"problems": len(report.problems), "rows": report.rows, "complete": report.complete},
        "dataloader": read_all(given.out),
    }
    print(write_result(given.name, record))


def distribution(table: pd.DataFrame) -> dict[str, Any]:
    """Return quantiles, means and tails of each measurement, and the numbers of refused photographs."""
    accepted = table[table[REASON_COLUMN] == ""]
    semantics = {}
    for name, unit in FACTOR_UNITS.items():
        values = accepted[name].to_numpy()
        semantics[name] = {
            "unit": unit,
            "quantiles": np.round(np.quantile(values, QUANTILES), 3).tolist(),
            "mean": round(float(values.mean()), 3),
            "spread": round(float(values.std()), 3),
            "confidence": round(float(accepted[name + CONFIDENCE_SUFFIX].median()), 3),
        }
        if unit == "degrees":
            semantics[name]["share_beyond"] = {
                f"{most:g}": [round(float((values < -most).mean()), 4), round(float((values > most).mean()), 4)]
                for most in TAIL_DEGREES
            }
    reasons = table[REASON_COLUMN][table[REASON_COLUMN] != ""].value_counts().to_dict()
    return {
        "images": len(table),
        "accepted": len(accepted),
        "cannot_tell": reasons,
        "quantiles_at": QUANTILES,
        "semantics": semantics,
    }


if __name__ == "__main__":
    main()
