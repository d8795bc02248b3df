"""The script that writes the demo data set selects the faces that the data set has."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from faceaug import analyze, demo, load_dataset

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module benchmarks/demo_data.py."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import demo_data

    return demo_data


def test_the_first_samples_of_each_bin_are_selected(script):
    yaw = np.concatenate([np.full(400, np.nan), np.tile([-40.0, -20.0, 0.0, 20.0, 40.0], 700)])
    rows = script.select_rows(yaw)
    assert np.all(np.diff(rows) > 0)
    assert np.histogram(yaw[rows], script.EDGES)[0].tolist() == list(script.COUNTS)
    assert rows[0] == 400  # after the samples without a detected face
    with pytest.raises(SystemExit, match="needs 600 samples, but there are only 400"):
        script.select_rows(yaw[:2400])


def test_the_data_set_has_the_counts_of_the_script(script):
    assert tuple(analyze(load_dataset(demo.path()), demo.BY).counts) == script.COUNTS
