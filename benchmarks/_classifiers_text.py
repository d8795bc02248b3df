"""The account of classifiers on docs/results.md (classifiers.py)."""

from __future__ import annotations

from typing import Any

from _markdown import table

Record = dict[str, Any]


def classifiers_text(record: Record) -> str:
    """Return how good and how quick classifiers on frozen features and those from nothing are."""
    faces = record["faces"]
    parts = [
        f"Trained on {faces['trained']:,} photographs, tested on {faces['tested']:,} others, on a {record['machine']} "
        f"with other work on it (load average {record['load_average']}). Seconds of the processor are those of all "
        "threads.",
        "",
        *table(
            ["both classifiers of a run", "processor", "clock", "gender", "ethnicity, mean recall", "age, mean error"],
            [row for name in ("from_nothing", "run") if name in record for row in _rows(name, record[name])],
            range(1, 6),
        ),
    ]
    grid = [
        [
            f"{one['crop']}-pixel images at {one['side']}, stage {one['stages']}, {one['grid']}x{one['grid']}",
            f"{one['milliseconds']:.1f} ms",
            *_accuracies(one["tasks"]),
            "/".join(f"{one['mirror_averaged'][task]:.1%}" for task in ("gender", "ethnicity")),
        ]
        for one in record["features"]
    ]
    head = ["features", "one image", "gender", "ethnicity, mean recall", "age, mean error", "averaged with the mirror"]
    return "\n".join([*parts, "", *table(head, grid, range(1, len(head)))])


def _rows(name: str, run: Record) -> list[list[str]]:
    who = {"from_nothing": "from nothing", "run": "on features"}[name]
    times = [f"{run['processor_seconds']:,.0f} s", f"{run['seconds']:,.0f} s"]
    return [
        [f"{who}: {kind.replace('_', '-')}", *times, *_accuracies(run[kind]["tasks"])]
        for kind in ("guidance", "held_out")
    ]


def _accuracies(tasks: list[Record]) -> list[str]:
    by_name = {task["attribute"]: task for task in tasks}
    ethnicity = by_name["ethnicity"]
    return [
        f"{by_name['gender']['accuracy']:.1%}",
        f"{ethnicity['accuracy']:.1%}, {ethnicity['mean_recall']:.1%}",
        f"{by_name['age']['mean_absolute_error']:.1f} years",
    ]
