"""Counting cells, every attribute and every pair of five attributes: `analyze` beside pandas by hand, and polars.

`analyze` also finds the levels and the quantiles, counts rows that are left out, and measures imbalance and the
association of each pair; the others only bin and count.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.speed.protocol import OURS, Case, Disagreement, Size, Work, find_opponents
from faceaug.analysis.analyze import Analysis, analyze

TITLE = "analysis of label tables, five attributes, all pairs"
AIM = 1.0
BY = ["gender,ethnicity,glasses", "age:0/13/20/40/60/117", "yaw:q4"]
NAMES, EDGES = ("gender", "ethnicity", "glasses", "age", "yaw"), [0, 13, 20, 40, 60, 117]
ROWS = {"full": (1_000_000, 10_000_000), "tiny": (2000,)}
_MISSING = 0.01


def cases(size: Size, folder: Path) -> Iterator[Case]:
    """Yield a case for each number of rows."""
    opponents = find_opponents(polars="polars")
    for rows in ROWS[size]:
        table = label_table(rows, seed=1)
        works: dict[str, Work] = {OURS: lambda table=table: analyze(table, BY), "pandas": lambda t=table: _pandas(t)}
        if polars := opponents.modules.get("polars"):
            frame = polars.from_pandas(table)
            works["polars"] = lambda frame=frame, polars=polars: _polars(polars, frame)
        yield Case(
            f"{rows:,} rows",
            "rows",
            rows,
            works,
            lambda table=table, works=works: _agree(analyze(table, BY), works),
            aim=AIM,
            missing=opponents.missing,
            rounds=7 if rows < 10**7 else 3,
        )


def label_table(rows: int, seed: int) -> pd.DataFrame:
    """Return a table of synthetic labels, unbalanced and with missing values, one row per image."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
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
        table[name] = table[name].mask(rng.random(rows) < _MISSING)
    return table


def _groups() -> list[tuple[str, ...]]:
    """Return what is counted: all attributes at once, each one, and each pair."""
    return [NAMES, *((name,) for name in NAMES), *itertools.combinations(NAMES, 2)]


def _pandas(table: pd.DataFrame) -> list[int]:
    """Count by pandas; return the number of rows in each group of counts."""
    binned = table.assign(age=pd.cut(table["age"], EDGES, right=False), yaw=pd.qcut(table["yaw"], 4))
    return [int(binned.groupby(list(names), observed=True).size().sum()) for names in _groups()]


def _polars(pl: Any, frame: Any) -> list[int]:
    """Count by polars, in one lazy query for what its optimizer can share."""
    cuts = [frame["yaw"].quantile(q, "linear") for q in (0.25, 0.5, 0.75)]
    binned = frame.with_columns(pl.col("age").cut(EDGES[1:-1], left_closed=True), pl.col("yaw").cut(cuts))
    queries = [binned.lazy().drop_nulls(names).group_by(names).len() for names in map(list, _groups())]
    return [int(counts["len"].sum()) for counts in pl.collect_all(queries)]


def _agree(analysis: Analysis, works: dict[str, Work]) -> str:
    ours = [int(part.counts.sum()) for part in (analysis, *analysis.attributes, *analysis.pairs)]
    for name, work in works.items():
        if name != OURS and work() != ours:
            raise Disagreement(f"{name} counts {work()}, analyze {ours}")
    return f"the same number of rows in each of {len(ours)} groups of counts"
