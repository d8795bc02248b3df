"""What every reader promises, over all of them: the same six faces, read from each kind of data set."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from faceaug.datasets import FaceDataset, LoadOptions, load_dataset, load_thumbnails
from faceaug.datasets.registry import BUILT_IN_READERS, detect_reader, find_reader, reader_names
from faceaug.errors import DatasetError, ImageError
from faceaug.utils.images import decode


@pytest.fixture
def loaded(any_kind) -> FaceDataset:
    return load_dataset(**any_kind[1])


def test_the_suite_covers_every_built_in_reader(request):
    from dataset_files import MAKERS

    assert set(MAKERS) == set(BUILT_IN_READERS)
    assert reader_names()[: len(BUILT_IN_READERS)] == tuple(BUILT_IN_READERS)


def test_the_format_is_detected(any_kind, loaded):
    kind, arguments = any_kind
    assert detect_reader(arguments["source"], arguments.get("labels")) == kind
    assert loaded.reader == kind
    assert load_dataset(**arguments, reader=kind).fingerprint() == loaded.fingerprint()


def test_a_clean_data_set_has_no_problems(any_kind):
    assert load_dataset(**any_kind[1], strict=True).problems == ()


def test_the_table_has_a_row_per_image_and_unique_keys(loaded):
    assert len(loaded) == 6
    assert list(loaded.table.index) == list(range(6))
    assert loaded.table["key"].is_unique
    assert all(isinstance(key, str) for key in loaded.keys)
    assert loaded.attributes
    assert not set(loaded.attributes) & {"key", "split"}
    assert loaded.location
    assert loaded.name


def test_labels_belong_to_their_images(any_kind, loaded):
    """The red of an image's first pixel is its number in GENDERS, but JPEG blurs it: compare with the pictures."""
    from dataset_files import GENDERS, face

    column, female = {"celeba": ("Female", "yes"), "classes": ("class", "female")}.get(
        any_kind[0], ("gender", "female")
    )
    originals = np.stack([face(seed) for seed in range(6)]).astype(int)
    nearest = []
    for index in range(6):
        distances = np.abs(originals - loaded.image(index)).mean((1, 2, 3))
        nearest.append(int(distances.argmin()))
        assert (loaded.table[column][index] == female) == (GENDERS[nearest[-1]] == "female")
    assert sorted(nearest) == list(range(6))


def test_images_are_encoded_files_and_decode_to_rgb(loaded):
    for index in range(6):
        data = loaded.encoded(index)
        assert isinstance(data, bytes)
        image = loaded.image(index)
        assert image.dtype == np.uint8
        assert image.shape == (12, 12, 3)
        assert np.array_equal(image, decode(data))


def test_reading_twice_gives_the_same(any_kind, loaded):
    again = load_dataset(**any_kind[1], options=LoadOptions(workers=3))
    assert again.table.equals(loaded.table)
    assert again.fingerprint() == loaded.fingerprint()
    assert [again.encoded(i) for i in range(6)] == [loaded.encoded(i) for i in range(6)]


def test_a_data_set_can_be_pickled_and_read_by_threads(loaded):
    loaded.encoded(0)  # opens what is opened late
    copy = pickle.loads(pickle.dumps(loaded))
    expected = [loaded.encoded(i) for i in range(6)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(copy.encoded, list(range(6)) * 20)) == expected * 20


@pytest.mark.parametrize(
    "key", ["no such key", "", "../x", "/etc/passwd", "999999", "-1", "shards/00000.h5:99", "a\0b"]
)
def test_an_unknown_key_is_an_image_error(loaded, key):
    with pytest.raises(ImageError):
        loaded.images.read(key)


def test_thumbnails(loaded):
    arrays, infos = load_thumbnails(loaded, 8, workers=2)
    assert arrays.shape == (6, 8, 8, 3)
    assert [(info.width, info.height) for info in infos] == [(12, 12)] * 6


def test_a_missing_path_is_refused(any_kind, tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        load_dataset(tmp_path / "nowhere", reader=any_kind[0])


def test_a_wrong_path_is_an_error_of_faceaug_in_one_line(any_kind, tmp_path):
    kind = any_kind[0]
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "text.h5").write_text("no HDF5 at all")
    for path in (empty, tmp_path / "text.h5"):
        with pytest.raises(Exception) as caught:
            find_reader(kind)(Path(path), None, file_column=None)
        assert type(caught.value).__module__ == "faceaug.errors"
        assert "\n" not in str(caught.value)
