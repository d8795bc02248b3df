"""Two experiments side by side: the arms that both have, seed by seed where they share seeds."""

from __future__ import annotations

from typing import Any

from faceaug.bench.results.record import ExperimentResults, arm_table
from faceaug.bench.results.statistics import difference, difference_cell, seed_summary
from faceaug.errors import UsageError
from faceaug.utils.text import shown

_COMPARED = ("worst_group", "mean_of_groups", "accuracy")


def compare_experiments(first: ExperimentResults, second: ExperimentResults) -> dict[str, Any]:
    """Return the differences of the second experiment to the first, as JSON values, by the selection of the first.

    Returns
    -------
    dict
        "arms": by arm that both have, the summary over shared seeds of the difference in each figure (second less
        first); "only_first", "only_second": other arms; "differs": keys of the recipes that differ; "comparable":
        whether both were tested on the same faces.

    Raises
    ------
    UsageError
        When no arm and seed is in both.
    """
    runs = [_figures(results, first.selection) for results in (first, second)]
    shared = [key for key in runs[0] if key in runs[1]]
    if not shared:
        raise UsageError("the two experiments share no arm with the same seed, so there is nothing to compare")
    arms = {
        arm: {
            figure: seed_summary(
                [difference(runs[1][key][figure], runs[0][key][figure]) for key in shared if key[0] == arm]
            )
            for figure in _COMPARED
        }
        for arm in dict.fromkeys(arm for arm, _ in shared)
    }
    names = [list(results.content["arms"]) for results in (first, second)]
    recipes = [results.content["recipe"] for results in (first, second)]
    differs = [key for key in recipes[0] if recipes[0][key] != recipes[1].get(key)]
    same_data = first.content["dataset"]["fingerprint"] == second.content["dataset"]["fingerprint"]
    return {
        "arms": arms,
        "seeds": sorted({seed for _, seed in shared}),
        "only_first": [name for name in names[0] if name not in names[1]],
        "only_second": [name for name in names[1] if name not in names[0]],
        "differs": differs,
        "comparable": same_data and not {"split", "task", "groups"} & set(differs),
    }


def comparison_text(comparison: dict[str, Any], first: str, second: str) -> str:
    """Return a comparison as text."""
    rows = [
        [arm, *(difference_cell(figures[figure]) for figure in _COMPARED)]
        for arm, figures in comparison["arms"].items()
    ]
    lines = [
        f"{shown(second)} less {shown(first)}, points [95% interval over {len(comparison['seeds'])} shared seeds]",
        *arm_table(["arm", *(figure.replace("_", " ") for figure in _COMPARED)], rows),
    ]
    for key, name in (("only_first", first), ("only_second", second)):
        if comparison[key]:
            lines.append(f"Only in {shown(name)}: {', '.join(comparison[key])}.")
    if comparison["differs"]:
        lines.append(f"The recipes differ in {', '.join(comparison['differs'])}.")
    if not comparison["comparable"]:
        lines.append("The test faces differ, so these differences are not of the arms alone.")
    return "\n".join(lines)


def _figures(results: ExperimentResults, selection: str) -> dict[tuple[str, int], dict[str, float | None]]:
    return {(run["arm"], run["seed"]): run["selected"][selection]["figures"] for run in results.content["runs"]}
