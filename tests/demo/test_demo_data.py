"""The demo data set has the content that its card describes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from faceaug import analyze, demo, load_dataset
from faceaug.datasets import LoadOptions
from faceaug.utils.images import inspect


def test_it_has_no_problems_and_the_counts_of_its_card():
    dataset = load_dataset(demo.path(), strict=True)
    assert (len(dataset), dataset.attributes, dataset.problems) == (1000, ("yaw",), ())
    cells = analyze(dataset, demo.BY).cells
    card = (demo.path().parent / "README.md").read_text()
    rows = re.findall(r"^\| (-?\d+ to -?\d+) \| (\d+) \|$", card, re.MULTILINE)
    assert rows == [(cell.levels["yaw"], str(cell.count)) for cell in cells]
    assert "do not exist" in card


def test_images_are_small_jpegs_and_all_files_are_under_5_mb():
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


def test_its_folder_is_printed_for_the_command_line():
    done = subprocess.run([sys.executable, "-m", "faceaug.demo"], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == demo.path()
