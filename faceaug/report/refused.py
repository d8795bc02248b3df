"""Why attempts were refused: counts by reason and cell, and the pictures that a run kept to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceaug.analysis.axes import describe
from faceaug.shards.manifest import CellRecord, Manifest
from faceaug.shards.refused import REFUSED_NAME, read_refused
from faceaug.utils.images import Rgb, decode

_CELLS_SHOWN = 24  # of a reason, those with the most refusals


@dataclass(frozen=True, eq=False)
class RefusedExample:
    """A picture that was refused.

    Attributes
    ----------
    cell : int
    reason : str
    image : uint8 [H, W, 3]
    """

    cell: int
    reason: str
    image: Rgb


def refusal_rows(cells: Sequence[CellRecord], totals: dict[str, int]) -> list[dict[str, Any]]:
    """Return, for each reason, the most frequent first, its count and the cells in which it occurs most."""
    rows = []
    for reason, count in sorted(totals.items(), key=lambda item: (-item[1], item[0])):
        own = sorted((cell for cell in cells if cell.rejected.get(reason)), key=lambda cell: -cell.rejected[reason])
        most = own[0].rejected[reason] if own else 1
        rows.append(
            {
                "reason": reason,
                "count": count,
                "share": count / max(1, sum(totals.values())),
                "more": max(0, len(own) - _CELLS_SHOWN),
                "cells": [
                    {
                        "label": describe(cell.attributes),
                        "title": f"{cell.rejected[reason]} of {cell.tried} attempts",
                        "parts": [("engine-0", 100 * cell.rejected[reason] / most)],
                        "text": f"{cell.rejected[reason]:,} of {cell.tried:,}",
                    }
                    for cell in own[:_CELLS_SHOWN]
                ],
            }
        )
    return rows


def kept_examples(out: Path, manifest: Manifest, *, real_faces: bool) -> list[RefusedExample]:
    """Return the refused pictures of an output folder, in the order of cells and reasons.

    Without `real_faces`, those that were made from photographs are left out.
    """
    pictures = sorted(read_refused(out, manifest), key=lambda each: (each.cell, each.reason, each.attempt))
    return [
        RefusedExample(each.cell, each.reason, decode(each.image, name=f"{REFUSED_NAME}, attempt {each.attempt}"))
        for each in pictures
        if real_faces or not each.from_photographs
    ]
