"""Read a whole output folder again and report every problem with its file, shard and row."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from faceaug.errors import IntegrityError
from faceaug.shards.description.samples_table import read_samples_table
from faceaug.shards.description.signature import (
    SIGNATURE_NAME,
    check_signature,
    read_private_key,
    read_public_key,
    write_signature,
)
from faceaug.shards.manifest import (
    MANIFEST_HASH_NAME,
    MANIFEST_NAME,
    PLAN_NAME,
    REPORT_NAMES,
    SAMPLES_NAME,
    FileEntry,
    Manifest,
    check_hash,
    parse_manifest,
    read_manifest_bytes,
)
from faceaug.shards.shard_checks import ShardContent, ShardProblem, check_shard, check_table
from faceaug.utils.files import inside, read_json, sha256_file
from faceaug.utils.threads import Progress


@dataclasses.dataclass(frozen=True)
class VerifyReport:
    """Result of `verify`.

    Attributes
    ----------
    problems : tuple of ShardProblem
        Each has the file, a sentence and, where known, shard and row.
    rows : int
        Samples that the manifest lists.
    complete : bool
        False for a run that goes on or was interrupted; such a folder can be valid too.
    notes : tuple of str
        Remarks that are no problems.
    """

    problems: tuple[ShardProblem, ...]
    rows: int
    complete: bool
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "ok": self.ok,
            "complete": self.complete,
            "rows": self.rows,
            "problems": [dataclasses.asdict(problem) for problem in self.problems],
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Return the report as text: a line per problem and note, then the outcome."""
        lines = [str(problem) for problem in self.problems] + [f"note: {note}" for note in self.notes]
        count = len(self.problems)
        outcome = "sound" if self.ok else f"{count} problem{'s' if count > 1 else ''}"
        state = "" if self.complete else "; the run is unfinished"
        return "\n".join([*lines, f"{outcome}: {self.rows} samples{state}"])


def verify(folder: Path | str, progress: Progress | None = None, public_key: Path | None = None) -> VerifyReport:
    """Read everything in an output folder again: every file, every image, every number.

    Parameters
    ----------
    folder : path
        The output folder.
    progress : callable (samples), optional
        Called with the number of samples that were just checked.
    public_key : path, optional
        An Ed25519 key in PEM, which must have signed the folder (`sign_output`).

    Returns
    -------
    VerifyReport
        Damage is reported and never raised. An unfinished run is accepted when its files are valid.

    Raises
    ------
    UsageError
        When `public_key` is no such key, or the package cryptography is not installed.
    """
    folder, key = Path(folder), public_key and read_public_key(public_key)
    problems: list[ShardProblem] = []
    try:
        data = read_manifest_bytes(folder)
    except IntegrityError as error:
        return VerifyReport((ShardProblem(MANIFEST_NAME, str(error)),), 0, False)
    try:
        check_hash(folder, data)
    except IntegrityError as error:
        problems.append(ShardProblem(MANIFEST_HASH_NAME, str(error)))
    if key:
        try:
            check_signature(folder, data, key)
        except IntegrityError as error:
            problems.append(ShardProblem(SIGNATURE_NAME, str(error)))
    try:
        manifest = parse_manifest(data, folder / MANIFEST_NAME)
    except IntegrityError as error:
        return VerifyReport((*problems, ShardProblem(MANIFEST_NAME, str(error))), 0, False)
    contents = _check_files(folder, manifest, problems, progress)
    problems += _check_cells(contents, manifest)
    notes = _unlisted(folder, manifest, problems)
    if not key and (folder / SIGNATURE_NAME).exists():
        notes.append(f"{SIGNATURE_NAME} was not checked: that needs the public key of who signed the folder (--key)")
    return VerifyReport(tuple(problems), sum(s.rows for s in manifest.shards), manifest.complete, tuple(notes))


def sign_output(folder: Path, private_key: Path, progress: Progress | None = None) -> None:
    """Verify a finished output folder, and sign its manifest with an Ed25519 key in PEM.

    Raises
    ------
    UsageError
        When there is no such key, or the package cryptography is not installed.
    IntegrityError
        When the folder is damaged or its run is unfinished.
    OutputError
        When the folder cannot be written.
    """
    key, data = read_private_key(private_key), read_manifest_bytes(folder)
    report = verify(folder, progress)
    if not report.ok:
        raise IntegrityError(
            f"{folder} is damaged and is not signed: {report.problems[0]}; faceaug verify names it all"
        )
    if not report.complete:
        raise IntegrityError(f"the run in {folder} is unfinished: end it with --resume, and sign what it gives")
    write_signature(folder, data, key)


def _check_files(
    folder: Path, manifest: Manifest, problems: list[ShardProblem], progress: Progress | None
) -> list[ShardContent]:
    """Check every listed file and return the content of the shards."""
    contents = []
    for entry in manifest.shards:
        path, problem = _check_file(folder, entry)
        content = ShardContent(entry)
        if path is not None:  # also with a wrong hash: the content shows where the damage is
            content = check_shard(path, entry, manifest)
        contents.append(content)
        problems += ([problem] if problem else []) + content.problems
        if progress is not None:
            progress(entry.rows)
    for listed in manifest.files:
        path, problem = _check_file(folder, listed)
        problems += [problem] if problem else []
        if path is not None and listed.name == SAMPLES_NAME:
            problems += _check_samples(path, contents, manifest)
        elif path is not None and listed.name == PLAN_NAME:
            problems += _check_plan(path, manifest)
    return contents


def _check_file(folder: Path, entry: FileEntry) -> tuple[Path | None, ShardProblem | None]:
    """Return the path of a listed file (None when it cannot be read) and its problem, if any."""
    try:
        path = inside(folder, entry.name)
        if not path.is_file():
            return None, ShardProblem(entry.name, "is missing" if not path.exists() else "is not a file")
        size = path.stat().st_size
        if size != entry.bytes:
            return path, ShardProblem(entry.name, f"has {size} bytes, the manifest says {entry.bytes}")
        if sha256_file(path) != entry.sha256:
            return path, ShardProblem(entry.name, "has a SHA-256 other than the one in the manifest")
    except IntegrityError as error:
        return None, ShardProblem(entry.name, str(error))
    except OSError as error:
        return None, ShardProblem(entry.name, f"cannot be read ({error.strerror or error})")
    return path, None


def _check_samples(path: Path, contents: list[ShardContent], manifest: Manifest) -> list[ShardProblem]:
    try:
        return check_table(read_samples_table(path), contents, manifest)
    except IntegrityError as error:
        return [ShardProblem(SAMPLES_NAME, str(error))]


def _check_plan(path: Path, manifest: Manifest) -> list[ShardProblem]:
    """Check that the cells of the plan are those of the manifest."""
    try:
        cells = [
            (cell["index"], cell["levels"], cell["real"], cell["wanted"], cell["planned"])
            for cell in read_json(path, "the plan", document=True)["cells"]
        ]
    except IntegrityError as error:
        return [ShardProblem(PLAN_NAME, str(error))]
    except (KeyError, TypeError):
        return [
            ShardProblem(
                PLAN_NAME, "is not a plan of faceaug: it has no cells with index, levels, real, wanted, planned"
            )
        ]
    expected = [(c.index, c.attributes, c.real, c.wanted, c.planned) for c in manifest.cells]
    return [] if cells == expected else [ShardProblem(PLAN_NAME, "its cells are not those of the manifest")]


def _check_cells(contents: list[ShardContent], manifest: Manifest) -> list[ShardProblem]:
    """Check that the shards have the samples that each cell accounts for, and no sample twice."""
    if any("cell" not in content.columns or "seed" not in content.columns for content in contents):
        return []  # reported already
    counts: Counter[int] = Counter()
    first: dict[tuple[int, int], str] = {}
    problems = []
    for content in contents:
        name = content.entry.name
        for row, (cell, seed) in enumerate(zip(content.columns["cell"], content.columns["seed"], strict=True)):
            counts[int(cell)] += 1
            place = f"{name}, row {row}"
            earlier = first.setdefault((int(cell), int(seed)), place)
            if earlier != place:
                what = f"has the cell and the seed of {earlier}: the sample is stored twice"
                problems.append(ShardProblem(name, what, name, row))
    return problems + [
        ShardProblem(
            MANIFEST_NAME, f"cell {c.index} accounts for {c.accepted} samples, the shards have {counts[c.index]}"
        )
        for c in manifest.cells
        if counts[c.index] != c.accepted
    ]


def _unlisted(folder: Path, manifest: Manifest, problems: list[ShardProblem]) -> list[str]:
    """Return notes on files that the manifest does not list; among the shards of a finished run they are problems."""
    listed = {entry.name for entry in (*manifest.shards, *manifest.files)}
    listed |= {MANIFEST_NAME, MANIFEST_HASH_NAME, SIGNATURE_NAME}
    notes = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_dir() or name.as_posix() in listed or name.parts[0] in REPORT_NAMES or path.name.startswith("."):
            continue
        if manifest.complete and name.parts[0] == "shards":
            problems.append(ShardProblem(name.as_posix(), "is not listed in the manifest"))
        else:
            notes.append(f"{name.as_posix()} is not listed in the manifest")
    return notes
