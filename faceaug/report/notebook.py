"""What the result of a run shows in a notebook: its cells, and the faces of one of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceaug.analysis.axes import attribute, cell_codes, describe
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import UsageError
from faceaug.pages.notebook import notebook_html
from faceaug.planning.plan import Plan
from faceaug.shards.manifest import PLAN_NAME, CellRecord, Manifest
from faceaug.shards.reader import ShardReader
from faceaug.utils.files import inside
from faceaug.utils.images import Rgb
from faceaug.utils.text import without_secrets

FACES_SHOWN = 24
"""Most real and most synthetic faces of a cell in a notebook."""


@dataclass(frozen=True, eq=False)
class CellFaces:
    """Some faces of a cell, which a notebook shows.

    Attributes
    ----------
    record : CellRecord
        Its attributes and counts.
    synthetic, real : tuple of uint8 [H, W, 3]
    """

    record: CellRecord
    synthetic: tuple[Rgb, ...]
    real: tuple[Rgb, ...] = ()

    def _repr_html_(self) -> str:
        cell = self.record
        refused = ", ".join(f"{reason} {count:,}" for reason, count in cell.rejected.items())
        lines = [f"{cell.real:,} real, {cell.accepted:,} synthetic, {cell.short:,} short"]
        lines += [f"Refused attempts: {refused}"] if refused else []
        lines += [cell.note] if cell.note else []
        return notebook_html(describe(cell.attributes), lines, strips={"Synthetic": self.synthetic, "Real": self.real})


def run_html(manifest: Manifest, url: str | None = None) -> str:
    """Return the result of a run as HTML for a notebook; it names the URL of an output that is behind one."""
    totals = manifest.totals
    rows = [
        (
            cell.attributes,
            {"real": cell.real, "planned": cell.planned, "accepted": cell.accepted, "short": cell.short},
            {"real": cell.real, "synthetic": cell.accepted, "short": cell.short},
        )
        for cell in manifest.cells
    ]
    line = f"{totals.accepted:,} of {totals.planned:,} planned faces accepted, {totals.short:,} short"
    lines = [line] if url is None else [line, f"The faces are at {without_secrets(url)}."]
    return notebook_html(f"{manifest.dataset.name}, balanced", lines, rows)


def cell_faces(
    out: Path, manifest: Manifest, cell: int | Mapping[str, str], dataset: FaceDataset | None = None
) -> CellFaces:
    """Return some faces of a cell of an output folder, spread evenly over it.

    Parameters
    ----------
    out : Path
    manifest : Manifest
        Of the folder.
    cell : int or mapping
        Index of the cell, or the level of each of its axes.
    dataset : FaceDataset, optional
        Gives the real faces.

    Raises
    ------
    UsageError
        When there is no such cell.
    IntegrityError, ImageError
        When an image cannot be read.
    """
    record = _record(manifest, cell)
    found: list[Rgb] = []
    with ExitStack() as stack:
        readers = [stack.enter_context(ShardReader(inside(out, entry.name))) for entry in manifest.shards]
        places = [(reader, row) for reader in readers for row in np.flatnonzero(reader.column("cell") == record.index)]
        found = [reader.image(int(row)) for reader, row in (places[k] for k in _spread(len(places)))]
    real: list[Rgb] = []
    if dataset is not None:
        axes = Plan.read(out / PLAN_NAME).axes
        codes = cell_codes([axis.assign(attribute(dataset.table, axis.name)) for axis in axes], axes)
        rows = np.flatnonzero(codes == record.index)
        real = [dataset.image(int(rows[k])) for k in _spread(len(rows))]
    return CellFaces(record, tuple(found), tuple(real))


def _record(manifest: Manifest, cell: int | Mapping[str, str]) -> CellRecord:
    for record in manifest.cells:
        if cell in (record.index, record.attributes):
            return record
    known = "; ".join(f"{each.index}: {describe(each.attributes)}" for each in manifest.cells[:12])
    raise UsageError(f"there is no cell {cell!r}; there are {known}{' ...' if len(manifest.cells) > 12 else ''}")


def _spread(count: int) -> list[int]:
    """Return at most `FACES_SHOWN` of `count` positions, spread evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, FACES_SHOWN)).round().astype(int)).tolist() if count else []
