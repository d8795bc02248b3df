"""The demo data set: what its card says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from faceaug import analyze, demo, load_dataset
from faceaug.datasets import LoadOptions
from faceaug.demo.make import COUNTS, EDGES, choose
from faceaug.utils.images import inspect


def test_it_reads_clean_and_is_unbalanced_as_the_card_says():
    dataset = load_dataset(demo.path(), strict=True)
    assert (len(dataset), dataset.attributes, dataset.problems) == (1000, ("yaw",), ())
    counts = analyze(dataset, demo.BY).counts.tolist()
    assert counts == list(COUNTS)
    card = (demo.path().parent / "README.md").read_text()
    assert re.findall(r"^\| (-?\d+ to -?\d+) \| (\d+) \|$", card, re.MULTILINE) == [
        (f"{low:.0f} to {high:.0f}", str(count)) for low, high, count in zip(EDGES, EDGES[1:], COUNTS, strict=False)
    ]
    assert "do not exist" in card


def test_pictures_are_small_jpegs_and_the_whole_is_under_5_mb():
    files = [file for file in demo.path().iterdir() if file.name != "labels.csv"]
    assert len(files) == 1000
    infos = {(info.codec, info.width, info.height) for info in (inspect(file.read_bytes()) for file in files)}
    assert infos == {("jpeg", 64, 64)}
    assert sum(file.stat().st_size for file in demo.path().iterdir()) < 5_000_000


def test_heads_turn_the_way_the_sign_says():
    """Turned to the picture's right (yaw > 0) a face shows its far cheek there: skin lies further to the left."""
    dataset = load_dataset(demo.path(), options=LoadOptions(check="none"))
    yaw = dataset.table["yaw"].to_numpy()
    right = np.mean([dataset.image(i) for i in np.flatnonzero(yaw > 30)], axis=0)
    left = np.mean([dataset.image(i) for i in np.flatnonzero(yaw < -30)], axis=0)
    mirrored = left[:, ::-1]
    assert np.corrcoef(right.ravel(), mirrored.ravel())[0, 1] > np.corrcoef(right.ravel(), left.ravel())[0, 1] + 0.2


def test_choosing_takes_the_first_of_each_bin():
    yaw = np.concatenate([np.full(400, np.nan), np.tile([-40.0, -20.0, 0.0, 20.0, 40.0], 700)])
    rows = choose(yaw)
    assert np.all(np.diff(rows) > 0)
    assert np.histogram(yaw[rows], EDGES)[0].tolist() == list(COUNTS)
    assert rows[0] == 400  # after the draws in which no face was found
    with pytest.raises(SystemExit, match="needs 600 draws, but only 400"):
        choose(yaw[:2400])


def test_its_folder_is_printed_for_the_command_line():
    done = subprocess.run([sys.executable, "-m", "faceaug.demo"], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == demo.path()
