"""CelebA's lists, where they may lie, and what they may not say."""

from __future__ import annotations

import pytest

from faceaug.datasets import LoadOptions, load_dataset
from faceaug.errors import DatasetError


@pytest.fixture
def celeba(make):
    return make("celeba")["source"]


def test_attributes_are_yes_or_no_and_the_partition_is_the_split(celeba):
    dataset = load_dataset(celeba)
    assert dataset.attributes == ("5_o_Clock_Shadow", "Female")
    assert set(dataset.table["5_o_Clock_Shadow"]) == {"no"}
    assert dataset.split == "train"
    lines = (celeba / "list_eval_partition.txt").read_text().splitlines()
    lines[1], lines[2] = "000002.jpg 1", "000003.jpg 2"
    (celeba / "list_eval_partition.txt").write_text("\n".join(lines))
    assert list(load_dataset(celeba).table["key"]) == ["000001.jpg", "000004.jpg", "000005.jpg", "000006.jpg"]
    assert list(load_dataset(celeba, split="val").table["key"]) == ["000002.jpg"]
    assert list(load_dataset(celeba, split="test").table["key"]) == ["000003.jpg"]


def test_without_a_partition_all_images_are_used(celeba):
    (celeba / "list_eval_partition.txt").unlink()
    dataset = load_dataset(celeba)
    assert len(dataset) == 6
    assert dataset.split is None


def test_the_official_layout_and_the_image_folder_itself(celeba):
    expected = load_dataset(celeba).fingerprint()
    assert load_dataset(celeba / "img_align_celeba").fingerprint() == expected  # the lists lie beside it
    for folder, name in (
        ("Img", "img_align_celeba"),
        ("Anno", "list_attr_celeba.txt"),
        ("Eval", "list_eval_partition.txt"),
    ):
        (celeba / folder).mkdir()
        (celeba / name).rename(celeba / folder / name)
    assert load_dataset(celeba).fingerprint() == expected
    given = load_dataset(celeba / "Img" / "img_align_celeba", celeba / "Anno" / "list_attr_celeba.txt", split="all")
    assert given.reader == "celeba"
    assert len(given) == 6


def test_celeba_hq_has_its_own_numbers_and_no_partition(celeba):
    (celeba / "img_align_celeba").rename(celeba / "CelebA-HQ-img")
    (celeba / "CelebA-HQ-img" / "000001.jpg").rename(celeba / "CelebA-HQ-img" / "0.jpg")
    (celeba / "list_attr_celeba.txt").unlink()
    (celeba / "CelebAMask-HQ-attribute-anno.txt").write_text("1\nMale Smiling\n0.jpg  1 -1\n")
    dataset = load_dataset(celeba)
    assert (dataset.reader, dataset.split) == ("celeba", None)
    assert dataset.table.to_dict("records") == [{"key": "0.jpg", "Male": "yes", "Smiling": "no"}]


def test_missing_files_and_unlabelled_images_are_reported(celeba):
    (celeba / "img_align_celeba" / "000002.jpg").rename(celeba / "img_align_celeba" / "000099.jpg")
    dataset = load_dataset(celeba)
    assert {(p.kind, p.name) for p in dataset.problems} == {
        ("missing file", "000002.jpg"),
        ("image without label", "000099.jpg"),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("2\nA B\n000001.jpg 1 -1\n000002.jpg 1\n", "is cut off"),
        ("1\nA B\n000001.jpg 1 0\n", "has '0' for B"),
        ("0\nA B\n", "is cut off"),
        ("1\nA A\n000001.jpg 1 1\n", "is not a list of CelebA"),
    ],
)
def test_broken_lists(celeba, content, message):
    (celeba / "list_attr_celeba.txt").write_text(content)
    with pytest.raises(DatasetError, match=message):
        load_dataset(celeba)


def test_a_file_column_is_refused(celeba):
    with pytest.raises(DatasetError, match="leave --file-column out"):
        load_dataset(celeba, options=LoadOptions(file_column="x"))
    (celeba / "list_attr_celeba.txt").unlink()
    with pytest.raises(DatasetError, match=r"list_attr_celeba\.txt is not in"):
        load_dataset(celeba, reader="celeba")
