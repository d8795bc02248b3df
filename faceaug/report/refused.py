"""Why attempts were refused: counts by reason and cell, and the pictures that a run kept to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceaug.errors import ImageError
from faceaug.shards.manifest import CellRecord, Manifest
from faceaug.shards.refused import refused_records
from faceaug.utils.files import inside
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
                        "label": ", ".join(cell.attributes.values()),
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
    """Return the refused pictures of an output folder, in the order of cells.

    Without `real_faces`, those that engines made from photographs are left out.
    """
    listed = {entry.name for entry in manifest.files}
    examples = []
    for record in sorted(refused_records(manifest), key=lambda record: (record.cell, record.reason, record.attempt)):
        if record.file not in listed or (record.from_photographs and not real_faces):
            continue
        try:
            image = decode(inside(out, record.file).read_bytes(), name=record.file)
        except (OSError, ImageError):
            continue  # faceaug verify says that it is damaged
        examples.append(RefusedExample(record.cell, record.reason, image))
    return examples
