"""The figures of experiments.py as text for docs/results.md."""

from __future__ import annotations

from typing import Any

from _markdown import table

from faceaug.bench.results.statistics import difference_cell

COLUMNS = ("accuracy", "mean_of_groups", "worst_group", "thinned_groups")


def experiment_text(record: dict[str, Any]) -> str:
    """Return the plot and the table of an experiment, and what synthesis gave."""
    own = record["by_selection"][record["recipe"]["selection"]]
    name, best = record["name"], own["best_without_synthesis"]
    shown = [column for column in COLUMNS if any(arm[column]["mean"] is not None for arm in own["arms"].values())]
    rows = []
    for arm, figures in own["arms"].items():
        against = own["against_best"].get(arm)
        rows.append(
            [
                f"`{arm}`",
                *(f"{100 * figures[column]['mean']:.1f}" for column in shown),
                difference_cell(against["worst_group"]) if against else "",
                _percent(against["worst_group_error_reduction"]) if against else "",
            ]
        )
    seeds = len(record["seed"])
    lines = [
        f"![Accuracy of the worst group by arm](bench_{name.removeprefix('bench_')}.svg)",
        "",
        f"*Accuracy of the worst group, percent; dots are means of {seeds} seeds with 95% intervals, rings are seeds.*",
        "",
        *table(
            ["arm", *(column.replace("_", " ") for column in shown), f"worst group less `{best}`", "error saved"],
            rows,
            range(1, 20),
        ),
        "",
        f"`{record['command']}`: {record['dataset']['faces']:,} faces, {record['training_seconds'] / 60:.0f} minutes "
        f"of training. {_made(record['synthetic'])}",
    ]
    return "\n".join(lines).rstrip()


def curves_text(record: dict[str, Any]) -> str:
    """Return the table of each experiment of curves.py: what arms gain beside `rwg` and beside all samples."""
    lines = []
    for one in record["experiments"]:
        mean, *_ = compared = ("mean_of_groups", "worst_group", "thinned_groups")
        rows = []
        for arm, figures in one["arms"].items():
            samples, first, less = one["samples"][arm], one["less_first"].get(arm), one["less_baseline"].get(arm)
            rows.append(
                [
                    f"`` {arm} ``" if "`" in arm else f"`{arm}`",
                    f"{samples:,.0f}" if samples else "",
                    f"{100 * figures[mean]['mean']:.1f}",
                    *(difference_cell(less[figure]) if less else "" for figure in compared),
                    difference_cell(first[mean]) if first and samples else "",
                ]
            )
        head = [
            "arm",
            "samples",
            "mean of groups",
            *(f"{which}less `rwg`" for which in ("", "worst group ", "thinned ")),
        ]
        head.append(f"less `{one['first']}`")
        lines += [
            f"`{one['command']}`: {len(one['seeds'])} seeds, {one['accepted']:,} of {one['planned']:,} samples "
            f"accepted; AUC of real against synthetic {sum(one['auc']) / len(one['auc']):.2f}.",
            "",
            *table(head, rows, range(1, 7)),
            "",
        ]
    return "\n".join(lines).rstrip()


def _percent(summary: dict[str, Any]) -> str:
    if summary["mean"] is None:
        return ""
    interval = "" if summary["low"] is None else f" [{100 * summary['low']:+.0f}, {100 * summary['high']:+.0f}]"
    return f"{100 * summary['mean']:+.0f}%{interval}"


def _made(sets: list[dict[str, Any]]) -> str:
    """Return how many samples each engine made, over all seeds."""
    engines: dict[str, list[int]] = {}
    for one in sets:
        totals = engines.setdefault(one["engine"], [0, 0])
        totals[0] += one["accepted"]
        totals[1] += one["planned"]
    parts = [f"{engine} {accepted:,} of {planned:,}" for engine, (accepted, planned) in engines.items()]
    return f"Accepted of planned samples, all seeds: {', '.join(parts)}." if parts else ""
