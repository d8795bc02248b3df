"""Folders with label files: finding the file column, joining, and never following a name out of the folder."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
from dataset_files import write_face

from faceaug.datasets import LoadOptions, load_dataset
from faceaug.datasets.image_tree import FolderImages, Listing
from faceaug.errors import DatasetError, ImageError


def problems(dataset):
    return {(problem.kind, problem.name) for problem in dataset.problems}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "name", ["file", "Path", "filename", "file_name", "image", "image_id", "IMG", " img_path ", "name"]
)
def test_the_file_column_is_found_by_name(faces, tmp_path, separator, name):
    rows = [f"gender{separator}{name}", f"female{separator}a.png", f"male{separator}b.png"]
    (tmp_path / "l.csv").write_text("\n".join(rows))
    dataset = load_dataset(faces, tmp_path / "l.csv")
    assert dataset.attributes == ("gender",)
    assert list(dataset.table["key"]) == ["a.png", "b.png"]


def test_the_file_column_is_found_by_content(faces, tmp_path):
    (tmp_path / "l.csv").write_text("gender,photo,id\nfemale,a.png,7\nmale,b.png,8\nmale,gone.png,9\n")
    dataset = load_dataset(faces, tmp_path / "l.csv")
    assert dataset.attributes == ("gender", "id")  # named like a file column, but it names none
    assert list(dataset.table["id"]) == [7, 8]


def test_the_file_column_can_be_given(faces, tmp_path):
    (tmp_path / "l.csv").write_text("file,other,gender\na.png,b.png,x\nb.png,a.png,y\n")
    dataset = load_dataset(faces, tmp_path / "l.csv", options=LoadOptions(file_column="other"))
    assert list(dataset.table["key"]) == ["b.png", "a.png"]
    assert dataset.attributes == ("file", "gender")


def test_a_missing_file_column_names_the_nearest(faces, tmp_path):
    with pytest.raises(DatasetError, match=r"no column 'flie'; did you mean 'file'\?"):
        load_dataset(faces, tmp_path / "labels.csv", options=LoadOptions(file_column="flie"))


def test_labels_without_a_column_of_file_names_are_refused(faces, tmp_path):
    (tmp_path / "l.csv").write_text("file,gender\nnot/here.png,x\n")
    with pytest.raises(DatasetError, match=r"'file' says 'not/here\.png'.*the columns are 'file', 'gender'"):
        load_dataset(faces, tmp_path / "l.csv")


def test_a_column_with_a_usual_name_needs_one_existing_file(faces, tmp_path):
    rows = [f"gone{i}.png,x" for i in range(900)] + ["a.png,y"]
    (tmp_path / "l.csv").write_text("\n".join(["file,gender", *rows]))
    dataset = load_dataset(faces, tmp_path / "l.csv")
    assert list(dataset.table["key"]) == ["a.png"]


def test_tsv_and_parquet(faces, tmp_path):
    table = pd.read_csv(tmp_path / "labels.csv")
    table.to_csv(tmp_path / "l.tsv", sep="\t", index=False)
    table.to_parquet(tmp_path / "l.parquet")
    expected = load_dataset(faces, tmp_path / "labels.csv")
    for name in ("l.tsv", "l.parquet"):
        dataset = load_dataset(faces, tmp_path / name)
        assert dataset.fingerprint() == expected.fingerprint()


def test_parquet_keeps_its_types(faces, tmp_path):
    pd.DataFrame({"file": ["a.png", "b.png"], "zip": ["01", "02"]}).to_parquet(tmp_path / "l.parquet")
    assert list(load_dataset(faces, tmp_path / "l.parquet").table["zip"]) == ["01", "02"]


def test_labels_in_the_folder_are_found(faces, tmp_path):
    (tmp_path / "labels.csv").rename(faces / "labels.csv")
    dataset = load_dataset(faces, strict=True)
    assert dataset.reader == "folder"
    assert len(dataset) == 6


def test_names_relative_to_the_label_file(faces, tmp_path):
    (tmp_path / "l.csv").write_text("file,gender\nfaces/a.png,x\n./faces/b.png,y\nfaces\\c.png,z\n")
    assert list(load_dataset(faces, tmp_path / "l.csv").table["key"]) == ["a.png", "b.png", "c.png"]


def test_bare_names_and_names_without_suffix(tmp_path):
    folder = tmp_path / "set"
    for seed, name in enumerate(["one/000123.png", "two/x.png", "one/same.png", "two/same.png"]):
        write_face(folder / name, seed)
    (tmp_path / "l.csv").write_text("id,v\n000123,1\nx.png,2\none/same,3\nsame.png,4\n")
    dataset = load_dataset(folder, tmp_path / "l.csv", options=LoadOptions(file_column="id"))
    assert list(dataset.table["key"]) == ["one/000123.png", "two/x.png", "one/same.png"]
    assert ("missing file", "same.png") in problems(dataset)  # two could be meant


def test_a_name_with_a_folder_never_matches_another_folder(tmp_path):
    write_face(tmp_path / "set" / "a" / "1.png", 1)
    write_face(tmp_path / "set" / "a" / "2.png", 2)
    (tmp_path / "l.csv").write_text("file,v\na/1.png,x\nb/2.png,y\n")
    dataset = load_dataset(tmp_path / "set", tmp_path / "l.csv")
    assert list(dataset.table["key"]) == ["a/1.png"]
    assert ("missing file", "b/2.png") in problems(dataset)


def test_text_and_numbers_of_labels_are_kept(faces, tmp_path):
    rows = ["file,age,glasses,code,note", "a.png,31,None,01,x", "b.png,,none,02,", "c.png,nan,NA,x3,z"]
    (tmp_path / "l.csv").write_text("\n".join(rows))
    table = load_dataset(faces, tmp_path / "l.csv").table
    assert table["age"].tolist()[0] == 31
    assert table["age"].isna().tolist() == [False, True, True]
    assert table["glasses"].tolist()[:2] == ["None", "none"]  # no glasses is a label
    assert table["glasses"].isna().tolist() == [False, False, True]
    assert table["code"].tolist() == ["01", "02", "x3"]
    assert table["note"].isna().tolist() == [False, True, False]


def test_a_column_of_ids_is_an_attribute(faces, tmp_path):
    (tmp_path / "l.csv").write_text("file,person\n" + "".join(f"{n}.png,id-{n}\n" for n in "abcdef"))
    dataset = load_dataset(faces, tmp_path / "l.csv", strict=True)
    assert dataset.attributes == ("person",)


def test_each_kind_of_problem_is_reported(faces, tmp_path):
    (faces / "d.png").write_bytes((faces / "d.png").read_bytes()[:60])
    rows = ["file,gender", "a.png,x", "gone.png,x", "a.png,y", ",x", "../c.png,x", "d.png,x"]
    (tmp_path / "l.csv").write_text("\n".join(rows))
    dataset = load_dataset(faces, tmp_path / "l.csv")
    assert list(dataset.table["key"]) == ["a.png"]
    assert list(dataset.table["gender"]) == ["x"]  # the first label counts
    assert problems(dataset) == {
        ("missing file", "gone.png"),
        ("duplicate label", "a.png"),
        ("label without image", "row 4"),
        ("malformed name", "../c.png"),
        ("unreadable image", "d.png"),
        *(("image without label", f"{name}.png") for name in "bcef"),
    }
    duplicate = next(problem for problem in dataset.problems if problem.kind == "duplicate label")
    assert duplicate.detail == "row 3 repeats row 1 with other labels; the first row is used"


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "../../secret.png", "sub/../../secret.png", "..\\secret.png", "a.png/../b.png", "C:\\secret.png"],
)
def test_names_that_leave_the_folder_are_refused(faces, tmp_path, name):
    write_face(tmp_path / "secret.png", 9)
    (tmp_path / "l.csv").write_text(f"file,gender\na.png,x\n{name},y\n")
    dataset = load_dataset(faces, tmp_path / "l.csv")
    assert list(dataset.table["key"]) == ["a.png"]
    assert ("malformed name", name) in problems(dataset)
    with pytest.raises(DatasetError, match="not clean"):
        load_dataset(faces, tmp_path / "l.csv", strict=True)


def test_absolute_names_are_refused(faces, tmp_path):
    write_face(tmp_path / "secret.png", 9)
    (tmp_path / "l.csv").write_text(f"file,gender\na.png,x\n{tmp_path}/secret.png,y\n{faces}/b.png,z\n")
    dataset = load_dataset(faces, tmp_path / "l.csv")
    assert list(dataset.table["key"]) == ["a.png"]
    assert sum(problem.kind == "malformed name" for problem in dataset.problems) == 2


def test_links_that_lead_out_are_not_followed(faces, tmp_path):
    write_face(tmp_path / "out" / "secret.png", 9)
    os.symlink(tmp_path / "out" / "secret.png", faces / "link.png")
    os.symlink(tmp_path / "out", faces / "linked")
    os.symlink("a.png", faces / "inner.png")
    rows = ["file,gender", "a.png,x", "link.png,x", "linked/secret.png,x", "inner.png,x"]
    (tmp_path / "l.csv").write_text("\n".join(rows))
    dataset = load_dataset(faces, tmp_path / "l.csv")
    assert list(dataset.table["key"]) == ["a.png", "inner.png"]  # a link that stays inside is a file like others
    found = problems(dataset)
    assert {("unreadable image", "link.png"), ("unreadable image", "linked")} <= found
    assert {("missing file", "link.png"), ("missing file", "linked/secret.png")} <= found
    for key in ("link.png", "linked/secret.png", "../out/secret.png"):
        with pytest.raises(ImageError, match="leads out"):
            dataset.images.read(key)


def test_a_file_replaced_by_a_link_after_listing_is_not_followed(faces, tmp_path):
    write_face(tmp_path / "secret.png", 9)
    dataset = load_dataset(faces, tmp_path / "labels.csv")
    (faces / "a.png").unlink()
    os.symlink(tmp_path / "secret.png", faces / "a.png")
    with pytest.raises(ImageError, match="leads out"):
        dataset.encoded(0)


def test_pipes_are_never_opened(faces, tmp_path):
    os.mkfifo(faces / "pipe.png")
    (tmp_path / "l.csv").write_text("file,gender\na.png,x\npipe.png,x\n")
    dataset = load_dataset(faces, tmp_path / "l.csv")
    assert ("missing file", "pipe.png") in problems(dataset)


def test_the_folder_itself_may_be_a_link(faces, tmp_path):
    os.symlink(faces, tmp_path / "link")
    assert len(load_dataset(tmp_path / "link", tmp_path / "labels.csv", strict=True)) == 6


def test_hidden_files_are_ignored(faces, tmp_path):
    write_face(faces / "._a.png", 1)
    write_face(faces / "__MACOSX" / "a.png", 1)
    write_face(faces / ".cache" / "a.png", 1)
    (faces / "Thumbs.db").write_bytes(b"x")
    assert len(load_dataset(faces, tmp_path / "labels.csv", strict=True)) == 6


def test_files_with_the_suffix_of_an_image_and_other_content_are_reported(faces, tmp_path):
    from PIL import Image

    Image.new("RGB", (9, 9)).save(faces / "g.gif")
    (faces / "g.gif").rename(faces / "g.jpg")
    (faces / "h.jpg").write_text("just text")
    with open(tmp_path / "labels.csv", "a") as file:
        file.write("g.jpg,female,1\nh.jpg,female,1\n")
    dataset = load_dataset(faces, tmp_path / "labels.csv")
    details = {problem.name: problem.detail for problem in dataset.problems}
    assert "g.jpg is a GIF" in details["g.jpg"]
    assert "only JPEG, PNG and WebP" in details["h.jpg"]


def test_an_image_with_the_suffix_of_another_format_is_read(faces, tmp_path):
    (faces / "a.png").rename(faces / "a.dat")
    (tmp_path / "l.csv").write_text("file,gender\na.dat,x\n")
    assert load_dataset(faces, tmp_path / "l.csv").image(0).shape == (12, 12, 3)


def test_a_file_too_large_to_be_an_image_is_not_read(tmp_path, faces):
    with open(faces / "a.png", "r+b") as file:
        file.truncate((1 << 30) + 1)  # sparse: takes no room
    with pytest.raises(ImageError, match=r"1,073,741,825 bytes, more than"):
        FolderImages(faces).read("a.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a table"),
        (b"file,gender\n", "no rows"),
        (b"file,gender,gender\na.png,x,y\n", "column 'gender' more than once"),
        (b"file,gender\na.png,x\nb.png,x,y,z\n", "cannot be read as a table"),
        (b"file,gender\na.png,x,y\nb.png,x,y\n", "more fields than its first line"),
        (b"file,gender\na.png,caf\xe9\n", "not UTF-8"),
        (b"file,key\na.png,1\n", "'key', a name that faceaug reserves"),
    ],
)
def test_broken_label_files(faces, tmp_path, content, message):
    (tmp_path / "l.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(faces, tmp_path / "l.csv")
    assert "\n" not in str(caught.value)


def test_broken_and_missing_parquet(faces, tmp_path):
    (tmp_path / "l.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DatasetError, match="cannot be read as a table"):
        load_dataset(faces, tmp_path / "l.parquet")
    with pytest.raises(DatasetError, match=r"none\.csv does not exist"):
        load_dataset(faces, tmp_path / "none.csv")


def test_a_byte_order_mark_is_not_part_of_a_column_name(faces, tmp_path):
    (tmp_path / "l.csv").write_text("file,gender\na.png,x\n", encoding="utf-8-sig")
    assert load_dataset(faces, tmp_path / "l.csv").attributes == ("gender",)


def test_numbers_in_parquet_can_name_files(tmp_path):
    write_face(tmp_path / "set" / "7.png", 1)
    pd.DataFrame({"id": np.array([7.0, np.nan]), "v": ["x", "y"]}).to_parquet(tmp_path / "l.parquet")
    dataset = load_dataset(tmp_path / "set", tmp_path / "l.parquet")
    assert list(dataset.table["key"]) == ["7.png"]


def test_empty_folder_and_folder_without_images(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "l.csv").write_text("file,v\na.png,1\n")
    with pytest.raises(DatasetError, match=r"no images are in .* give the folder that holds"):
        load_dataset(tmp_path / "set", tmp_path / "l.csv")
    (tmp_path / "set" / "notes.txt").write_text("x")
    with pytest.raises(DatasetError, match=r"1 other files"):
        load_dataset(tmp_path / "set", tmp_path / "l.csv")


def test_images_without_any_labels(faces):
    with pytest.raises(DatasetError, match=r"images but no labels; give .* --labels"):
        load_dataset(faces)


def test_a_file_in_place_of_a_folder_is_refused(faces):
    with pytest.raises(DatasetError, match="a file that no reader recognizes"):
        load_dataset(faces / "a.png")


def test_a_listing_is_sorted_and_finds_names_quickly(tmp_path):
    for name in ("b/2.png", "a.png", "b/1.png", "B.PNG"):
        write_face(tmp_path / name, 1)
    assert Listing.of(tmp_path).images == ("B.PNG", "a.png", "b/1.png", "b/2.png")
