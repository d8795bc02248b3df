"""The faces of a report: which are shown, their thumbnails in sheets, and what the page's script knows of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faceaug.analysis.axes import describe
from faceaug.pages.template import script_value
from faceaug.planning.plan import Plan
from faceaug.report.faces.photographs import Photographs, face_thumbnail, small_picture
from faceaug.report.faces.readings import described_fields
from faceaug.report.faces.samples import StoredSamples, spread_evenly
from faceaug.report.faces.sheets import SHEET_COLUMNS, SHEET_FACES, SheetWriter
from faceaug.report.faces.strips import STRIP_IMAGES, EditStrips
from faceaug.report.refused import RefusedExample
from faceaug.shards.manifest import SHEET_NAME, Manifest
from faceaug.utils.files import write_bytes
from faceaug.utils.typing import Floats32

DATA_FILE = "data.js"
SAMPLES_SHOWN, REAL_SHOWN = 10_000, 12
"""Most samples of a report, and most real faces of a cell beside its samples."""
_MOST_PHOTOGRAPHS = 6_000  # with those that samples were made from or are near to
_SIDES = ((5_000, 128), (9_000, 96))  # most faces, and pixels of each, so that a page has at most about 12 MB
_RAW_SIDE = 64


@dataclass(frozen=True, eq=False)
class Gallery:
    """What the page says of the faces that its script shows.

    Attributes
    ----------
    shown, stored : int
        Samples that are shown, and all.
    withheld : int
        Samples that are left out because they were made from photographs of real people.
    photographs : int
        Real faces that are shown.
    missing : int
        Photographs that samples were made from and the data set does not have any more.
    strips : str
        A sentence on edits that are shown as strips, or why none is; empty where there are none.
    files : tuple of str
        Names of the files in the report's folder.
    """

    shown: int
    stored: int
    withheld: int
    photographs: int
    missing: int
    strips: str
    files: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Links:
    """By sample: positions among its sources and rows of the photographs that it was made from, and rows and distances
    of those nearest to it.
    """

    made_of: list[list[tuple[int, int]]]
    nearest: list[list[tuple[int, float]]]
    missing: int


class GalleryWriter:
    """Writes the sheets of thumbnails and data.js of a report.

    Parameters
    ----------
    folder : Path
        The folder of the report's files.
    manifest : Manifest
    samples : StoredSamples
    photographs : Photographs, optional
        Without them no real face is shown.
    real_faces : bool
        Whether samples may be shown that were made from photographs.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        samples: StoredSamples,
        photographs: Photographs | None,
        *,
        real_faces: bool,
    ) -> None:
        self._folder, self._manifest, self._samples, self._photographs = folder, manifest, samples, photographs
        may_show = [i for i in range(len(samples)) if real_faces or not samples.sources[i]]
        self._withheld = len(samples) - len(may_show)
        self._chosen = _spread_over_cells(samples, may_show)
        self._aspect, self._native = _shape_of(samples)

    def write(self, plan: Plan, refused: Sequence[RefusedExample]) -> Gallery:
        """Write the files and return what they hold."""
        side = self._side()
        shape = (max(1, round(side / self._aspect)), side)
        faces = SheetWriter(self._folder, "faces", shape)
        small = []
        for i in self._chosen:
            image = self._samples.image(i)
            faces.add(face_thumbnail(image, self._aspect, side))
            if self._photographs:
                small.append(small_picture(image))
        links = self._links(small)
        beside = self._photographs.by_cell(plan) if self._photographs else {}
        real_rows = self._real_rows(beside, links)
        real = SheetWriter(self._folder, "real", shape)
        images = self._photographs.images(real_rows, self._aspect, side) if self._photographs else {}
        number = {row: real.add(image) for row, image in images.items()}
        examples = SheetWriter(self._folder, "refused", shape)
        for example in refused:
            examples.add(face_thumbnail(example.image, self._aspect, side))
        edits = EditStrips.of(self._samples, self._chosen, self._manifest)
        strips = self._write_strips(edits)
        for sheets in (faces, real, examples):
            sheets.close()
        content = {
            "shape": shape,
            "stripShape": strips.shape,
            "stripImages": STRIP_IMAGES,
            "columns": SHEET_COLUMNS,
            "perSheet": SHEET_FACES,
            "sheets": {"faces": faces.names, "real": real.names, "refused": examples.names, "strips": strips.names},
            "cells": self._cells(beside, number),
            "real": [self._photographs.file_name(row) for row in number] if self._photographs else [],
            "compared": [len(self._photographs.compared), len(self._photographs.dataset)]
            if self._photographs
            else [0, 0],
            "samples": self._columns(links, number, edits),
            "fields": described_fields(self._samples, self._chosen, self._manifest),
            "refused": [{"cell": each.cell, "reason": each.reason} for each in refused],
        }
        write_bytes(self._folder / DATA_FILE, f"window.faceaugReport={script_value(content)};\n".encode())
        return Gallery(
            shown=len(self._chosen),
            stored=len(self._samples),
            withheld=self._withheld,
            photographs=len(number),
            missing=links.missing,
            strips=edits.note,
            files=(*faces.names, *real.names, *examples.names, *strips.names, DATA_FILE),
        )

    def _write_strips(self, edits: EditStrips) -> SheetWriter:
        side = min(self._native, _RAW_SIDE)
        strips = SheetWriter(self._folder, "strips", (max(1, round(side / self._aspect)), side))
        for image in edits.images(self._samples):
            strips.add(face_thumbnail(image, self._aspect, side))
        strips.close()
        return strips

    def _links(self, small: Sequence[Floats32]) -> _Links:
        if self._photographs is None:
            nothing: list[Any] = [[] for _ in self._chosen]
            return _Links(nothing, nothing, 0)
        rows = self._photographs.rows
        sources = [self._samples.sources[i] for i in self._chosen]
        made_of = [[(k, rows[digest]) for k, digest in enumerate(each) if digest in rows] for each in sources]
        return _Links(
            made_of=made_of,
            nearest=self._photographs.nearest(small, [[row for _, row in each] for each in made_of]),
            missing=len({digest for each in sources for digest in each} - rows.keys()),
        )

    def _real_rows(self, beside: Mapping[int, Any], links: _Links) -> list[int]:
        """Return the rows of the photographs that are shown: those of cells, then sources, then nearest ones."""
        first = [row for rows in beside.values() for row in spread_evenly(rows, REAL_SHOWN)]
        sources = [row for each in links.made_of for _, row in each]
        nearest = [row for near in links.nearest for row, _ in near]
        rows = list(dict.fromkeys(first))[:_MOST_PHOTOGRAPHS]
        for more in (sources, nearest):
            known = set(rows)
            new = [row for row, _ in Counter(row for row in more if row not in known).most_common()]
            rows += new[: max(0, _MOST_PHOTOGRAPHS - len(rows))]
        return rows

    def _side(self) -> int:
        """Return the width of thumbnails: as many pixels as the number of faces allows, and no more than they have."""
        real = min(_MOST_PHOTOGRAPHS, len(self._photographs.dataset)) if self._photographs else 0
        count = len(self._chosen) + real
        return min(self._native, next((side for most, side in _SIDES if count <= most), _RAW_SIDE))

    def _cells(self, beside: Mapping[int, Any], number: Mapping[int, int]) -> list[dict[str, Any]]:
        return [
            {
                "label": describe(cell.attributes),
                "levels": cell.attributes,
                "real": cell.real,
                "accepted": cell.accepted,
                "planned": cell.planned,
                "beside": [
                    number[row]
                    for row in spread_evenly(beside.get(cell.index, np.zeros(0, int)), REAL_SHOWN)
                    if row in number
                ],
            }
            for cell in self._manifest.cells
        ]

    def _columns(self, links: _Links, number: Mapping[int, int], edits: EditStrips) -> dict[str, Any]:
        """Return what is known of each sample, by column; hashes and numbers of two to the 64 as text."""
        samples, chosen = self._samples, self._chosen
        engines = list(dict.fromkeys(samples.engines))
        shards = list(dict.fromkeys(shard.path.name for shard, _ in samples.rows))
        strips = {row: k for k, row in enumerate(edits.rows)}
        return {
            "cell": [int(samples.cells[i]) for i in chosen],
            "engines": engines,
            "engine": [engines.index(samples.engines[i]) for i in chosen],
            "shards": shards,
            "place": [[shards.index(samples.rows[i][0].path.name), samples.rows[i][1]] for i in chosen],
            "seed": [str(samples.seeds[i]) for i in chosen],
            "edit": [None if np.isnan(samples.edits[i]) else round(float(samples.edits[i]), 3) for i in chosen],
            "strip": [strips.get(i) for i in chosen],
            "madeOf": [[(k, number[row]) for k, row in each if row in number] for each in links.made_of],
            "sources": [len(samples.sources[i]) for i in chosen],
            "nearest": [[[number[row], round(gap, 3)] for row, gap in near if row in number] for near in links.nearest],
            "nearestDistance": [round(near[0][1], 3) if near else None for near in links.nearest],
        }


def remove_unlisted(folder: Path, files: Sequence[str]) -> None:
    """Remove sheets of an earlier report, also of an earlier version, that this one does not have."""
    for path in folder.iterdir():
        if SHEET_NAME.fullmatch(path.name) and path.name not in files:
            path.unlink(missing_ok=True)


def _spread_over_cells(samples: StoredSamples, indices: Sequence[int]) -> list[int]:
    """Return the samples that are shown, cell by cell; where there are too many, large cells give the most away."""
    by_cell: dict[int, list[int]] = {}
    for i in indices:
        by_cell.setdefault(int(samples.cells[i]), []).append(i)
    most, left, sizes = 0, SAMPLES_SHOWN, sorted(map(len, by_cell.values()))
    for k, size in enumerate(sizes):  # the limit of a cell at which all cells together fit
        most = left // (len(sizes) - k)
        if size > most:
            break
        left, most = left - size, size
    else:
        most = max(sizes, default=0)
    return [i for cell in sorted(by_cell) for i in spread_evenly(np.array(by_cell[cell], np.int64), most)]


def _shape_of(samples: StoredSamples) -> tuple[float, int]:
    """Return the aspect of the first sample and its width in pixels; a square of 64 pixels without a sample."""
    if not len(samples):
        return 1.0, _RAW_SIDE
    height, width = samples.image(0).shape[:2]
    return width / height, width
