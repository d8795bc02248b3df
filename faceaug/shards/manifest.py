"""The manifest of an output folder: everything else is reached from it, and everything in it is checked.

Its JSON Schema ships as `manifest.schema.json`; `python -m faceaug.shards.manifest` writes it anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from faceaug.errors import IntegrityError
from faceaug.shards.columns import Column
from faceaug.utils.files import write_bytes, write_json
from faceaug.utils.text import one_line, shown

FORMAT = "faceaug-manifest"
VERSION = 1
NAME = "manifest.json"
HASH_NAME = "manifest.sha256"
PLAN, TABLE, CROISSANT, CARD = "plan.json", "samples.parquet", "croissant.json", "README.md"
DERIVED = ("report.html", "report_files")  # can be made again, so the manifest does not list them


def _safe_name(name: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name:
        raise ValueError(f"the name {shown(name)} is not a plain path inside the folder")
    return name


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, AfterValidator(_safe_name)]
Count = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CreatedBy(_Strict):
    """What wrote the folder."""

    faceaug: str = Field(description="version of faceaug")
    command: str = Field(description="the command or function call that made it")
    recipe: str | None = Field(default=None, description="name of the recipe, where one was used")
    date: str = Field(default="", description="day on which the run began, UTC, YYYY-MM-DD")


class GeneratorRecord(_Strict):
    """The generator whose draws were edited."""

    name: str
    sha256: Sha256 = Field(description="of its weights")
    licence: str
    origin: str = ""


class ModelRecord(_Strict):
    """Something that took part and is known by its hash: directions, a probe."""

    name: str
    sha256: Sha256


class DatasetRecord(_Strict):
    """The data set that was balanced."""

    name: str
    fingerprint: Sha256 = Field(description="of its table: keys, labels and split")
    rows: Count = Field(description="images that were counted")
    reader: str = ""
    split: str | None = None


class FileEntry(_Strict):
    """A file of the folder."""

    name: Name = Field(description="path inside the folder, with slashes")
    sha256: Sha256
    bytes: Count


class ShardEntry(FileEntry):
    """A shard."""

    rows: Annotated[int, Field(ge=1)]


class CellRecord(_Strict):
    """One cell: what was there, wanted, planned, and what came of it."""

    index: Count
    attributes: dict[str, str] = Field(description="axis -> level")
    real: Count
    wanted: Count = Field(description="samples to add before limits")
    planned: Count
    accepted: Count = 0
    short: Count = Field(description="planned - accepted")
    tried: Count = Field(default=0, description="accepted + all rejected")
    rejected: dict[str, Count] = Field(default_factory=dict, description="reason -> number of attempts")
    note: str = Field(default="", description="why the cell ended short, and the nearest that was reached")

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
        """Return the record of a cell for which nothing was tried yet."""
        return cls(index=index, attributes=dict(attributes), real=real, wanted=wanted, planned=planned, short=planned)

    def with_account(self, accepted: int, rejected: Mapping[str, int], note: str) -> CellRecord:
        """Return the record with what came of the cell so far."""
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


class Totals(_Strict):
    """Sums over the cells."""

    real: Count
    planned: Count
    accepted: Count
    short: Count
    tried: Count
    rejected: dict[str, Count]

    @classmethod
    def of(cls, cells: Iterable[CellRecord]) -> Totals:
        """Add up `cells`; reasons in alphabetical order."""
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


class ManifestHeader(_Strict):
    """What is known before the first sample: who, from what, with which columns."""

    created_by: CreatedBy
    seed: Count
    generator: GeneratorRecord | None = Field(description="null when every sample is re-rendered")
    directions: ModelRecord | None = None
    probes: tuple[ModelRecord, ...] = ()
    dataset: DatasetRecord
    layout: Literal["blob", "raw"] = "blob"
    codec: Literal["jpeg", "png", "webp"] = "jpeg"
    columns: tuple[Column, ...]
    settings: dict[str, JsonValue] = Field(default_factory=dict, description="the options of the run")

    @model_validator(mode="after")
    def _check_columns(self) -> ManifestHeader:
        keys = [column.key for column in self.columns]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"columns {', '.join(twice)} are listed twice")
        return self


class Manifest(ManifestHeader):
    """The whole of manifest.json."""

    format: Literal["faceaug-manifest"] = "faceaug-manifest"
    version: Literal[1] = 1
    complete: bool = Field(description="false while the run goes on or was interrupted")
    fingerprint: str = Field(description="of the configuration; only a run with the same one may continue")
    shards: tuple[ShardEntry, ...] = ()
    files: tuple[FileEntry, ...] = Field(default=(), description="all other files but the derived report")
    cells: tuple[CellRecord, ...]
    totals: Totals
    measured: dict[str, JsonValue] = Field(
        default_factory=dict, description="what the run measured: accuracy of probes, R², seconds"
    )
    progress: JsonValue = Field(default=None, description="where an unfinished run stands; null once complete")

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
        if len(set(names)) != len(names) or NAME in names or HASH_NAME in names:
            raise ValueError("a file is listed twice, or the manifest lists itself")
        missing = sorted({PLAN, TABLE, CROISSANT, CARD} - set(names))
        if self.complete and missing:
            raise ValueError(f"the run is marked complete, but {', '.join(missing)} is not listed")
        if self.complete and self.progress is not None:
            raise ValueError("the run is marked complete, but progress is given")
        json.dumps([self.settings, self.measured, self.progress], allow_nan=False)  # ValueError names what is wrong
        return self

    def entry(self, name: str) -> FileEntry | None:
        """Return the entry of a file that is no shard, or None."""
        return next((entry for entry in self.files if entry.name == name), None)


def hash_line(data: bytes) -> str:
    """Return the line of manifest.sha256 for a manifest of these bytes (`sha256sum -c` reads it)."""
    return f"{hashlib.sha256(data).hexdigest()}  {NAME}\n"


def read_manifest(folder: Path | str) -> Manifest:
    """Read and check the manifest of an output folder.

    Raises
    ------
    IntegrityError
        When it is missing, does not match manifest.sha256, has an unknown version, or contradicts itself.
    """
    folder = Path(folder)
    data = _read(folder / NAME, "no output folder of faceaug is there")
    check_hash(folder, data)
    return parse_manifest(data, folder / NAME)


def check_hash(folder: Path, data: bytes) -> None:
    """Check manifest.json's bytes against manifest.sha256, or raise IntegrityError.

    Two lines stand there only while a manifest is being replaced, the new hash and then the old one: whichever of the
    two manifests an interruption leaves behind is known.
    """
    recorded = _read(folder / HASH_NAME, "the hash of the manifest")
    lines = recorded.decode("utf-8", "replace").splitlines(keepends=True)
    if len(lines) not in (1, 2) or hash_line(data) not in lines or any(not _is_hash_line(line) for line in lines):
        raise IntegrityError(
            f"{folder / NAME} does not match {HASH_NAME}: one of the two was changed or damaged; "
            "restore both from a copy or make the folder again"
        )


def _is_hash_line(line: str) -> bool:
    digest, tail = line[:64], line[64:]
    return tail == f"  {NAME}\n" and len(digest) == 64 and set(digest) <= set("0123456789abcdef")


def parse_manifest(data: bytes, path: Path) -> Manifest:
    """Parse manifest.json; see `read_manifest` for errors."""
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} is not JSON: {one_line(error)}") from error
    found = (value.get("format"), value.get("version")) if isinstance(value, dict) else (None, None)
    if found[0] != FORMAT:
        raise IntegrityError(f"{path} is no manifest of faceaug: its format is {shown(found[0])}, not {FORMAT!r}")
    if found[1] != VERSION or isinstance(found[1], bool):
        raise IntegrityError(
            f"{path} has version {shown(found[1])}; this faceaug knows version {VERSION}: use the faceaug that wrote it"
        )
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = one_line(".".join(map(str, first["loc"]))) + ": " if first["loc"] else ""
        raise IntegrityError(f"{path} is not sound: {where}{one_line(first['msg'], 300)}") from error


def write_manifest(folder: Path | str, manifest: Manifest) -> None:
    """Write manifest.json and manifest.sha256 so that an interruption at any point leaves a pair that matches."""
    folder = Path(folder)
    data = (json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    new = hash_line(data)
    path = folder / NAME
    if path.exists():
        write_bytes(folder / HASH_NAME, (new + hash_line(path.read_bytes())).encode())
    else:
        write_bytes(folder / HASH_NAME, new.encode())
    write_bytes(path, data)
    write_bytes(folder / HASH_NAME, new.encode())


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema of manifest.json."""
    schema = Manifest.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _read(path: Path, missing: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing: {missing}") from error
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read: {error.strerror or error}") from error


if __name__ == "__main__":
    write_json(Path(__file__).with_name("manifest.schema.json"), manifest_schema())
