"""The result of `faceaug admit` as text and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from faceaug.synthesis.engines.external.admission import Admission

_EXAMPLES = 3  # refused candidates that are named for each reason
_GATES = ("shorter_side", "nearest_person", "misexposure", "discolouring", "face_quality", "realism")
"""Readings that are shown beside the probabilities of labels."""


def admission_json(found: Admission) -> dict[str, Any]:
    """Return the result as JSON values."""
    return {
        "candidates": len(found.table),
        "passed": found.passed,
        "refused": found.reasons,
        "cells": [{"levels": cell.levels, "real": cell.real, "passed": cell.planned} for cell in found.plan.cells],
    }


def admission_text(found: Admission, explain: bool) -> str:
    """Return the result as text: what passed by cells, refusals by reason, and what the reasons mean if asked for."""
    from faceaug.synthesis.engines.external.verdicts import EXPLANATIONS
    from faceaug.utils.text_table import label_columns, render_table

    names = label_columns([axis.name for axis in found.plan.axes])
    rows = [
        [*label_columns(list(cell.levels.values())), f"{cell.real:,}", f"{cell.planned:,}"] for cell in found.plan.cells
    ]
    cells = render_table([*names, "real", "passed"], rows, left=len(names), width=70)
    parts = ["\n".join(cells), passed_text(found)]
    if found.reasons:
        lines = ["refused by"]
        refused = found.refused
        for reason, number in found.reasons.items():
            lines.append(f"  {number:>6,}  {reason}")
            if explain:
                lines.append(f"          {EXPLANATIONS.get(reason, 'a gate of another package')}")
                chosen = refused[refused["reason"] == reason].head(_EXAMPLES)
                axes = [axis.name for axis in found.plan.axes]
                lines += [f"          e.g. {_described(row, axes)}" for _, row in chosen.iterrows()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def passed_text(found: Admission) -> str:
    """Return in a sentence how many candidates passed, and what the others were most often refused by."""
    often = next(iter(found.reasons.items()), None)
    most = f"; the others were refused most often by {often[0]!r} ({often[1]:,})" if often else ""
    return f"{found.passed:,} of {len(found.table):,} candidates passed{most}."


def _described(row: pd.Series[Any], axes: Sequence[str]) -> str:
    """Return a refused candidate in a line: its file, the detail, what is claimed, and what was read."""
    said = [str(row["detail"])] if row["detail"] else []
    said += [
        f"claimed {name}: {row[key]}" for name in axes if (key := f"claimed/{name}") in row and row[key] == row[key]
    ]
    read = {str(name).removeprefix("read/"): v for name, v in row.items() if str(name).startswith("read/") and v == v}
    said += [f"{name} {value:.2f}" for name, value in read.items() if "=" in name or name in _GATES]
    return f"{row['file']}  {', '.join(said)}".rstrip()
