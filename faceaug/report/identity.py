"""The comparison of samples with real people as it is kept beside the report: distances, and no embeddings."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from faceaug.errors import IntegrityError
from faceaug.identity.summary import IdentitySummary
from faceaug.report.people import replace_people
from faceaug.shards.manifest import REPORT_NAMES
from faceaug.utils.files import output_error, read_json, write_bytes, write_json
from faceaug.utils.text import one_line

IDENTITY_FILE = f"{REPORT_NAMES[1]}/identity.json"


def write_identity(out: Path, summary: IdentitySummary) -> Path:
    """Write a comparison into an output folder, from where reports read it, and into its report if there is one.

    The rest of the report stays as it is.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    OutputError
        When the folder cannot be written.
    """
    path = out / IDENTITY_FILE
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
    write_json(path, summary.model_dump(mode="json"))
    page = out / REPORT_NAMES[0]
    if page.exists():
        write_bytes(page, replace_people(page.read_text("utf-8"), summary).encode())
    return path


def read_identity(out: Path) -> IdentitySummary | None:
    """Return the comparison of an output folder; None where none was made.

    Raises
    ------
    IntegrityError
        When the file is damaged, or of another version.
    """
    path = out / IDENTITY_FILE
    if not path.exists():
        return None
    try:
        return IdentitySummary.model_validate(read_json(path, "a comparison with real people"))
    except ValidationError as error:
        raise IntegrityError(
            f"{path} cannot be read ({one_line(error)}); remove it, or compare again with faceaug compare"
        ) from error
