"""Text and plot of docs/performance.md from the records of benchmarks/speed and benchmarks/growth."""

from __future__ import annotations

import math
from typing import Any

from _markdown import table

Record = dict[str, Any]
_WHAT = {
    "samples": "samples of a run in 10 cells, trivial engine",
    "cells": "cells of a run with a sample in each, trivial engine",
    "attributes": "attributes of a run of 2,000 samples, trivial engine",
    "real": "real faces that are indexed by headers, analyzed and planned for",
}
_COLOURS = {"samples": "#1f6f8b", "cells": "#b5532a", "attributes": "#5b7f3a", "real": "#7a4a8c"}


def speed_text(record: Record) -> str:
    """Return a table for each row of the record of speed."""
    lines = [_circumstances(record)]
    for name, row in record["rows"].items():
        lines += ["", f"**{row['title'][0].upper()}{row['title'][1:]}** (`{name}`)", ""]
        if "measured" in row:
            lines += [f"Measured apart. {_circumstances(row['measured'])}", ""]
        if "error" in row:
            lines += [f"The row failed: {row['error']}", ""]
        cells = [line for case in row["cases"] for line in _case_lines(case)]
        head = ["case", "contender", "per second", "times as fast (95%)", "aim"]
        lines += table(head, cells, right={2, 3})
        for case in row["cases"]:
            if "peak_megabytes" in case:
                peaks = ", ".join(f"{who} {peak:,.0f} MB" for who, peak in case["peak_megabytes"].items())
                lines += ["", f"Peak memory of {case['name']}: {peaks}; ratio {case['memory_ratio']:.3f}."]
    return "\n".join(lines)


def _circumstances(measured: Record) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    return f"On a {measured['machine']}, {versions}. Load of the machine at the end: {measured['load_average']}."


def _case_lines(case: Record) -> list[list[str]]:
    aim = (
        f"{case['aim']:g} times the fastest"
        if case["aim"]
        else f"{case['aim_seconds']:g} s"
        if case["aim_seconds"]
        else ""
    )
    if aim:
        aim += ": met" if case["met"] else ": missed"
    lines = []
    for number, (contender, found) in enumerate(case["contenders"].items()):
        ratio = case["times_as_fast_as"].get(contender)
        beside = f"{ratio['ratio']:.2f} ({ratio['interval'][0]:.2f} to {ratio['interval'][1]:.2f})" if ratio else ""
        seconds = f"{found['median_seconds']:.3g} s" if case["count"] == 1 else f"{found['per_second']:,.0f}"
        first = number == 0
        lines.append([case["name"] if first else "", contender, seconds, beside, aim if first else ""])
    return [*lines, *(["", package, why, "", ""] for package, why in case["missing"].items())]


def growth_text(record: Record) -> str:
    """Return what the curves of growth say."""
    rows = []
    for name, axis in record["axes"].items():
        for number, point in enumerate(axis["points"]):
            exponent = f"{axis['exponent']:.2f}" if number == 0 else ""
            first = _WHAT[name] if number == 0 else ""
            memory = f"{point['peak_megabytes']:,.0f} MB"
            rows.append([first, f"{point['size']:,}", f"{point['seconds']:,.1f} s", memory, exponent])
    lines = [
        "![Time and peak memory against samples, cells, attributes and real faces](growth.svg)",
        "",
        f"On a {record['machine']}; load of the machine at the start: {record['load_average']}. The exponent is that "
        "of seconds against size over the upper half of the points.",
        "",
        *table(["what grows", "size", "time", "peak memory", "exponent"], rows, right=range(1, 5)),
    ]
    peaks = {point["size"]: point["peak_megabytes"] for point in record["axes"].get("samples", {}).get("points", ())}
    if {20_000, 200_000} <= peaks.keys():
        lines += ["", f"Peak memory at 200,000 samples is {peaks[200_000] / peaks[20_000]:.2f} times that at 20,000."]
    return "\n".join(lines)


def growth_plot(record: Record) -> str:
    """Return an SVG with time, and peak memory, against size on logarithmic axes."""
    width, height, gap = 400, 300, 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width + 3 * gap} {height + 2 * gap + 30}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for number, (key, title) in enumerate((("seconds", "seconds"), ("peak_megabytes", "peak memory, MB"))):
        left = gap + number * (width + gap)
        values = [point[key] for axis in record["axes"].values() for point in axis["points"]]
        sizes = [point["size"] for axis in record["axes"].values() for point in axis["points"]]
        across, up = _decades(sizes), _decades(values)
        parts += [f'<rect x="{left}" y="{gap}" width="{width}" height="{height}" fill="none" stroke="#999"/>']
        parts += [f'<text x="{left}" y="{gap - 12}">{title}</text>']
        for power in range(across[0], across[1] + 1):
            x = left + width * (power - across[0]) / (across[1] - across[0])
            parts.append(f'<text x="{x:.1f}" y="{gap + height + 16}" text-anchor="middle">{_number(power)}</text>')
        for power in range(up[0], up[1] + 1):
            y = gap + height - height * (power - up[0]) / (up[1] - up[0])
            parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(power)}</text>')
            parts.append(f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>')
        for name, axis in record["axes"].items():
            places = " ".join(
                f"{left + width * (math.log10(point['size']) - across[0]) / (across[1] - across[0]):.1f},"
                f"{gap + height - height * (math.log10(point[key]) - up[0]) / (up[1] - up[0]):.1f}"
                for point in axis["points"]
            )
            parts.append(f'<polyline points="{places}" fill="none" stroke="{_COLOURS[name]}" stroke-width="2"/>')
    for number, name in enumerate(record["axes"]):
        x, y = gap + 200 * number, height + 2 * gap
        parts.append(f'<text x="{x}" y="{y}" fill="{_COLOURS[name]}">{"real faces" if name == "real" else name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _decades(values: list[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _number(power: int) -> str:
    return f"{10.0**power:g}" if abs(power) < 4 else f"1e{power}"
