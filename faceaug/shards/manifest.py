"""The manifest of an output folder: it leads to every other file of the folder, and everything in it is checked.

Its JSON Schema ships as `manifest.schema.json`; `python -m faceaug.shards.manifest` writes that file anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from faceaug.errors import IntegrityError, OutputError
from faceaug.shards.columns import READ_VERSIONS, SHARD_VERSION, Column, is_read
from faceaug.utils.files import inside, parse_json, read_json, read_regular, sha256_file, write_bytes, write_json
from faceaug.utils.text import one_line, shown

MANIFEST_FORMAT = "faceaug-manifest"
MANIFEST_NAME = "manifest.json"
MANIFEST_HASH_NAME = "manifest.sha256"
PLAN_NAME = "plan.json"
MODELS_FOLDER = "models"
SAMPLES_NAME = "samples.parquet"
CROISSANT_NAME = "croissant.json"
DATA_CARD_NAME = "README.md"
REPORT_NAMES = ("report.html", "report_files")
"""What can be made again from the other files, so that the manifest does not list it."""
SHEET_NAME = re.compile(r"(faces|real|refused|strips)-\d{3,}\.webp|(cell|pairs)-\d{4,}\.png")
"""Pictures of a report, also of an earlier version; those that a new one does not have are removed."""


def _plain_path(name: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name:
        raise ValueError(f"the name {shown(name)} is not a plain path inside the folder")
    return name


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
PlainPath = Annotated[str, AfterValidator(_plain_path)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CreatedBy(_Record):
    """The program and the command that wrote the folder."""

    faceaug: str = Field(description="version of faceaug")
    command: str = Field(description="command or function call of the run")
    recipe: str | None = Field(default=None, description="name of the recipe; null without one")
    date: str = Field(default="", description="day on which the run began, UTC, YYYY-MM-DD")


class GeneratorRecord(_Record):
    """The generator whose samples were edited."""

    name: str
    sha256: Sha256 = Field(description="of its weights")
    licence: str
    origin: str = ""
    w_dim: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="width of the latents in every shard; null where the shards say it"
    )


class ModelRecord(_Record):
    """A model or a set of directions that the run used, identified by its hash."""

    name: str
    sha256: Sha256


class DatasetRecord(_Record):
    """The data set that was balanced."""

    name: str
    fingerprint: Sha256 = Field(description="of its table: keys, labels and split")
    images: Sha256 | None = Field(default=None, description="of the files of its images, in their order")
    rows: Count = Field(description="images that were counted")
    reader: str = ""
    split: str | None = None
    follow_links: bool = Field(default=False, description="whether links to images outside of its folder were followed")


class FileEntry(_Record):
    """A file of the folder."""

    name: PlainPath = Field(description="path inside the folder, with slashes")
    sha256: Sha256
    bytes: Count


class ShardEntry(FileEntry):
    """A shard."""

    rows: Annotated[int, Field(ge=1)]


class CellRecord(_Record):
    """One cell: its real images, the samples wanted and planned, and the outcome."""

    index: Count
    attributes: dict[str, str] = Field(description="axis to level")
    real: Count
    wanted: Count = Field(description="samples to add before the budget applies")
    planned: Count
    accepted: Count = 0
    short: Count = Field(description="planned - accepted")
    tried: Count = Field(default=0, description="accepted + all rejected attempts")
    rejected: dict[str, Count] = Field(default_factory=dict, description="reason to number of attempts")
    note: str = Field(default="", description="why the cell ended short, and how near it came")

    @model_validator(mode="after")
    def _check(self) -> CellRecord:
        if self.planned != self.accepted + self.short:
            raise ValueError(
                f"cell {self.index}: planned {self.planned} is not accepted {self.accepted} + short {self.short}"
            )
        rejected = sum(self.rejected.values())
        if self.tried != self.accepted + rejected:
            raise ValueError(
                f"cell {self.index}: tried {self.tried} is not accepted {self.accepted} + rejected {rejected}"
            )
        return self

    @classmethod
    def planned_only(
        cls, index: int, attributes: Mapping[str, str], *, real: int, wanted: int, planned: int
    ) -> CellRecord:
        """Return the record of a cell before its first attempt."""
        return cls(index=index, attributes=dict(attributes), real=real, wanted=wanted, planned=planned, short=planned)

    def with_outcome(self, accepted: int, rejected: Mapping[str, int], note: str) -> CellRecord:
        """Return the record with the outcome of the attempts so far."""
        counts = {reason: int(count) for reason, count in sorted(rejected.items()) if count}
        return CellRecord(
            index=self.index,
            attributes=self.attributes,
            real=self.real,
            wanted=self.wanted,
            planned=self.planned,
            accepted=accepted,
            short=self.planned - accepted,
            tried=accepted + sum(counts.values()),
            rejected=counts,
            note=note,
        )


class Totals(_Record):
    """Sums over the cells."""

    real: Count
    planned: Count
    accepted: Count
    short: Count
    tried: Count
    rejected: dict[str, Count]

    @classmethod
    def of(cls, cells: Iterable[CellRecord]) -> Totals:
        """Return the sums over `cells`, with reasons in alphabetical order."""
        cells = list(cells)
        reasons = sorted({reason for cell in cells for reason in cell.rejected})
        return cls(
            real=sum(c.real for c in cells),
            planned=sum(c.planned for c in cells),
            accepted=sum(c.accepted for c in cells),
            short=sum(c.short for c in cells),
            tried=sum(c.tried for c in cells),
            rejected={reason: sum(c.rejected.get(reason, 0) for c in cells) for reason in reasons},
        )


class ManifestHeader(_Record):
    """The part of the manifest that is known before the first sample."""

    created_by: CreatedBy
    seed: Count
    generator: GeneratorRecord | None = Field(description="null where every sample is rerendered")
    directions: ModelRecord | None = None
    classifiers: tuple[ModelRecord, ...] = ()
    dataset: DatasetRecord
    layout: Literal["blob", "raw"] = "blob"
    codec: Literal["jpeg", "png", "webp"] = "jpeg"
    columns: tuple[Column, ...]
    config: dict[str, JsonValue] = Field(default_factory=dict, description="options of the run")

    @model_validator(mode="after")
    def _check_columns(self) -> ManifestHeader:
        keys = [column.key for column in self.columns]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        if repeated:
            raise ValueError(f"columns {', '.join(repeated)} are listed twice")
        return self


class Manifest(ManifestHeader):
    """The whole of manifest.json."""

    format: Literal["faceaug-manifest"] = "faceaug-manifest"
    version: Literal[2, 3] = Field(default=SHARD_VERSION, description="of the manifest and of the shards that it lists")
    complete: bool = Field(description="false while the run goes on or was interrupted")
    fingerprint: str = Field(description="hash of the configuration; only a run with the same one may continue")
    shards: tuple[ShardEntry, ...] = ()
    files: tuple[FileEntry, ...] = Field(default=(), description="all other files except the report")
    cells: tuple[CellRecord, ...]
    totals: Totals
    measured: dict[str, JsonValue] = Field(
        default_factory=dict, description="what the run measured: accuracy of classifiers, R² of directions, seconds"
    )
    progress: JsonValue = Field(default=None, description="position of an unfinished run; null once it is complete")

    @model_validator(mode="after")
    def _check(self) -> Manifest:
        if [cell.index for cell in self.cells] != list(range(len(self.cells))):
            raise ValueError("the cells are not numbered 0, 1, 2 ... in order")
        if self.totals != Totals.of(self.cells):
            raise ValueError("the totals are not the sums over the cells")
        rows = sum(shard.rows for shard in self.shards)
        if rows != self.totals.accepted:
            raise ValueError(f"the shards hold {rows} samples, but the cells account for {self.totals.accepted}")
        names = [entry.name for entry in (*self.shards, *self.files)]
        if len(set(names)) != len(names) or MANIFEST_NAME in names or MANIFEST_HASH_NAME in names:
            raise ValueError("a file is listed twice, or the manifest lists itself")
        missing = sorted({PLAN_NAME, SAMPLES_NAME, CROISSANT_NAME, DATA_CARD_NAME} - set(names))
        if self.complete and missing:
            raise ValueError(f"the run is marked complete, but {', '.join(missing)} is not listed")
        if self.complete and self.progress is not None:
            raise ValueError("the run is marked complete, but progress is given")
        json.dumps([self.config, self.measured, self.progress], allow_nan=False)  # raises ValueError on NaN
        return self

    def entry(self, name: str) -> FileEntry | None:
        """Return the entry of a file other than a shard, or None."""
        return next((entry for entry in self.files if entry.name == name), None)


def file_entry(folder: Path, name: str) -> FileEntry:
    """Return the entry of a file in an output folder.

    Raises
    ------
    IntegrityError
        When the name leads out of the folder.
    OutputError
        When the file is missing.
    """
    path = inside(folder, name)
    if not path.is_file():
        raise OutputError(f"{path} is missing and cannot be listed in the manifest")
    return FileEntry(name=name, sha256=sha256_file(path), bytes=path.stat().st_size)


def hash_line(data: bytes) -> str:
    """Return the line of manifest.sha256 for a manifest of these bytes, in the form that `sha256sum -c` reads."""
    return f"{hashlib.sha256(data).hexdigest()}  {MANIFEST_NAME}\n"


def read_manifest(folder: Path | str) -> Manifest:
    """Read and check the manifest of an output folder.

    Raises
    ------
    IntegrityError
        When it is missing, does not match manifest.sha256, has another version, or contradicts itself.
    """
    folder = Path(folder)
    data = read_manifest_bytes(folder)
    check_hash(folder, data)
    return parse_manifest(data, folder / MANIFEST_NAME)


def read_manifest_bytes(folder: Path) -> bytes:
    """Return the bytes of the manifest of a folder; IntegrityError when they cannot be read."""
    return _read(folder / MANIFEST_NAME, "no output folder of faceaug is there")


def stated_format(folder: Path) -> Any:
    """Return the format that the manifest of a folder states, of whatever version; None where it states none.

    Raises
    ------
    IntegrityError
        When there is no manifest that can be read as JSON.
    """
    value = read_json(inside(folder, MANIFEST_NAME), "the manifest")
    return value.get("format") if isinstance(value, dict) else None


def check_hash(folder: Path, data: bytes) -> None:
    """Check the bytes of manifest.json against manifest.sha256.

    The file has two lines while a manifest is being replaced: the new hash, then the old one. After an interruption
    either manifest therefore matches.

    Raises
    ------
    IntegrityError
        When manifest.sha256 is missing or does not match.
    """
    recorded = _read(folder / MANIFEST_HASH_NAME, "the file with the hash of the manifest")
    lines = recorded.decode("utf-8", "replace").splitlines(keepends=True)
    if len(lines) not in (1, 2) or hash_line(data) not in lines or any(not _is_hash_line(line) for line in lines):
        raise IntegrityError(
            f"{folder / MANIFEST_NAME} does not match {MANIFEST_HASH_NAME}: one of the two files was changed or "
            "damaged; restore both from a copy, or write the folder anew"
        )


def _is_hash_line(line: str) -> bool:
    digest, tail = line[:64], line[64:]
    return tail == f"  {MANIFEST_NAME}\n" and len(digest) == 64 and set(digest) <= set("0123456789abcdef")


def parse_manifest(data: bytes, path: Path) -> Manifest:
    """Parse the bytes of manifest.json; `read_manifest` lists the errors."""
    try:
        value: Any = parse_json(data)
    except ValueError as error:
        raise IntegrityError(f"{path} is not JSON: {one_line(error)}") from error
    stated, version = (value.get("format"), value.get("version")) if isinstance(value, dict) else (None, None)
    if stated != MANIFEST_FORMAT:
        raise IntegrityError(
            f"{path} is no manifest of faceaug: its format is {shown(stated)}, not {MANIFEST_FORMAT!r}"
        )
    if not is_read(version):
        raise IntegrityError(
            f"{path} has version {shown(version)}, and this faceaug reads {READ_VERSIONS}; write the folder "
            "anew with this version, or read it with the version that wrote it"
        )
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = one_line(".".join(map(str, first["loc"]))) + ": " if first["loc"] else ""
        raise IntegrityError(f"{path} is not valid: {place}{one_line(first['msg'], 300)}") from error


def write_manifest(folder: Path | str, manifest: Manifest) -> None:
    """Write manifest.json and manifest.sha256.

    After an interruption at any point, the two files on disk match.

    Raises
    ------
    OutputError
        When the folder cannot be written.
    """
    folder = Path(folder)
    data = (json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    new = hash_line(data)
    path = folder / MANIFEST_NAME
    if path.exists():
        write_bytes(folder / MANIFEST_HASH_NAME, (new + hash_line(path.read_bytes())).encode())
    else:
        write_bytes(folder / MANIFEST_HASH_NAME, new.encode())
    write_bytes(path, data)
    write_bytes(folder / MANIFEST_HASH_NAME, new.encode())


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema of manifest.json."""
    schema = Manifest.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _read(path: Path, missing: str) -> bytes:
    """Return the bytes of a file of a folder, which no link may lead out of."""
    try:
        return read_regular(inside(path.parent, path.name))
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing: {missing}") from error
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read: {error.strerror or error}") from error


if __name__ == "__main__":
    write_json(Path(__file__).with_name("manifest.schema.json"), manifest_schema())
