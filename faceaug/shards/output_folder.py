"""The output folder while it is being written: one process at a time, whole after every shard, resumable.

>>> with OutputFolder.open(out, fingerprint, resume=True) as folder:  # doctest: +SKIP
...     if not folder.started:
...         folder.begin(header, cells, plan.to_dict())
...     for block in blocks_after(folder.manifest.progress):
...         samples, rejected = make(block)
...         folder.append(samples, {cell: CellState(n) for cell, n in rejected.items()}, progress=block.number)
...     folder.finish(measured={"seconds": 12.5})
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import JsonValue

from faceaug.errors import FaceaugError, OutputError
from faceaug.shards import lock as claim
from faceaug.shards import manifest as manifests
from faceaug.shards import writer
from faceaug.shards.columns import complete_columns
from faceaug.shards.croissant import croissant
from faceaug.shards.data_card import card
from faceaug.shards.lock import SHARDS
from faceaug.shards.manifest import (
    CARD,
    CROISSANT,
    PLAN,
    TABLE,
    CellRecord,
    FileEntry,
    Manifest,
    ManifestHeader,
    ModelRecord,
    Totals,
)
from faceaug.shards.partial import is_part, records_of, shard_name
from faceaug.shards.reader import ShardReader
from faceaug.shards.run_state import CellState, RunState
from faceaug.shards.samples_table import write_samples
from faceaug.shards.writer import MAX_BYTES, MAX_ROWS, EncodedSample, Sample
from faceaug.utils.files import inside, output_error, sha256_file, write_bytes, write_json

__all__ = ["CellState", "OutputFolder"]


class OutputFolder:
    """An output folder that this process writes.

    Samples are appended in blocks. What is on disk is whole at any time: the manifest lists its shards together with
    the state of the cells and the `progress` that were given with the last block in them, so that an interrupted run
    continues from exactly there. A shard that is not full yet is on disk as a part, which is written anew every
    `save_every` seconds and on leaving; the run takes it back when it resumes and replaces it in the end. So the shards
    of a finished run depend only on the blocks, and not on interruptions.
    """

    def __init__(self, path: Path, fingerprint: str, max_rows: int, max_bytes: int, save_every: float) -> None:
        self.path = path
        self._fingerprint = fingerprint
        self._max_rows, self._max_bytes, self._save_every = max_rows, max_bytes, save_every
        self._lock: claim.FolderLock | None = None
        self._state: RunState | None = None
        self._saved_at = time.monotonic()
        self._made = False

    @classmethod
    def open(
        cls,
        path: Path | str,
        fingerprint: str,
        *,
        resume: bool = False,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
        save_every: float = 60.0,
    ) -> OutputFolder:
        """Make or take over an output folder and lock it.

        Parameters
        ----------
        path : a folder that is absent, empty, or holds an unfinished run (with `resume`)
        fingerprint : of the configuration, any text; a folder of another one is refused
        resume : continue what is there; a folder with nothing in it is begun anew
        max_rows, max_bytes : when a shard is closed
        save_every : seconds after which appended samples are put on disk at the latest

        Raises
        ------
        OutputError
            When the folder is in use, holds something else or another configuration's run, or a run without `resume`.
        IntegrityError
            When what is there to be continued is damaged.
        """
        folder = cls(Path(path), fingerprint, max_rows, max_bytes, save_every)
        folder._made = claim.make_folder(folder.path)
        claim.refuse_foreign(folder.path)
        folder._lock = claim.FolderLock(folder.path)
        try:
            folder._take_over(resume)
        except BaseException:
            folder.close(save=False)
            raise
        return folder

    @property
    def started(self) -> bool:
        """Whether a manifest is there: `begin` was called, now or before an interruption."""
        return self._state is not None

    @property
    def manifest(self) -> Manifest:
        """The manifest as it is on disk."""
        return self._begun().manifest

    @property
    def complete(self) -> bool:
        """Whether the run is finished, and nothing is left to do."""
        return self._state is not None and self._state.manifest.complete

    def accepted(self) -> Counter[int]:
        """Return the number of samples in each cell, those included that are not on disk yet."""
        return self._begun().accepted()

    def readers(self) -> Iterator[ShardReader]:
        """Yield a reader of each shard and part on disk, closed again after use (for gates that know all samples)."""
        for entry in self.manifest.shards:
            with ShardReader(inside(self.path, entry.name)) as reader:
                yield reader

    def begin(self, header: ManifestHeader, cells: Sequence[CellRecord], plan: Mapping[str, Any]) -> None:
        """Write plan.json and the first manifest.

        Parameters
        ----------
        header : what is known before the first sample; its columns are completed, its date filled in
        cells : a record a cell, in order (`CellSummary.planned_only`)
        plan : the plan as JSON values
        """
        if self._state is not None:
            raise FaceaugError(f"{self.path} has been begun already")
        fields = dict(header)
        fields["columns"] = complete_columns(header.columns)
        if not header.created_by.date:
            fields["created_by"] = header.created_by.model_copy(update={"date": _today()})
        try:
            (self.path / SHARDS).mkdir(exist_ok=True)
        except OSError as error:
            raise output_error(self.path / SHARDS, error) from error
        write_json(self.path / PLAN, plan)
        manifest = Manifest(
            **fields,
            complete=False,
            fingerprint=self._fingerprint,
            files=(self._entry(PLAN),),
            cells=tuple(cells),
            totals=Totals.of(cells),
        )
        manifests.write_manifest(self.path, manifest)
        self._state = RunState(manifest)

    def describe(
        self, *, files: Iterable[str] = (), directions: ModelRecord | None = None, probes: Iterable[ModelRecord] = ()
    ) -> None:
        """Note what was learnt for the run, before the first sample; a resumed run may say the same again.

        Parameters
        ----------
        files : names of files that the caller has put into the folder; the manifest lists them with their hashes
        directions, probes : what they are, and their hashes

        Raises
        ------
        OutputError
            When samples are there that were made with something else.
        """
        self._require_open()
        entries = (self._entry(PLAN), *(self._entry(name) for name in files))
        changes = {"files": entries, "directions": directions, "probes": tuple(probes)}
        if all(getattr(self.manifest, name) == value for name, value in changes.items()):
            return
        if self.manifest.shards:
            raise OutputError(
                f"{self.path} holds samples that were made with other probes or directions than those at hand; "
                "start in another folder"
            )
        self._write(self._begun().altered(**changes))

    def append(
        self, samples: Iterable[Sample], cells: Mapping[int, CellState] | None = None, progress: JsonValue = None
    ) -> None:
        """Take a block of samples; shards are closed between blocks.

        Parameters
        ----------
        samples : the block's accepted samples; they are encoded at once and kept as bytes
        cells : the state of the cells after this block, counted from the start of the run; others keep theirs
        progress : where the run stands after this block, any JSON, found again as `manifest.progress`; None: no change
        """
        self._require_open()
        header = self.manifest
        block = [writer.prepare(sample, codec=header.codec, layout=header.layout) for sample in samples]
        writer.check_records(header.columns, block)
        state = self._begun()
        state.check(block)
        rows, size = len(state.pending) + len(block), state.size + sum(record.size for record in block)
        if state.pending and (rows > self._max_rows or size > self._max_bytes):
            self.commit()
        self._state = self._begun().extended(block, cells, progress)
        if time.monotonic() - self._saved_at >= self._save_every:
            self.save()

    def add_shard(
        self, samples: Iterable[Sample], cells: Mapping[int, CellState] | None = None, progress: JsonValue = None
    ) -> None:
        """Take samples and put everything on disk now, in one shard or as many as the limits ask for."""
        self.append(samples, cells, progress)
        self.commit()

    def update(self, cells: Mapping[int, CellState], progress: JsonValue = None) -> None:
        """Put the state of the cells on disk, with all samples taken so far."""
        self.append((), cells, progress)
        self.save()

    def commit(self) -> None:
        """Close the shard with what was appended."""
        state = self._begun()
        if state.changed or state.pending:
            groups = writer.split(state.pending, max_rows=self._max_rows, max_bytes=self._max_bytes)
            self._put(state, groups, part=False)

    def save(self) -> None:
        """Put on disk what was appended, as a part of the shard that it will be in."""
        state = self._begun()
        if state.changed:
            self._put(state, [state.pending] if state.pending else [], part=True)

    def _put(self, state: RunState, groups: Iterable[Sequence[EncodedSample]], part: bool) -> None:
        """Write shards (or a part) behind the full shards, then the manifest; then remove the part that was there."""
        old = state.manifest
        shards = [entry for entry in old.shards if not is_part(entry)]
        for number, records in enumerate(groups, len(shards)):
            path = self.path / SHARDS / shard_name(number, len(records) if part else None)
            shards.append(writer.write_records(path, records, old.columns, old.codec, old.layout))
        manifest = state.with_shards(shards)
        manifests.write_manifest(self.path, manifest)
        pending = state.pending if part else ()
        self._state = dataclasses.replace(state, manifest=manifest, pending=pending, saved=len(pending), changed=False)
        self._saved_at = time.monotonic()
        for name in {entry.name for entry in old.shards} - {entry.name for entry in shards}:
            inside(self.path, name).unlink(missing_ok=True)

    def finish(
        self, cells: Mapping[int, CellState] | None = None, measured: Mapping[str, JsonValue] | None = None
    ) -> Manifest:
        """Write samples.parquet, croissant.json and the data card, and mark the run complete.

        Parameters
        ----------
        cells : the last state of the cells
        measured : what the run measured, for the manifest

        Returns
        -------
        Manifest
        """
        self._require_open()
        if cells:
            self._state = self._begun().extended((), cells, None)
        self.commit()
        write_samples(self.path, self.manifest)
        table = self._entry(TABLE)
        write_json(self.path / CROISSANT, croissant(self.manifest, table))
        write_bytes(self.path / CARD, card(self.manifest, self.path.name).encode())
        files = (*self.manifest.files, table, self._entry(CROISSANT), self._entry(CARD))
        self._write(self._begun().altered(files=files, complete=True, progress=None, measured=dict(measured or {})))
        return self.manifest

    def close(self, save: bool = True) -> None:
        """Put on disk what was appended (unless `save` is False) and release the folder.

        A folder in which nothing was begun is left as it was found.
        """
        lock, self._lock = self._lock, None
        if lock is None or not lock.ours:  # closed already, or the copy that a child process got
            return
        try:
            if save and self.started and not self.complete:
                self.save()
        finally:
            if self._state is None:
                claim.clear_unstarted(self.path)
            lock.release()
            if self._made and self._state is None:
                with contextlib.suppress(OSError):  # not empty after all
                    self.path.rmdir()

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        with contextlib.suppress(FaceaugError):  # a disk that is full: what ended the run is told, not this
            self.close()

    def _take_over(self, resume: bool) -> None:
        if not (self.path / manifests.NAME).exists():
            claim.clear_leftovers(self.path, None)
            return
        found = manifests.read_manifest(self.path)
        claim.refuse_to_continue(self.path, found, self._fingerprint, resume)
        claim.clear_leftovers(self.path, {entry.name for entry in found.shards})
        if (self.path / manifests.HASH_NAME).read_text().count("\n") > 1:  # interrupted while the two were replaced
            manifests.write_manifest(self.path, found)
        pending: list[EncodedSample] = []
        for entry in filter(is_part, found.shards):
            with ShardReader(inside(self.path, entry.name)) as reader:
                pending += records_of(reader, found.columns)
        self._state = RunState.of(found, pending)

    def _begun(self) -> RunState:
        if self._state is None:
            raise FaceaugError(f"{self.path} has no manifest yet; call begin() first")
        return self._state

    def _require_open(self) -> None:
        if self._lock is None:
            raise FaceaugError(f"{self.path} is closed; open it again to write")
        if self.complete:
            raise FaceaugError(f"{self.path} is finished; nothing can be added")

    def _write(self, manifest: Manifest) -> None:
        manifests.write_manifest(self.path, manifest)
        self._state = dataclasses.replace(self._begun(), manifest=manifest)

    def _entry(self, name: str) -> FileEntry:
        path = inside(self.path, name)
        if not path.is_file():
            raise OutputError(f"{path} is missing and cannot be listed in the manifest")
        return FileEntry(name=name, sha256=sha256_file(path), bytes=path.stat().st_size)


def _today() -> str:
    """The day in UTC; SOURCE_DATE_EPOCH stands in for the clock where builds are to repeat."""
    stamp = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.datetime.now(datetime.timezone.utc)
    return (datetime.datetime.fromtimestamp(int(stamp), datetime.timezone.utc) if stamp else now).date().isoformat()
