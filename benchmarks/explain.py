"""Which parts of the face carry the labels of a data set, by `faceaug analyze --explain`.

    python benchmarks/explain.py IMAGES TABLE DIRECTIONS --explain gender,ethnicity,age

TABLE holds labels and measurements; `faceaug measure IMAGES --labels ... --reconstruction DIRECTIONS -o TABLE` writes
it. Run it from the root of the repository. The result goes to benchmarks/results/explain.json, the maps to the file of
--map if one is given.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _record import environment, write_result

from faceaug.datasets import LoadOptions, load_dataset
from faceaug.explain.explain import ExplainConfig, columns_for, explain
from faceaug.explain.explanation import Explanation
from faceaug.explain.figure import draw_explanations
from faceaug.latents.bundle import read_bundle
from faceaug.measurement.measure import REASON_COLUMN
from faceaug.utils.files import write_bytes
from faceaug.utils.images import encode

MAX_PARTS = 8  # of each explanation that are recorded


def explain_label(images: Path, table: Path, directions: Path, seed: int, name: str) -> tuple[list[Explanation], float]:
    """Return the explanations of one label, and the seconds of processor time that they took."""
    dataset = load_dataset(images, table, options=LoadOptions(check="none"))
    start = time.process_time()
    explanations = explain(dataset, name, read_bundle(directions), ExplainConfig(seed=seed))
    return explanations, time.process_time() - start


def shortened(explanation: Explanation) -> dict[str, Any]:
    """Return the record of an explanation with its strongest parts, and the share of stable parts among all."""
    record = explanation.to_dict()
    parts = [part for part in explanation.parts if part.share is not None]
    record["parts"] = record["parts"][: min(MAX_PARTS, len(parts))]
    record["parts_used"] = len(parts)
    stable = [part.stable >= 0.9 * explanation.fit.resamples for part in parts]
    record["stable_in_nine_of_ten"] = round(float(np.mean(stable)), 3) if stable else None
    return record


def count_refused(table: pd.DataFrame) -> int | None:
    """Return how many images could not be measured; None where the table does not say."""
    return int((table[REASON_COLUMN].fillna("") != "").sum()) if REASON_COLUMN in table else None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, help="folder of photographs")
    parser.add_argument("table", type=Path, help="their labels and measurements, from faceaug measure")
    parser.add_argument("directions", type=Path, help="the file that they were measured with")
    parser.add_argument("--explain", default="gender,ethnicity,age", help="labels")
    parser.add_argument("--map", type=Path, metavar="FILE.png", help="where the maps go")
    parser.add_argument("--workers", type=int, default=1, help="processes, each for one label")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    given = parser.parse_args(arguments)
    bundle = read_bundle(given.directions)
    dataset = load_dataset(given.images, given.table, options=LoadOptions(check="none"))
    missing = set(columns_for(dataset, given.explain, bundle)) - set(dataset.table.columns)
    if missing:
        parser.error(f"{given.table} lacks {min(missing)!r}: write it with faceaug measure")
    attributes = given.explain.split(",")
    work = partial(explain_label, given.images, given.table, given.directions, given.seed)
    with ProcessPoolExecutor(given.workers) as pool:
        results = list(pool.map(work, attributes))
    explanations = [one for of_label, _ in results for one in of_label]
    if given.map:
        write_bytes(given.map, encode(draw_explanations(explanations, bundle), "png"))
    record = {
        **environment(given.seed, ["numpy", "scikit-learn"]),
        "data": f"{dataset.location.rstrip('/').split('/')[-2]}, {len(dataset):,} photographs",
        "cannot_tell": count_refused(dataset.table),
        "directions": bundle.directions.sha256(),
        "made_by": bundle.made_by,
        "cpu_seconds": {name: round(seconds, 1) for name, (_, seconds) in zip(attributes, results, strict=True)},
        "explanations": [shortened(one) for one in explanations],
    }
    print(write_result("explain", record, given.out))


if __name__ == "__main__":
    main()
