"""Run time of `analyze` on label tables of growing size, compared with pandas counting the same cells.

Run from the root of the repository with faceaug installed:

    python benchmarks/speed_analysis.py

Each table has five attributes: gender, ethnicity and glasses as labels, age and yaw as numbers that are binned (by
edges and by quantiles), with 1% of the labels missing. `analyze` also measures each attribute, the ten pairs and their
associations; pandas (`cut`, `qcut` and one `groupby`) only counts the cells. Times are medians over the rounds.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from _record import environment, write_result
from tqdm import tqdm

from faceaug.analysis.analyze import analyze

BY = ["gender,ethnicity,glasses", "age:0/13/20/40/60/117", "yaw:q4"]
EDGES = [0, 13, 20, 40, 60, 117]


def label_table(rows: int, seed: int) -> pd.DataFrame:
    """Return a table of synthetic labels, unbalanced and with missing values, one row per image."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "key": np.char.add("images/", np.arange(rows).astype(str)),
            "gender": rng.choice(["female", "male"], rows, p=[0.55, 0.45]),
            "ethnicity": rng.choice(
                ["asian", "black", "indian", "other", "white"], rows, p=[0.16, 0.04, 0.15, 0.11, 0.54]
            ),
            "glasses": rng.random(rows) < 0.1,
            "age": np.minimum(rng.gamma(3.0, 11.0, rows).astype(np.int64), 116),
            "yaw": rng.normal(0.0, 20.0, rows),
        }
    )
    for name in ("gender", "ethnicity", "yaw"):
        table[name] = table[name].mask(rng.random(rows) < 0.01)
    return table


def count_with_pandas(table: pd.DataFrame) -> pd.Series:
    """Return the count of each cell by pandas alone."""
    age = pd.cut(table["age"], EDGES, right=False)
    yaw = pd.qcut(table["yaw"], 4)
    return table.groupby(["gender", "ethnicity", "glasses", age, yaw], observed=False).size()


def wall_seconds(task: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def measure(sizes: Sequence[int], seed: int, rounds: int) -> list[dict[str, float | int]]:
    """Time both on a table of each size, after a check that they count the same number of rows.

    Every round takes all sizes in turn, so that other load of the machine affects all sizes equally.
    """
    tables = [label_table(rows, seed) for rows in sizes]
    for table in tables:
        counted, expected = int(analyze(table, BY).counts.sum()), int(count_with_pandas(table).sum())
        if counted != expected:
            raise SystemExit(f"analyze counts {counted} rows, pandas {expected}")
    analyze_seconds: list[list[float]] = [[] for _ in sizes]
    pandas_seconds: list[list[float]] = [[] for _ in sizes]
    for _ in tqdm(range(rounds), disable=not sys.stderr.isatty()):
        for index, table in enumerate(tables):
            analyze_seconds[index].append(wall_seconds(partial(analyze, table, BY)))
            pandas_seconds[index].append(wall_seconds(partial(count_with_pandas, table)))
    return [
        {
            "rows": rows,
            "analyze_seconds": round(statistics.median(own), 4),
            "analyze_seconds_least": round(min(own), 4),
            "microseconds_per_row": round(1e6 * statistics.median(own) / rows, 3),
            "pandas_groupby_seconds": round(statistics.median(other), 4),
            "ratio_to_pandas_groupby": round(statistics.median(own) / statistics.median(other), 2),
        }
        for rows, own, other in zip(sizes, analyze_seconds, pandas_seconds, strict=True)
    ]


def main() -> None:
    """Measure all sizes and write the result."""
    parser = argparse.ArgumentParser(description="Time analyze() on growing label tables.")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="output file, instead of benchmarks/results/analysis.json")
    options = parser.parse_args()
    before = environment(options.seed, ["numpy", "pandas"])
    sizes = measure(options.rows, options.seed, options.rounds)
    record = before | {
        "by": BY,
        "rounds": options.rounds,
        "sizes": sizes,
        "growth": [
            {
                "from_rows": small["rows"],
                "to_rows": large["rows"],
                "rows_times": round(large["rows"] / small["rows"], 1),
                "time_times": round(large["analyze_seconds"] / small["analyze_seconds"], 1),
            }
            for small, large in itertools.pairwise(sizes)
        ],
    }
    print(write_result("analysis", record, options.out))


if __name__ == "__main__":
    main()
