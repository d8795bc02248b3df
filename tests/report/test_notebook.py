"""Values show themselves in notebooks, and whatever labels hold stays text."""

from __future__ import annotations

import pandas as pd
import pytest
from faces_in_memory import Images, face_dataset
from shard_samples import write_output

import faceaug
from faceaug.datasets import FaceDataset
from faceaug.errors import UsageError
from faceaug.shards.manifest import read_manifest
from faceaug.synthesis.balance import RunResult

HOSTILE = "<script>alert(1)</script>"


def test_a_data_set_its_analysis_and_a_plan_show_themselves():
    dataset = face_dataset(20)
    analysis = faceaug.analyze(dataset, "gender")
    assert dataset._repr_html_().count("<img") == 12
    assert "imbalance" in analysis._repr_html_().lower()
    assert "10 planned of 10 wanted" in faceaug.plan(analysis)._repr_html_()


def test_labels_and_names_are_escaped():
    table = pd.DataFrame({"key": ["0", "1", "2"], HOSTILE: [HOSTILE, "b", "b"]})
    dataset = FaceDataset(HOSTILE, "folder", "memory", table, Images())
    analysis = faceaug.analyze(dataset, HOSTILE)
    for value in (dataset, analysis, faceaug.plan(analysis)):
        assert HOSTILE not in value._repr_html_()
        assert "&lt;script&gt;" in value._repr_html_()


def test_a_result_shows_its_cells_and_their_faces(tmp_path):
    out = write_output(tmp_path / "out")
    manifest = read_manifest(out)
    result = RunResult(manifest, {}, out)
    assert f"{manifest.totals.accepted:,} of" in result._repr_html_()
    cell = next(each for each in manifest.cells if each.accepted)
    shown = result.show(cell.index)
    assert len(shown.synthetic) == min(cell.accepted, 24)
    assert shown._repr_html_().count("<img") == len(shown.synthetic)
    assert result.show(cell.attributes).record == cell
    with pytest.raises(UsageError, match="no cell"):
        result.show(10_000)


def test_samples_show_themselves(tmp_path):
    samples = faceaug.ShardDataset(write_output(tmp_path / "out"))
    assert f"{len(samples):,} synthetic faces" in samples._repr_html_()
