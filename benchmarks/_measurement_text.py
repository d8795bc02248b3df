"""Measurements in the documents: pose_accuracy, skin_tone, costs of measuring and of morphs, as text and tables."""

from __future__ import annotations

from typing import Any

from _markdown import table

Record = dict[str, Any]


def pose_accuracy(record: Record) -> str:
    """Return the comparison of measured head pose with a landmark model (pose_accuracy.py)."""
    rows, bins = [], []
    for name, way in record["ways"].items():
        yaw, pitch = way["yaw"], way["pitch"]
        numbers = (yaw["correlation"], yaw["slope"], pitch["correlation"], pitch["slope"])
        correlation, slope, pitched, pitch_slope = (f"{number:.2f}" for number in numbers)
        milliseconds = f"{record['milliseconds'][name]:.1f}"
        rows.append(
            [
                name,
                f"{way['measured']:,}",
                correlation,
                slope,
                f"{yaw['within']:.0%}",
                pitched,
                pitch_slope,
                milliseconds,
            ]
        )
        bins.append([name, *(f"{each['measured']:.0f} (n {each['n']:,})" for each in yaw["bins"])])
    first = next(iter(record["ways"].values()))["yaw"]["bins"]
    turns = [(name, turn, each) for name in ("yaw", "pitch") for turn, each in record["turned"][name].items()]
    head = ["", "measured", "yaw, correlation", "yaw, slope", "yaw within 5°", "pitch, correlation", "pitch, slope"]
    return "\n".join([
        f"{record['photographs']:,} photographs, {record['machine']}; load {record['load_average']} on its two cores.",
        "",
        *table([*head, "ms a framed face"], rows, right=range(1, 8)),
        "",
        "Mean degrees measured where the landmark model reads yaw, to either side, as",
        "",
        *table(["", *(f"{each['table']:.0f}°" for each in first)], bins, right=range(1, len(first) + 1)),
        "",
        f"By how many degrees the reading changes when {record['turned']['photographs']} photographs are turned by",
        "",
        *table(
            ["", *(f"{name} {turn}°" for name, turn, _ in turns)],
            [[way, *(f"{each[way]:+.0f}" for _, _, each in turns)] for way in record["ways"]],
            right=range(1, len(turns) + 1),
        ),
    ])  # fmt: skip


def turned_heads(record: Record) -> str:
    """Return how far heads are turned by a regression that knows no warp (turned_heads.py)."""
    fit, angles = record["regression"], list(next(iter(record["turned"].values())))
    rows = [
        [f"{way}, {reader}", *(f"{found[angle][reader]:+.0f}" for angle in angles)]
        for way, found in record["turned"].items()
        for reader in ("regression", "estimator")
    ]
    return "\n".join([
        f"{record['photographs']} photographs; the regression was fitted on {fit['fitted']:,} others, and reads "
        f"{fit['checked']:,} more with a correlation of {fit['correlation']:.2f} and a slope of {fit['slope']:.2f}.",
        "",
        *table(["mean degrees read, turned by", *(f"{angle}°" for angle in angles)], rows, range(1, len(angles) + 1)),
    ])  # fmt: skip


def skin_tones(record: Record) -> str:
    """Return the comparison of skin tone with labels and brightness (skin_tone.py)."""
    levels, measures = record["counts"], record["measures"]
    rows = []
    for name, own in measures.items():
        medians = [own["quantiles"][level][1] for level in levels]
        decimals = 2 if max(medians) < 1 else 0
        rows.append(
            [
                name.replace("_", " "),
                f"{own['auc_white_over_black']:.2f}",
                *(f"{median:.{decimals}f}" for median in medians),
            ]
        )
    head = ["", "AUC white over black", *(f"median, {level} (n {count:,})" for level, count in levels.items())]
    return "\n".join([
        f"{record['measured']:,} of {record['images']:,} photographs; the median confidence is "
        f"{record['median_confidence']:.2f}.",
        "",
        *table(head, rows, right=range(1, len(head))),
    ])  # fmt: skip


def _steps(record: Record, decimals: int) -> list[str]:
    """Return the table of what each step of measuring takes."""
    rows = [[step, f"{milliseconds:.{decimals}f}"] for step, milliseconds in record["milliseconds"].items()]
    return table(["step", "ms of a core a photograph"], rows, right={1})


def measuring(record: Record) -> str:
    """Return where the time of measuring goes (measure_cost.py)."""
    return "\n".join([
        f"{record['photographs_a_second']:.0f} photographs a second, of {record['photographs']}, on a "
        f"{record['machine']}; load {record['load_average']}.",
        "",
        *_steps(record, 1),
    ])  # fmt: skip


def measure_trials(record: Record) -> str:
    """Return what the parts of measuring take in other batches and number formats (measure_trials.py)."""
    return "\n".join([
        f"{record['photographs']} photographs, one thread of a {record['machine']}; load {record['load_average']}. An "
        f"output of the network in bfloat16 differs by up to {record['bfloat16_largest_difference']:.3f}.",
        "",
        *_steps(record, 2),
    ])  # fmt: skip


def engine_steps(record: Record) -> str:
    """Return where the time of samples made of photographs goes (engine_cost.py)."""
    steps = record["milliseconds"]
    rows = [[step, f"{spent['attempt']:.1f}", f"{spent['accepted']:.1f}"] for step, spent in steps.items()]
    total = [f"{sum(spent[of] for spent in steps.values()):.1f}" for of in ("attempt", "accepted")]
    return "\n".join([
        f"{record['accepted']} of {record['attempts']} attempts were accepted, among {record['photographs']} "
        f"photographs, on a {record['machine']}; load {record['load_average']}.",
        "",
        *table(["step", "ms of a core an attempt", "an accepted sample"], [*rows, ["all", *total]], right={1, 2}),
    ])  # fmt: skip
