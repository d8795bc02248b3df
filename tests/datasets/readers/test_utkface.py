"""UTKFace: labels in file names, some of them malformed."""

from __future__ import annotations

import pytest
from dataset_files import write_face

from faceaug.datasets import load_dataset
from faceaug.errors import DatasetError


def test_names_become_labels(make):
    table = load_dataset(**make("utkface")).table.set_index("age")
    assert table.loc[31, ["gender", "ethnicity"]].tolist() == ["female", "white"]
    assert table.loc[40, ["gender", "ethnicity"]].tolist() == ["male", "black"]
    assert table.loc[5, "ethnicity"] == "asian"
    assert table.loc[77, "ethnicity"] == "indian"
    assert table.loc[18, "ethnicity"] == "other"


@pytest.mark.parametrize(
    "name",
    [
        "61_1_20170109142408075.jpg.chip.jpg",  # the race is missing, as in three files of the real set
        "61_3_1_20170109142408075.jpg",
        "61_1_5_20170109142408075.jpg",
        "261_1_1_20170109142408075.jpg",
        "portrait.png",
        "_1_1_20170109142408075.jpg",
    ],
)
def test_malformed_names_are_reported(make, name):
    arguments = make("utkface")
    write_face(arguments["source"] / name, 9)
    dataset = load_dataset(**arguments)
    assert dataset.reader == "utkface"
    assert len(dataset) == 6
    assert [(p.kind, p.name) for p in dataset.problems] == [("malformed name", name)]
    with pytest.raises(DatasetError, match="1 malformed name"):
        load_dataset(**arguments, strict=True)


def test_a_space_in_the_name_is_accepted(make):
    arguments = make("utkface")
    write_face(arguments["source"] / "24_0_1_20170116220224657 .jpg.chip.jpg", 9)
    assert len(load_dataset(**arguments, strict=True)) == 7


def test_images_may_be_in_several_folders(make):
    arguments = make("utkface")
    for index, path in enumerate(sorted(arguments["source"].glob("*.jpg"))):
        path.rename(
            (arguments["source"] / f"part{index % 2}").mkdir(exist_ok=True)
            or arguments["source"] / f"part{index % 2}" / path.name
        )
    assert len(load_dataset(**arguments, reader="utkface", strict=True)) == 6


def test_a_folder_without_names_of_this_form_is_refused(tmp_path):
    write_face(tmp_path / "a.jpg", 1)
    with pytest.raises(DatasetError, match=r"no file name .* age_gender_race_date"):
        load_dataset(tmp_path, reader="utkface")


def test_a_label_file_is_refused(make, tmp_path):
    (tmp_path / "l.csv").write_text("file,v\n")
    with pytest.raises(DatasetError, match="leave the label file out"):
        load_dataset(**make("utkface"), labels=tmp_path / "l.csv", reader="utkface")
