"""Re-read a whole output folder and name everything that is wrong with it: file, shard, row."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faceaug.errors import IntegrityError
from faceaug.shards.manifest import (
    DERIVED,
    HASH_NAME,
    NAME,
    PLAN,
    TABLE,
    FileEntry,
    Manifest,
    check_hash,
    parse_manifest,
)
from faceaug.shards.samples_table import read_table
from faceaug.shards.shard_checks import ShardContent, ShardProblem, check_shard, check_table
from faceaug.utils.files import inside, read_json, sha256_file

Progress = Callable[[int], None]


@dataclasses.dataclass(frozen=True)
class VerifyReport:
    """What `verify` found.

    Attributes
    ----------
    problems : what is wrong, each with file, shard, row and a sentence
    rows : samples that the manifest lists
    complete : False for a run that goes on or was interrupted; what is there can be sound all the same
    notes : what is worth knowing and not wrong
    """

    problems: tuple[ShardProblem, ...]
    rows: int
    complete: bool
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return {
            "ok": self.ok,
            "complete": self.complete,
            "rows": self.rows,
            "problems": [dataclasses.asdict(problem) for problem in self.problems],
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Return lines for a person: a problem a line, then the outcome."""
        lines = [str(problem) for problem in self.problems] + [f"note: {note}" for note in self.notes]
        count = len(self.problems)
        outcome = "sound" if self.ok else f"{count} problem{'s' if count > 1 else ''}"
        state = "" if self.complete else "; the run is unfinished"
        return "\n".join([*lines, f"{outcome}: {self.rows} samples{state}"])


def verify(folder: Path | str, progress: Progress | None = None) -> VerifyReport:
    """Re-read everything in an output folder: every file, every image, every number.

    Parameters
    ----------
    folder : the output folder
    progress : called with the number of samples just checked, for a progress bar

    Returns
    -------
    VerifyReport
        Damage is reported, never raised. A run in progress is accepted as long as what is there is sound.
    """
    folder = Path(folder)
    problems: list[ShardProblem] = []
    try:
        data = (folder / NAME).read_bytes()
    except OSError as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror or error})"
        return VerifyReport((ShardProblem(NAME, f"{what}; no output folder of faceaug is at {folder}"),), 0, False)
    try:
        check_hash(folder, data)
    except IntegrityError as error:
        problems.append(ShardProblem(HASH_NAME, str(error)))
    try:
        manifest = parse_manifest(data, folder / NAME)
    except IntegrityError as error:
        return VerifyReport((*problems, ShardProblem(NAME, str(error))), 0, False)
    contents = _check_files(folder, manifest, problems, progress)
    problems += _check_cells(contents, manifest)
    notes = _unlisted(folder, manifest, problems)
    return VerifyReport(tuple(problems), sum(s.rows for s in manifest.shards), manifest.complete, tuple(notes))


def _check_files(
    folder: Path, manifest: Manifest, problems: list[ShardProblem], progress: Progress | None
) -> list[ShardContent]:
    """Check every listed file and return what the shards hold."""
    contents = []
    for entry in manifest.shards:
        path, problem = _check_file(folder, entry)
        content = ShardContent(entry)
        if path is not None:  # a shard with a wrong hash is read all the same: that tells where the damage is
            content = check_shard(path, entry, manifest)
        contents.append(content)
        problems += ([problem] if problem else []) + content.problems
        if progress is not None:
            progress(entry.rows)
    for listed in manifest.files:
        path, problem = _check_file(folder, listed)
        problems += [problem] if problem else []
        if path is not None and listed.name == TABLE:
            problems += _check_samples(path, contents, manifest)
        elif path is not None and listed.name == PLAN:
            problems += _check_plan(path, manifest)
    return contents


def _check_file(folder: Path, entry: FileEntry) -> tuple[Path | None, ShardProblem | None]:
    """Return the path of a listed file (None when there is nothing to read) and what is wrong with it."""
    try:
        path = inside(folder, entry.name)
        if not path.is_file():
            return None, ShardProblem(entry.name, "is missing" if not path.exists() else "is not a file")
        size = path.stat().st_size
        if size != entry.bytes:
            return path, ShardProblem(entry.name, f"has {size} bytes, the manifest says {entry.bytes}")
        if sha256_file(path) != entry.sha256:
            return path, ShardProblem(entry.name, "its SHA-256 is not the one in the manifest")
    except IntegrityError as error:
        return None, ShardProblem(entry.name, str(error))
    except OSError as error:
        return None, ShardProblem(entry.name, f"cannot be read ({error.strerror or error})")
    return path, None


def _check_samples(path: Path, contents: list[ShardContent], manifest: Manifest) -> list[ShardProblem]:
    try:
        return check_table(read_table(path), contents, manifest)
    except IntegrityError as error:
        return [ShardProblem(TABLE, str(error))]


def _check_plan(path: Path, manifest: Manifest) -> list[ShardProblem]:
    """The plan's cells are those of the manifest."""
    try:
        found = [
            (cell["index"], cell["levels"], cell["real"], cell["wanted"], cell["planned"])
            for cell in read_json(path, "the plan", document=True)["cells"]
        ]
    except IntegrityError as error:
        return [ShardProblem(PLAN, str(error))]
    except (KeyError, TypeError):
        return [
            ShardProblem(PLAN, "is not a plan of faceaug: it has no cells with index, levels, real, wanted, planned")
        ]
    expected = [(c.index, c.attributes, c.real, c.wanted, c.planned) for c in manifest.cells]
    return [] if found == expected else [ShardProblem(PLAN, "its cells are not those of the manifest")]


def _check_cells(contents: list[ShardContent], manifest: Manifest) -> list[ShardProblem]:
    """As many samples lie in the shards as each cell accounts for, and none twice."""
    if any("cell" not in content.columns or "seed" not in content.columns for content in contents):
        return []  # named already
    counts: Counter[int] = Counter()
    first: dict[tuple[int, int], str] = {}
    problems = []
    for content in contents:
        name = content.entry.name
        for row, (cell, seed) in enumerate(zip(content.columns["cell"], content.columns["seed"], strict=True)):
            counts[int(cell)] += 1
            before = first.setdefault((int(cell), int(seed)), f"{name}, row {row}")
            if before != f"{name}, row {row}":
                problems.append(
                    ShardProblem(name, f"has cell and seed of {before}: the sample is there twice", name, row)
                )
    return problems + [
        ShardProblem(NAME, f"cell {c.index} accounts for {c.accepted} samples, the shards hold {counts[c.index]}")
        for c in manifest.cells
        if counts[c.index] != c.accepted
    ]


def _unlisted(folder: Path, manifest: Manifest, problems: list[ShardProblem]) -> list[str]:
    """Files that the manifest does not list: among the shards of a finished run a problem, elsewhere a note."""
    listed = {entry.name for entry in (*manifest.shards, *manifest.files)} | {NAME, HASH_NAME}
    notes = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_dir() or name.as_posix() in listed or name.parts[0] in DERIVED or path.name.startswith("."):
            continue
        if manifest.complete and name.parts[0] == "shards":
            problems.append(ShardProblem(name.as_posix(), "is not listed in the manifest"))
        else:
            notes.append(f"{name.as_posix()} is not listed in the manifest")
    return notes
