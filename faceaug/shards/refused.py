"""Refused pictures that a run keeps to look at: a few of each cell and reason, which are no samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from faceaug.errors import IntegrityError
from faceaug.shards.manifest import Count, Manifest, PlainPath
from faceaug.utils.text import one_line

REFUSED_FOLDER, REFUSED_KEY = "refused", "refused_examples"


class RefusedRecord(BaseModel):
    """A refused picture: its cell and attempt, why it was refused, its file, and whether photographs are part of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell: Count
    attempt: Count
    reason: str
    from_photographs: bool
    file: PlainPath


_RECORDS = TypeAdapter(tuple[RefusedRecord, ...])


def refused_records(manifest: Manifest) -> tuple[RefusedRecord, ...]:
    """Return the refused pictures that a run has kept, those of an unfinished run included.

    Raises
    ------
    IntegrityError
        When the manifest lists them in another form.
    """
    state: Any = manifest.measured if manifest.complete else manifest.progress
    entries = state.get(REFUSED_KEY, ()) if isinstance(state, dict) else ()
    try:
        return _RECORDS.validate_python(entries)
    except ValidationError as error:
        raise IntegrityError(
            f"the refused pictures that the manifest lists cannot be read: {one_line(error)}"
        ) from error


def refused_file(cell: int, attempt: int) -> str:
    """Return the name of the file of a refused picture inside the output folder."""
    return f"{REFUSED_FOLDER}/{cell:04d}-{attempt:06d}.webp"


def is_refused_file(path: Path) -> bool:
    """Return whether a path inside an output folder is that of a refused picture."""
    return path.parts[:1] == (REFUSED_FOLDER,)
