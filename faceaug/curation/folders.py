"""Output folders made of samples of others: written like those of a run, so that they are verified like these."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faceaug._version import __version__
from faceaug.datasets.dataset import local_place
from faceaug.errors import UsageError
from faceaug.places.mirrored import place_of
from faceaug.places.uploads import local_output
from faceaug.planning.budget import Budget
from faceaug.planning.plan import Plan, PlannedCell
from faceaug.shards.manifest import PLAN_NAME, CellRecord, CreatedBy, Manifest, ManifestHeader, read_manifest
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.partial import read_encoded_samples
from faceaug.shards.reader import ShardReader
from faceaug.shards.run_state import CellState
from faceaug.shards.writer import Sample
from faceaug.utils.files import inside, require_empty
from faceaug.utils.threads import Progress

CANDIDATES_NAME = "models/candidates.csv"
"""What tells the origin of images that were made elsewhere; it goes along."""


@dataclasses.dataclass(frozen=True, eq=False)
class ChosenSamples:
    """Samples of a complete output folder.

    Attributes
    ----------
    folder : Path
    manifest : Manifest
    mask : bool [N]
        Which of its samples, in the order of `samples.parquet`.
    """

    folder: Path
    manifest: Manifest
    mask: NDArray[np.bool_]

    @classmethod
    def all_of(cls, folder: Path | str) -> ChosenSamples:
        """Return all samples of a folder, or of one behind a URL.

        Raises
        ------
        UsageError
            When the run is unfinished.
        IntegrityError
            When the manifest is damaged.
        """
        folder = local_place(folder)
        manifest = read_manifest(folder)
        if not manifest.complete:
            raise UsageError(f"the run in {place_of(folder)} is unfinished; continue it with --resume first")
        return cls(folder, manifest, np.ones(manifest.totals.accepted, bool))

    def take(self, mask: NDArray[np.bool_]) -> ChosenSamples:
        """Return other samples of the same folder."""
        return dataclasses.replace(self, mask=mask)

    def samples(self) -> Iterator[list[Sample]]:
        """Yield the samples shard by shard, with their encoded images, or pixels in the raw layout.

        Raises
        ------
        IntegrityError
            When a shard is damaged.
        """
        start = 0
        for entry in self.manifest.shards:
            mask, start = self.mask[start : start + entry.rows], start + entry.rows
            if mask.any():
                with ShardReader(inside(self.folder, entry.name)) as reader:
                    stored = read_encoded_samples(reader, self.manifest.columns)
                    rows = np.flatnonzero(mask).tolist()
                    yield [
                        dataclasses.replace(
                            stored[row].sample,
                            image=reader.image(row) if reader.layout == "raw" else stored[row].data,
                        )
                        for row in rows
                    ]


@dataclasses.dataclass(frozen=True)
class NewFolder:
    """What an output folder made of others says of itself.

    Attributes
    ----------
    header : ManifestHeader
    made_by : str
        "merge", "subset" or "split".
    rejected : dict of int to dict
        By cell, the rejected attempts that go along.
    about : dict
        How it was made, as JSON values.
    command : str
    """

    header: ManifestHeader
    made_by: str
    rejected: Mapping[int, Mapping[str, int]]
    about: Mapping[str, Any]
    command: str


def write_folder(
    out: Path | str, chosen: Sequence[ChosenSamples], new: NewFolder, progress: Progress | None
) -> Manifest:
    """Write samples of one or several folders to a new output folder, or to its URL, in their order.

    The plan of the new folder has as many samples of each cell as there are. After an error nothing is left.

    Raises
    ------
    OutputError
        When the folder exists and is not empty, or cannot be written.
    IntegrityError
        When a shard is damaged.
    RemoteError
        When a URL cannot be written.
    """
    with local_output(out) as folder:
        return _write_folder(folder, chosen, new, progress)


def _write_folder(out: Path, chosen: Sequence[ChosenSamples], new: NewFolder, progress: Progress | None) -> Manifest:
    require_empty(out)
    cells, plan = _plan(chosen, new)
    identity = "\n".join(
        [new.made_by, *(each.manifest.fingerprint for each in chosen), repr(sorted(new.about.items()))]
    )
    opened = OutputFolder.open(out, hashlib.sha256(identity.encode()).hexdigest())  # what another run holds is kept
    try:
        with opened as folder:
            folder.begin(new.header, cells, plan.to_dict())
            folder.describe(
                files=_copy_candidates(out, chosen),
                directions=new.header.directions,
                classifiers=new.header.classifiers,
            )
            for samples in (samples for each in chosen for samples in each.samples()):
                folder.append(samples)
                if progress is not None:
                    progress(len(samples))
            states = {index: CellState(dict(reasons)) for index, reasons in new.rejected.items()}
            return folder.finish(states, measured={new.made_by: dict(new.about)})
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


def header_of(manifest: Manifest, command: str, **changes: Any) -> ManifestHeader:
    """Return the header of a folder made of another one."""
    fields = {name: getattr(manifest, name) for name in ManifestHeader.model_fields}
    return ManifestHeader(**{**fields, "created_by": CreatedBy(faceaug=__version__, command=command), **changes})


def _plan(chosen: Sequence[ChosenSamples], new: NewFolder) -> tuple[list[CellRecord], Plan]:
    counts: Counter[int] = Counter()
    for each in chosen:
        column = _column(each, "cell")
        counts.update(column[each.mask].tolist())
    first = chosen[0]
    axes = Plan.read(first.folder / PLAN_NAME).axes
    planned = tuple(
        PlannedCell(cell.index, dict(cell.attributes), cell.real, counts[cell.index], counts[cell.index])
        for cell in first.manifest.cells
    )
    records = [
        CellRecord.planned_only(cell.index, cell.levels, real=cell.real, wanted=cell.wanted, planned=cell.planned)
        for cell in planned
    ]
    return records, Plan(axes, planned, new.made_by, Budget())


def _column(chosen: ChosenSamples, name: str) -> NDArray[Any]:
    """Return a column of all samples of a folder."""
    parts = []
    for entry in chosen.manifest.shards:
        with ShardReader(inside(chosen.folder, entry.name)) as reader:
            parts.append(reader.column(name))
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _copy_candidates(out: Path, chosen: Iterable[ChosenSamples]) -> list[str]:
    """Write the rows of the tables of candidates whose images may be among the samples; return the files."""
    tables = [
        pd.read_csv(each.folder / CANDIDATES_NAME, dtype=str, keep_default_na=False)
        for each in chosen
        if each.manifest.entry(CANDIDATES_NAME) is not None
    ]
    if not tables:
        return []
    (out / CANDIDATES_NAME).parent.mkdir(exist_ok=True)
    pd.concat(tables, ignore_index=True).drop_duplicates().to_csv(out / CANDIDATES_NAME, index=False)
    return [CANDIDATES_NAME]
