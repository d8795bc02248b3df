"""Thumbnails of all images of a data set."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_files import face

from faceaug.datasets import load_dataset, load_thumbnails
from faceaug.errors import DatasetError
from faceaug.utils.images import encode, resize


def test_thumbnails_do_not_depend_on_workers_and_have_one_distortion(tmp_path):
    folder = tmp_path / "set" / "x"
    folder.mkdir(parents=True)
    expected = []
    for seed in range(70):
        wide = np.zeros((10, 30, 3), np.uint8)
        wide[:, 10:20] = face(seed, 10)
        expected.append(resize(wide, (10, 10)))  # whole: 30 by 10 is what the data set's pictures commonly are
        if seed == 7:  # a taller one is cut to the same proportions first
            wide = np.concatenate([np.full((10, 30, 3), 255, np.uint8), wide, np.full((10, 30, 3), 255, np.uint8)])
        (folder / f"{seed:03d}.png").write_bytes(encode(wide, "png"))
    dataset = load_dataset(tmp_path / "set")
    one, infos = load_thumbnails(dataset, 10, workers=1)
    two, _ = load_thumbnails(dataset, 10, workers=4)
    assert np.array_equal(one, two)
    assert np.array_equal(one, np.stack(expected))
    assert {(info.codec, info.width, info.height) for info in infos} == {("png", 30, 10), ("png", 30, 30)}
    with pytest.raises(DatasetError, match="at least 1"):
        load_thumbnails(dataset, 0)


def test_thumbnails_name_the_image_that_cannot_be_read(faces, tmp_path):
    dataset = load_dataset(faces, tmp_path / "labels.csv")
    (faces / "e.png").write_text("no image any more")
    with pytest.raises(Exception, match=r"e\.png"):
        load_thumbnails(dataset, 4)
