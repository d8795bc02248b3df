"""What tests of whole runs have in common: all that a folder holds, whether two hold the same, and interruptions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from faceaug.shards.manifest import read_manifest
from faceaug.shards.reader import ShardReader


def columns(out: Path) -> dict[str, np.ndarray]:
    """Every column of every sample, and the bytes of every image, in order."""
    parts: dict[str, list] = {}
    for entry in read_manifest(out).shards:
        with ShardReader(out / entry.name) as reader:
            for key in reader.keys:
                parts.setdefault(key, []).extend(reader.column(key))
            parts.setdefault("bytes", []).extend(np.frombuffer(reader.encoded(i), np.uint8) for i in range(len(reader)))
    return {key: np.array(value, object if key == "bytes" else None) for key, value in parts.items()}


def same(one: Path, two: Path) -> None:
    """Fail unless two folders hold the same samples, bit for bit, and account for the same refusals."""
    first, second = columns(one), columns(two)
    assert first.keys() == second.keys()
    for key, values in first.items():
        if key == "bytes":
            assert [v.tobytes() for v in values] == [v.tobytes() for v in second[key]]
        else:
            np.testing.assert_array_equal(values, second[key], err_msg=key)
    assert read_manifest(one).cells == read_manifest(two).cells


def interrupt(stage: str, times: int):
    """Return a progress callback that interrupts when a stage is told of for the given time."""
    calls = []

    def told(name, done, total):
        calls.append(name)
        if calls.count(stage) == times and name == stage:
            raise KeyboardInterrupt

    return told
