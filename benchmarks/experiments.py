"""Keep the results of an experiment as a record, with its plot for docs/results.md.

faceaug bench rare-class -o rare-class-out/
python benchmarks/experiments.py rare-class-out/ rare_class    # benchmarks/results/bench_rare_class.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from _record import ROOT, write_result

from faceaug.bench.results.page import plot_svg, point_plot
from faceaug.bench.results.record import read_results
from faceaug.utils.files import write_bytes

KEPT = ("command", "versions", "machine", "recipe", "dataset", "arms")
FIGURES = ("accuracy", "mean_of_groups", "worst_group", "thinned_groups", "balanced_accuracy", "calibration_error")
COMPARED = ("accuracy", "mean_of_groups", "worst_group", "thinned_groups", "worst_group_error_reduction")
PLOTTED = "worst_group"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="what faceaug bench wrote")
    parser.add_argument("name", help="of the recipe, with _ for -")
    given = parser.parse_args()
    results = read_results(given.out)
    content = results.content
    record: dict[str, Any] = {"seed": content["seeds"], **{key: content[key] for key in KEPT}}
    record["by_selection"] = {name: shortened(own) for name, own in content["by_selection"].items()}
    record["training_seconds"] = round(sum(run["seconds"] for run in content["runs"]))
    record["synthetic"] = synthetic_sets(content["runs"])
    write_result(f"bench_{given.name}", record)
    arms = content["by_selection"][results.selection]["arms"]
    plot = point_plot("accuracy of the worst group, percent", {arm: figures[PLOTTED] for arm, figures in arms.items()})
    write_bytes(ROOT / "docs" / f"bench_{given.name}.svg", plot_svg(plot).encode())


def shortened(own: dict[str, Any]) -> dict[str, Any]:
    """Return the figures by one selection that a record keeps."""
    return {
        "arms": {arm: rounded(figures, FIGURES) for arm, figures in own["arms"].items()},
        "paired": {
            baseline: {arm: rounded(figures, COMPARED) for arm, figures in arms.items()}
            for baseline, arms in own["paired"].items()
        },
        "best_without_synthesis": own["best_without_synthesis"],
        "against_best": {arm: rounded(figures, COMPARED) for arm, figures in own["against_best"].items()},
    }


def rounded(figures: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return some figures with their interval and values, to a hundredth of a percent."""

    def short(value: float | None) -> float | None:
        return None if value is None else round(value, 4)

    return {
        name: {
            **{end: short(figures[name][end]) for end in ("mean", "low", "high")},
            "values": [short(v) for v in figures[name]["values"]],
        }
        for name in names
    }


def synthetic_sets(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the synthetic sets of the runs, each once."""
    sets: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run["synthetic"] and run["synthetic"]["accepted"]:
            sets[run["synthetic"]["folder"]] = {"seed": run["seed"], **run["synthetic"]}
    return [{key: value for key, value in one.items() if key != "folder"} for one in sets.values()]


if __name__ == "__main__":
    main()
