"""The output folder of an experiment: one JSON file for each arm and seed, written when it is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from faceaug.bench.recipe import ExperimentRecipe
from faceaug.classifiers.feature_training import FEATURES_VERSION
from faceaug.errors import IntegrityError, OutputError
from faceaug.measurement.measured_cache import MEASUREMENTS_VERSION
from faceaug.shards.lock import FolderLock
from faceaug.synthesis.label_classifiers import TRAINING_VERSION
from faceaug.synthesis.stages import SAMPLE_STREAM
from faceaug.utils.files import check_writable_folder, output_error, read_json, write_json
from faceaug.utils.text import shown

BENCH_FORMAT, BENCH_RUN_FORMAT, BENCH_VERSION = "faceaug-bench", "faceaug-bench-run", 1
"""The version is raised whenever the same recipe and seed give other results than before."""
_LONGEST_NAME = 180  # characters of a name; file systems take 255 bytes, of which a file being written needs some more
RUNS_FOLDER, STATE_FILE, RESULTS_FILE, BENCH_REPORT = "runs", "experiment.json", "results.json", "report.html"


class ExperimentFolder:
    """The finished runs of one experiment.

    Parameters
    ----------
    path : Path
    recipe : ExperimentRecipe
    dataset_fingerprint : str
        SHA-256 of keys and labels of the data set.

    Raises
    ------
    OutputError
        When the folder holds something else or the runs of another recipe, or cannot be written.
    """

    def __init__(self, path: Path, recipe: ExperimentRecipe, dataset_fingerprint: str) -> None:
        self.path = path
        self._state = {
            "format": BENCH_FORMAT,
            "version": BENCH_VERSION,
            "samples": [SAMPLE_STREAM, TRAINING_VERSION, FEATURES_VERSION, MEASUREMENTS_VERSION],
            "dataset": dataset_fingerprint,
            "recipe": recipe.decisive(),
        }
        text = json.dumps(self._state, sort_keys=True)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        state_file = path / STATE_FILE
        if state_file.exists():
            _check_same(path, read_json(state_file, "the state of an experiment"), self._state)
        else:
            write_json(state_file, self._state)
        try:
            (path / RUNS_FOLDER).mkdir(exist_ok=True)
        except OSError as error:
            raise output_error(path / RUNS_FOLDER, error) from error

    def finished(self, arm: str, seed: int) -> dict[str, Any] | None:
        """Return a finished run; None where it is not there, damaged, or of another fingerprint."""
        path = self._path(arm, seed)
        if not path.exists():
            return None
        try:
            content = read_json(path, "a run of an experiment")
        except IntegrityError:
            return None  # it is run again
        same = isinstance(content, dict) and (content.get("fingerprint"), content.get("arm"), content.get("seed")) == (
            *(self.fingerprint, arm, seed),
        )
        return content if same else None

    def write(self, arm: str, seed: int, content: dict[str, Any]) -> None:
        """Write a finished run, atomically."""
        head = {"format": BENCH_RUN_FORMAT, "version": BENCH_VERSION, "fingerprint": self.fingerprint}
        write_json(self._path(arm, seed), {**head, "arm": arm, "seed": seed, **content})

    def _path(self, arm: str, seed: int) -> Path:
        name = quote(arm, safe="").replace("%3A", "+")  # as "+" itself is quoted, no two arms share a file
        if len(name) > _LONGEST_NAME:
            name = f"{name[:_LONGEST_NAME]}+{hashlib.sha256(arm.encode()).hexdigest()[:16]}"
        return self.path / RUNS_FOLDER / f"{name}-seed{seed}.json"


def refuse_other_content(path: Path) -> None:
    """Refuse a folder that an experiment cannot be written to, before its data are read.

    Raises
    ------
    OutputError
        When it is a file, holds something other than an experiment, or cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file; give a folder that is absent, empty, or of this experiment")
    foreign = [child.name for child in path.iterdir() if not child.name.startswith(".")] if path.exists() else []
    if foreign and not (path / STATE_FILE).exists():
        raise OutputError(
            f"{path} holds other files, such as {shown(min(foreign))}, and no experiment: give a folder that is "
            "absent, empty, or of this experiment"
        )
    check_writable_folder(path)


@contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    """Hold the output folder of an experiment, which is made if it is absent.

    Raises
    ------
    OutputError
        When it is in use, is a file, or holds something other than an experiment.
    """
    refuse_other_content(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
    lock = FolderLock(path)
    try:
        yield
    finally:
        lock.release()


def _check_same(path: Path, stored: Any, state: dict[str, Any]) -> None:
    """Refuse a folder of another experiment; the sentence names the first key that differs."""
    if not isinstance(stored, dict) or (stored.get("format"), stored.get("version")) != (BENCH_FORMAT, BENCH_VERSION):
        raise OutputError(f"{path} holds an experiment of another version of faceaug; choose another folder")
    difference = _difference(stored.get("recipe"), state["recipe"], "")
    if difference:
        raise OutputError(f"{path} holds the runs of another recipe: {difference}; choose another folder")
    if stored.get("dataset") != state["dataset"]:
        raise OutputError(f"{path} holds runs on other data or labels; choose another folder")


def _difference(old: Any, new: Any, place: str) -> str:
    """Return the first key that differs, with both values; an empty text where none does."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *(key for key in old if key not in new)]:
            found = _difference(old.get(key), new.get(key), f"{place}.{key}" if place else str(key))
            if found:
                return found
        return ""
    return "" if old == new else f"{place} is {shown(old)} there and {shown(new)} here"
