"""Which parts of the face carry the labels of a data set: figures, as `faceaug analyze --explain` gives them.

    python benchmarks/explain.py IMAGES TABLE DIRECTIONS --explain gender,ethnicity,age

TABLE is what `faceaug measure IMAGES --labels ... --reconstruction DIRECTIONS -o TABLE` wrote: labels and measurements.
Run it from the root of the repository. The result, figures only, goes to benchmarks/results/explain.json, the maps to
--map FILE.png where that is asked for.
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
from _record import environment, write_result

from faceaug.datasets import LoadOptions, load_dataset
from faceaug.explain.explain import Explanation, columns_for, explain
from faceaug.explain.figure import explanation_picture
from faceaug.latents.bundle import read_bundle
from faceaug.measurement.measure import REASON_COLUMN
from faceaug.utils.files import write_bytes
from faceaug.utils.images import encode

STRONGEST = 8  # parts that are recorded of each explanation


def explained(images: Path, table: Path, directions: Path, seed: int, name: str) -> tuple[list[Explanation], float]:
    """Return the explanations of one label, and the processor's seconds that they took."""
    dataset = load_dataset(images, table, options=LoadOptions(check="none"))
    start = time.process_time()
    found = explain(dataset, name, read_bundle(directions), seed=seed)
    return found, time.process_time() - start


def shortened(found: Explanation) -> dict[str, Any]:
    """Return an explanation with its strongest parts only, and how stable all of them are."""
    record = found.to_dict()
    parts = [part for part in found.parts if part.share is not None]
    record["parts"] = record["parts"][: min(STRONGEST, len(parts))]
    record["parts_used"] = len(parts)
    stable = [part.stable >= 0.9 * found.fit.resamples for part in parts]
    record["stable_in_nine_of_ten"] = round(float(np.mean(stable)), 3) if stable else None
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, help="folder of photographs")
    parser.add_argument("table", type=Path, help="their labels and measurements, from faceaug measure")
    parser.add_argument("directions", type=Path, help="the file that measured them")
    parser.add_argument("--explain", default="gender,ethnicity,age", help="labels")
    parser.add_argument("--map", type=Path, metavar="FILE.png", help="draw the maps there")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with a label of its own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    given = parser.parse_args(arguments)
    bundle = read_bundle(given.directions)
    dataset = load_dataset(given.images, given.table, options=LoadOptions(check="none"))
    missing = set(columns_for(dataset, given.explain, bundle)) - set(dataset.table.columns)
    if missing:
        parser.error(f"{given.table} lacks {min(missing)!r}: write it with faceaug measure")
    attributes = given.explain.split(",")
    work = partial(explained, given.images, given.table, given.directions, given.seed)
    with ProcessPoolExecutor(given.workers) as pool:
        parts = list(pool.map(work, attributes))
    found = [one for part, _ in parts for one in part]
    if given.map:
        write_bytes(given.map, encode(explanation_picture(found, bundle), "png"))
    record = {
        **environment(given.seed, ["numpy", "scikit-learn"]),
        "data": f"{dataset.location.rstrip('/').split('/')[-2]}, {len(dataset):,} photographs",
        "cannot_tell": int((dataset.table[REASON_COLUMN].fillna("") != "").sum()) if REASON_COLUMN in dataset.table else None,
        "directions": bundle.directions.sha256(),
        "made_by": bundle.made_by,
        "cpu_seconds": {name: round(seconds, 1) for name, (_, seconds) in zip(attributes, parts, strict=True)},
        "explanations": [shortened(one) for one in found],
    }
    print(write_result("explain", record, given.out))


if __name__ == "__main__":
    main()
