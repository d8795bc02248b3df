"""The picture of the README: rows are as long as groups are large."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faceaug.errors import UsageError


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))


def test_before_and_after_show_as_many_faces_as_the_counts_imply() -> None:
    from before_after import SheetRow, before_after

    red, green = np.array([250, 10, 10], np.uint8), np.array([10, 250, 10], np.uint8)
    real, synthetic = np.tile(red, (8, 8, 1)), np.tile(green, (8, 8, 1))
    rows = [
        SheetRow("many", [real] * 20, [synthetic] * 20, 900, 100),
        SheetRow("few", [real] * 20, [synthetic] * 20, 100, 500),
    ]
    picture = before_after(rows, side=20, longest=10, title="Faces")
    area = 20 * 20
    # Before: 9 + 1 real faces. After: the same, and 1 + 5 synthetic ones.
    assert (picture == red).all(axis=2).sum() == 2 * (9 + 1) * area
    assert (picture == green).all(axis=2).sum() == (1 + 5) * area
    assert np.array_equal(picture, before_after(rows, side=20, longest=10, title="Faces"))
    with pytest.raises(UsageError, match="at least one group"):
        before_after([SheetRow("none", [], [], 0, 0)])
