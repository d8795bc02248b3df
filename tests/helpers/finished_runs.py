"""What tests of whole runs share: all that a folder holds, whether two hold the same, and interruptions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from faceaug.shards.manifest import read_manifest
from faceaug.shards.reader import ShardReader


def columns(out: Path) -> dict[str, np.ndarray]:
    """Return every column of every sample, and the bytes of every image, in order."""
    parts: dict[str, list] = {}
    for entry in read_manifest(out).shards:
        with ShardReader(out / entry.name) as reader:
            for key in reader.keys:
                parts.setdefault(key, []).extend(reader.column(key))
            parts.setdefault("bytes", []).extend(np.frombuffer(reader.encoded(i), np.uint8) for i in range(len(reader)))
    return {key: np.array(value, object if key == "bytes" else None) for key, value in parts.items()}


def assert_same_samples(one: Path, two: Path) -> None:
    """Fail unless two folders hold the same samples, bit for bit, and count the same refusals."""
    first, second = columns(one), columns(two)
    assert first.keys() == second.keys()
    for key, values in first.items():
        if key == "bytes":
            assert [v.tobytes() for v in values] == [v.tobytes() for v in second[key]]
        else:
            np.testing.assert_array_equal(values, second[key], err_msg=key)
    assert read_manifest(one).cells == read_manifest(two).cells


def interrupt(stage: str, times: int) -> Callable[[str, int, int], None]:
    """Return a progress callback that interrupts when a stage reports for the given time."""
    calls: list[str] = []

    def progress(name: str, done: int, total: int) -> None:
        calls.append(name)
        if calls.count(stage) == times and name == stage:
            raise KeyboardInterrupt

    return progress
