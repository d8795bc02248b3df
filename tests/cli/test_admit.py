"""faceaug admit: which images that were made elsewhere pass."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from demo_faces import labelled_demo, write_demo_faces

from faceaug.shards.manifest import read_manifest
from faceaug.utils.images import decode, encode

pytestmark = pytest.mark.usefixtures("learnt_once")


@pytest.fixture
def faces(tmp_path):
    labelled_demo(tmp_path / "faces", 60, 30)
    return ("--dataset", tmp_path / "faces", "--labels", tmp_path / "faces.csv", "--by", "kind", "--workers", 2)


@pytest.mark.slow
def test_what_passes_is_written_and_refusals_are_explained(faceaug_cli, faces, tmp_path):
    (tmp_path / "made").mkdir()
    made = write_demo_faces(tmp_path / "made", 60, 12)
    (made / "small.png").write_bytes(encode(np.zeros((20, 20, 3), np.uint8), "png"))
    copied = next(path for path in sorted((tmp_path / "faces").iterdir()) if path.is_file())
    (made / "mirrored.png").write_bytes(encode(np.ascontiguousarray(decode(copied.read_bytes())[:, ::-1]), "png"))
    loose = ("--threshold", "confidence=0", "--threshold", "held_out=0", "--threshold", "duplicate_bits=0")
    outcome = faceaug_cli(
        *("admit", made, *faces, "-o", tmp_path / "out", "--refusals", tmp_path / "refusals.csv"),
        *("--explain-refusals", "--no-report", *loose),
    )
    assert outcome.status == 0
    (passed,) = re.findall(r"(\d+) of 14 candidates passed", outcome.out)
    assert read_manifest(tmp_path / "out").totals.accepted == int(passed)
    assert "1  no copy of a real image" in outcome.out
    assert "mirrored.png" in set(pd.read_csv(tmp_path / "refusals.csv")["file"])
    assert "the picture has fewer pixels than classifiers read" in outcome.out
    assert "small.png  shorter_side 20.00" in outcome.out
    assert "small.png" in set(pd.read_csv(tmp_path / "refusals.csv")["file"])
    assert faceaug_cli("verify", tmp_path / "out").status == 0


@pytest.mark.slow
def test_where_nothing_passes_no_folder_is_written_but_the_refusals_are(faceaug_cli, faces, tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a.png").write_bytes(b"none")
    where = ("-o", tmp_path / "out", "--refusals", tmp_path / "refusals.csv")
    outcome = faceaug_cli("admit", tmp_path / "made", *faces, *where, "--json")
    assert outcome.status == 1
    assert outcome.json["refused"] == {"candidate readable": 1}
    assert "no candidate passed, so nothing was written" in outcome.err
    assert not (tmp_path / "out").exists()
    assert len(pd.read_csv(tmp_path / "refusals.csv")) == 1


def test_what_is_missing_is_said(faceaug_cli, faces, tmp_path):
    (tmp_path / "empty").mkdir()
    for source, message in ((tmp_path / "empty", "no images are in"), (tmp_path / "nowhere", "does not exist")):
        outcome = faceaug_cli("admit", source, *faces)
        assert outcome.status == 1
        assert message in outcome.err
    assert "Missing option '--dataset'" in faceaug_cli("admit", tmp_path, "--by", "kind").err
    assert "--by is missing" in faceaug_cli("admit", tmp_path, *faces[:4]).err
