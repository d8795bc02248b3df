"""The output folder while it is written: by one process at a time, valid after every shard, resumable.

>>> with OutputFolder.open(out, fingerprint, resume=True) as folder:  # doctest: +SKIP
...     if not folder.started:
...         folder.begin(header, cells, plan.to_dict())
...     for block in blocks_after(folder.manifest.progress):
...         samples, rejected = compute(block)
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
from faceaug.shards import takeover, writer
from faceaug.shards.columns import complete_columns
from faceaug.shards.description.croissant import croissant_description
from faceaug.shards.description.data_card import data_card
from faceaug.shards.description.samples_table import write_samples_table
from faceaug.shards.lock import FolderLock
from faceaug.shards.manifest import (
    CROISSANT_NAME,
    DATA_CARD_NAME,
    MANIFEST_HASH_NAME,
    MANIFEST_NAME,
    PLAN_NAME,
    SAMPLES_NAME,
    CellRecord,
    Manifest,
    ManifestHeader,
    ModelRecord,
    Totals,
    file_entry,
    read_manifest,
    write_manifest,
)
from faceaug.shards.partial import is_part, read_encoded_samples, shard_name
from faceaug.shards.reader import ShardReader
from faceaug.shards.run_state import CellState, RunState
from faceaug.shards.takeover import SHARDS_FOLDER
from faceaug.shards.writer import MAX_SHARD_BYTES, MAX_SHARD_ROWS, EncodedSample, Sample
from faceaug.utils.files import inside, output_error, write_bytes, write_json


class OutputFolder:
    """An output folder that this process writes.

    Samples are appended in blocks. The folder on disk is valid at any time: the manifest lists the shards together with
    the state of the cells and the `progress` that belong to their last block, and an interrupted run continues exactly
    from there. A shard that is not full yet is stored as a part, which is written anew every `save_every` seconds and
    when the folder is closed. A resumed run reads the part back and finally replaces it. The shards of a finished run
    therefore depend on the blocks only, and not on interruptions.
    """

    def __init__(self, path: Path, fingerprint: str, max_rows: int, max_bytes: int, save_every: float) -> None:
        self.path = path
        self._fingerprint = fingerprint
        self._max_rows, self._max_bytes, self._save_every = max_rows, max_bytes, save_every
        self._lock: FolderLock | None = None
        self._state: RunState | None = None
        self._saved_at = time.monotonic()
        self._created = False

    @classmethod
    def open(
        cls,
        path: Path | str,
        fingerprint: str,
        *,
        resume: bool = False,
        max_rows: int = MAX_SHARD_ROWS,
        max_bytes: int = MAX_SHARD_BYTES,
        save_every: float = 60.0,
    ) -> OutputFolder:
        """Create or take over an output folder, and lock it.

        Parameters
        ----------
        path : path
            A folder that is absent or empty, or that has an unfinished run (with `resume`).
        fingerprint : str
            Hash of the configuration. A folder with another one is refused.
        resume : bool
            Whether to continue the run in the folder; without a run in it, a new one starts.
        max_rows, max_bytes : int
            Size at which a shard is closed.
        save_every : float
            Seconds after which appended samples are on disk at the latest.

        Returns
        -------
        OutputFolder

        Raises
        ------
        OutputError
            When the folder is in use, has other content or the run of another configuration, or has a run and `resume`
            is False.
        IntegrityError
            When the run to continue is damaged.
        """
        folder = cls(Path(path), fingerprint, max_rows, max_bytes, save_every)
        folder._created = takeover.create_folder(folder.path)
        takeover.refuse_foreign_folder(folder.path)
        folder._lock = FolderLock(folder.path)
        try:
            folder._take_over(resume)
        except BaseException:
            folder.close(save=False)
            raise
        return folder

    @property
    def started(self) -> bool:
        """Whether there is a manifest: `begin` was called, now or before an interruption."""
        return self._state is not None

    @property
    def manifest(self) -> Manifest:
        """The manifest as it is on disk."""
        return self._current().manifest

    @property
    def complete(self) -> bool:
        """Whether the run is finished."""
        return self._state is not None and self._state.manifest.complete

    def accepted(self) -> Counter[int]:
        """Return the number of samples of each cell, including those that are not on disk yet."""
        return self._current().accepted()

    def readers(self) -> Iterator[ShardReader]:
        """Yield a reader of each shard and part on disk, which is closed after use."""
        for entry in self.manifest.shards:
            with ShardReader(inside(self.path, entry.name)) as reader:
                yield reader

    def begin(self, header: ManifestHeader, cells: Sequence[CellRecord], plan: Mapping[str, Any]) -> None:
        """Write plan.json and the first manifest.

        Parameters
        ----------
        header : ManifestHeader
            Its columns are completed, and its date is filled in.
        cells : sequence of CellRecord
            One per cell, in order, from `CellRecord.planned_only`.
        plan : mapping
            The plan as JSON values.

        Raises
        ------
        FaceaugError
            When the run has begun already.
        OutputError
            When the folder cannot be written.
        """
        if self._state is not None:
            raise FaceaugError(f"{self.path} has begun already")
        fields = dict(header)
        fields["columns"] = complete_columns(header.columns)
        if not header.created_by.date:
            fields["created_by"] = header.created_by.model_copy(update={"date": _today()})
        try:
            (self.path / SHARDS_FOLDER).mkdir(exist_ok=True)
        except OSError as error:
            raise output_error(self.path / SHARDS_FOLDER, error) from error
        write_json(self.path / PLAN_NAME, plan)
        manifest = Manifest(
            **fields,
            complete=False,
            fingerprint=self._fingerprint,
            files=(file_entry(self.path, PLAN_NAME),),
            cells=tuple(cells),
            totals=Totals.of(cells),
        )
        write_manifest(self.path, manifest)
        self._state = RunState.from_manifest(manifest, ())

    def describe(
        self,
        *,
        files: Iterable[str] = (),
        directions: ModelRecord | None = None,
        classifiers: Iterable[ModelRecord] = (),
    ) -> None:
        """Record the fitted models of the run, before the first sample; a resumed run may record the same again.

        Parameters
        ----------
        files : iterable of str
            Names of files that the caller has written to the folder; the manifest lists them with their hashes.
        directions : ModelRecord, optional
        classifiers : iterable of ModelRecord

        Raises
        ------
        OutputError
            When the folder has samples that were made with other models, or a file is missing.
        """
        self._require_open()
        entries = (file_entry(self.path, PLAN_NAME), *(file_entry(self.path, name) for name in files))
        changes = {"files": entries, "directions": directions, "classifiers": tuple(classifiers)}
        if all(getattr(self.manifest, name) == value for name, value in changes.items()):
            return
        if self.manifest.shards:
            raise OutputError(
                f"{self.path} has samples that were made with other classifiers or directions than the present ones; "
                "start in another folder"
            )
        self._replace_manifest(self._current().with_changes(**changes))

    def append(
        self, samples: Iterable[Sample], cells: Mapping[int, CellState] | None = None, progress: JsonValue = None
    ) -> None:
        """Append a block of samples; shards are closed between blocks.

        Parameters
        ----------
        samples : iterable of Sample
            Accepted samples of the block. They are encoded at once and kept as bytes.
        cells : mapping of int to CellState, optional
            State of cells after this block, counted from the start of the run; other cells keep theirs.
        progress : JSON value, optional
            Changes of the position of the run (`manifest.progress`) by this block; see `RunState.extended`.

        Raises
        ------
        FaceaugError
            When a sample does not fit the columns or the plan; none of the block is taken then.
        OutputError
            When the folder cannot be written.
        """
        self._require_open()
        header = self.manifest
        block = [writer.encode_sample(sample, codec=header.codec, layout=header.layout) for sample in samples]
        writer.check_samples(header.columns, block)
        state = self._current()
        state.check(block)
        rows, size = len(state.pending) + len(block), state.size + sum(sample.size for sample in block)
        if state.pending and (rows > self._max_rows or size > self._max_bytes):
            self.commit()
        self._state = self._current().extended(block, cells, progress)
        if time.monotonic() - self._saved_at >= self._save_every:
            self.save()

    def update(self, cells: Mapping[int, CellState], progress: JsonValue = None) -> None:
        """Write the state of the cells to disk, with all samples appended so far."""
        self.append((), cells, progress)
        self.save()

    def commit(self) -> None:
        """Close the shard with the appended samples."""
        state = self._current()
        if state.changed or state.pending:
            groups = writer.split_into_shards(state.pending, max_rows=self._max_rows, max_bytes=self._max_bytes)
            self._write_shards(state, groups, as_part=False)

    def save(self) -> None:
        """Write the appended samples to disk, as a part of the shard that will contain them."""
        state = self._current()
        if state.changed:
            self._write_shards(state, [state.pending] if state.pending else [], as_part=True)

    def _write_shards(self, state: RunState, groups: Iterable[Sequence[EncodedSample]], as_part: bool) -> None:
        """Write shards (or a part) after the full shards, then the manifest; finally remove the previous part."""
        old = state.manifest
        shards = [entry for entry in old.shards if not is_part(entry)]
        for number, samples in enumerate(groups, len(shards)):
            path = self.path / SHARDS_FOLDER / shard_name(number, len(samples) if as_part else None)
            width = old.generator.w_dim if old.generator else None
            shards.append(writer.write_encoded(path, samples, old.columns, old.codec, old.layout, width))
        manifest = state.with_shards(shards)
        write_manifest(self.path, manifest)
        self._state = state.written(manifest, as_part)
        self._saved_at = time.monotonic()
        for name in {entry.name for entry in old.shards} - {entry.name for entry in shards}:
            inside(self.path, name).unlink(missing_ok=True)

    def finish(
        self,
        cells: Mapping[int, CellState] | None = None,
        measured: Mapping[str, JsonValue] | None = None,
        files: Iterable[str] = (),
    ) -> Manifest:
        """Write samples.parquet, croissant.json and the data card, and mark the run complete.

        Parameters
        ----------
        cells : mapping of int to CellState, optional
            Final state of cells; others keep theirs.
        measured : mapping of str to JSON value, optional
            What the run measured, for the manifest.
        files : iterable of str
            Further files that the caller has written to the folder.

        Returns
        -------
        Manifest

        Raises
        ------
        OutputError
            When the folder cannot be written.
        """
        self._require_open()
        if cells:
            self._state = self._current().extended((), cells, None)
        self.commit()
        write_samples_table(self.path, self.manifest)
        table = file_entry(self.path, SAMPLES_NAME)
        write_json(self.path / CROISSANT_NAME, croissant_description(self.manifest, table))
        described = self.manifest.model_copy(update={"measured": dict(measured or {})})
        write_bytes(self.path / DATA_CARD_NAME, data_card(described, self.path.name).encode())
        others = [file_entry(self.path, name) for name in (CROISSANT_NAME, DATA_CARD_NAME, *files)]
        listed = (*described.files, table, *others)
        final = self._current().with_changes(files=listed, complete=True, progress=None, measured=described.measured)
        takeover.remove_blocks(self.path)  # of an interruption, where the run was continued by another executor
        self._replace_manifest(final)
        return self.manifest

    def close(self, save: bool = True) -> None:
        """Write the appended samples to disk (unless `save` is False) and release the folder.

        A folder in which no run has begun is left as it was.
        """
        lock, self._lock = self._lock, None
        if lock is None or not lock.ours:  # closed already, or a copy in a child process
            return
        try:
            if save and self.started and not self.complete:
                self.save()
        finally:
            if self._state is None:
                takeover.clear_unstarted_run(self.path)
            lock.release()
            if self._created and self._state is None:
                with contextlib.suppress(OSError):  # the folder is not empty
                    self.path.rmdir()

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        with contextlib.suppress(FaceaugError):  # the error that ended the run is raised, not a second one
            self.close()

    def _take_over(self, resume: bool) -> None:
        if not (self.path / MANIFEST_NAME).exists():
            takeover.clear_leftovers(self.path, None)
            return
        manifest = read_manifest(self.path)
        takeover.refuse_other_run(self.path, manifest, self._fingerprint, resume)
        takeover.clear_leftovers(self.path, {entry.name for entry in manifest.shards})
        if (self.path / MANIFEST_HASH_NAME).read_text().count("\n") > 1:  # interrupted while both files were replaced
            write_manifest(self.path, manifest)
        pending: list[EncodedSample] = []
        for entry in filter(is_part, manifest.shards):
            with ShardReader(inside(self.path, entry.name)) as reader:
                pending += read_encoded_samples(reader, manifest.columns)
        self._state = RunState.from_manifest(manifest, pending)

    def _current(self) -> RunState:
        if self._state is None:
            raise FaceaugError(f"{self.path} has no manifest yet; call begin() first")
        return self._state

    def _require_open(self) -> None:
        if self._lock is None:
            raise FaceaugError(f"{self.path} is closed; open it again to write")
        if self.complete:
            raise FaceaugError(f"{self.path} is finished; nothing can be added")

    def _replace_manifest(self, manifest: Manifest) -> None:
        write_manifest(self.path, manifest)
        self._state = dataclasses.replace(self._current(), manifest=manifest)


def _today() -> str:
    """Return the day in UTC; SOURCE_DATE_EPOCH replaces the clock, for builds that have to be reproducible."""
    stamp = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.datetime.now(datetime.timezone.utc)
    return (datetime.datetime.fromtimestamp(int(stamp), datetime.timezone.utc) if stamp else now).date().isoformat()
