"""Pictures that were refused, a few of each cell and reason, which a run keeps to look at. They are no samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from faceaug.errors import IntegrityError
from faceaug.shards.manifest import Manifest
from faceaug.utils.files import atomic, inside
from faceaug.utils.text import one_line

REFUSED_NAME = "refused.parquet"
_SCHEMA = pa.schema(
    [
        ("cell", pa.int32()),
        ("attempt", pa.int64()),
        ("reason", pa.string()),
        ("from_photographs", pa.bool_()),
        ("image", pa.binary()),
    ]
)


@dataclass(frozen=True)
class RefusedPicture:
    """A picture that was refused.

    Attributes
    ----------
    cell, attempt : int
    reason : str
        The gate that refused it.
    from_photographs : bool
        Whether it was made from photographs, so that it may show a real person.
    image : bytes
        A reduced picture, as WebP.
    """

    cell: int
    attempt: int
    reason: str
    from_photographs: bool
    image: bytes


def write_refused(folder: Path, pictures: Sequence[RefusedPicture]) -> None:
    """Write the refused pictures of a run to its output folder.

    Raises
    ------
    OutputError
        When the folder cannot be written.
    """
    rows = [dict(zip(_SCHEMA.names, astuple(picture), strict=True)) for picture in pictures]
    with atomic(folder / REFUSED_NAME) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), temporary)


def read_refused(folder: Path, manifest: Manifest) -> tuple[RefusedPicture, ...]:
    """Return the refused pictures of an output folder; none where the manifest lists no such file.

    Raises
    ------
    IntegrityError
        When the file is missing or damaged, or names a cell that there is not.
    """
    if REFUSED_NAME not in {entry.name for entry in manifest.files}:
        return ()
    path = inside(folder, REFUSED_NAME)
    try:
        rows = pq.read_table(path, schema=_SCHEMA).to_pylist()
        pictures = tuple(RefusedPicture(**row) for row in rows)
        if any(None in row.values() or not 0 <= row["cell"] < len(manifest.cells) for row in rows):
            raise ValueError("a row lacks a value, or is of a cell that the manifest does not list")
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        raise IntegrityError(f"{path} cannot be read ({one_line(error)}); run faceaug verify") from error
    return pictures
