"""Labels before they are used: several files joined, one-hot columns, values renamed; and links to images elsewhere."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
from dataset_files import write_face

from faceaug.datasets.dataset import LoadOptions, load_dataset
from faceaug.datasets.tables.value_map import ValueMap, parse_map
from faceaug.errors import DatasetError, ImageError, UsageError

NAMES = ("a.png", "b.png", "c.png")


@pytest.fixture
def folder(tmp_path):
    for k, name in enumerate(NAMES):
        write_face(tmp_path / "faces" / name, k)
    return tmp_path / "faces"


def table(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def loaded(folder, labels, **options):
    strict = options.pop("strict", False)
    return load_dataset(folder, labels, strict=strict, options=LoadOptions(check="none", **options))


def test_label_files_are_joined_by_the_names_of_the_images(folder, tmp_path):
    first = table(tmp_path, "1.csv", "file,gender\na.png,f\nb.png,m\nc.png,f\n")
    second = table(tmp_path, "2.tsv", "image\tage\tgender\nc.png\t3\t\na.png\t1\tf\n")
    dataset = loaded(folder, [first, second], strict=True)
    assert dataset.attributes == ("gender", "age")
    assert dataset.table["age"].tolist()[::2] == [1, 3]
    assert np.isnan(dataset.table["age"][1])


def test_contradictions_are_counted_and_refused_where_strict(folder, tmp_path):
    first = table(tmp_path, "1.csv", "file,gender\na.png,f\nb.png,m\nc.png,\n")
    second = table(tmp_path, "2.csv", "file,gender\na.png,m\nb.png,m\nc.png,f\n")
    dataset = loaded(folder, [first, second])
    assert dataset.table["gender"].tolist() == ["f", "m", "f"]
    assert [(p.kind, p.name) for p in dataset.problems] == [("conflicting labels", "a.png")]
    with pytest.raises(DatasetError, match=r"1 conflicting labels .*2.csv says gender is m"):
        loaded(folder, [first, second], strict=True)


def test_images_that_only_a_later_file_labels_are_used(folder, tmp_path):
    first = table(tmp_path, "1.csv", "file,gender,age\na.png,f,7\n")
    second = table(tmp_path, "2.csv", "file,age\nb.png,9\n")
    dataset = loaded(folder, [first, second])
    assert dataset.table["key"].tolist() == ["a.png", "b.png"]
    assert dataset.table["age"].tolist() == [7, 9]
    assert [(p.kind, p.name) for p in dataset.problems] == [("image without label", "c.png")]
    third = table(tmp_path, "3.csv", "file,gender\nc.png,m\n")
    assert loaded(folder, [first, second, third], strict=True).table["gender"].fillna("?").tolist() == ["f", "?", "m"]


def test_files_may_store_the_same_values_in_different_types(folder, tmp_path):
    columns = {"file": NAMES, "gender": pd.Categorical(["f", "f", None]), "age": ["30", "31", None]}
    pd.DataFrame(columns).to_parquet(tmp_path / "1.parquet")
    second = table(tmp_path, "2.csv", "file,gender,age\na.png,f,30\nb.png,f,31\nc.png,m,32\n")
    dataset = loaded(folder, [tmp_path / "1.parquet", second], strict=True)
    assert dataset.table["gender"].tolist() == ["f", "f", "m"]
    assert [str(age) for age in dataset.table["age"]] == ["30", "31", "32"]


def test_one_hot_columns_are_found(folder, tmp_path):
    labels = table(tmp_path, "l.csv", "file,gender_f,gender_m,age\na.png,1,0,3\nb.png,0,1,4\nc.png,1,0,5\n")
    assert loaded(folder, labels).table["gender"].tolist() == ["f", "m", "f"]
    two = table(tmp_path, "2.csv", "file,hair_black,hair_long\na.png,1,0\nb.png,1,1\nc.png,0,1\n")
    assert loaded(folder, two).attributes == ("hair_black", "hair_long")  # no one-hot columns: b.png has both


def test_one_hot_columns_can_be_named(folder, tmp_path):
    labels = table(tmp_path, "l.csv", "file,male,female\na.png,yes,no\nb.png,no,no\nc.png,yes,yes\n")
    dataset = loaded(folder, labels, one_hot=("gender=male,female",))
    assert dataset.table["gender"].tolist()[0] == "male"
    assert dataset.table["gender"].isna().tolist() == [False, True, True]
    assert [(p.kind, p.name) for p in dataset.problems] == [("conflicting labels", "c.png")]
    for option, message in (
        ("gender=male,femal", "did you mean 'female'"),
        ("gender", "no columns begin"),
        ("=a,b", "NAME="),
    ):
        with pytest.raises(UsageError, match=message):
            loaded(folder, labels, one_hot=(option,))


def test_the_level_of_a_named_group_is_all_that_follows_its_name(folder, tmp_path):
    labels = table(
        tmp_path, "l.csv", "file,race_black,race_east_asian,race=x.y\na.png,1,0,0\nb.png,0,1,0\nc.png,0,0,1\n"
    )
    dataset = loaded(folder, labels, one_hot=("race",))
    assert dataset.table["race"].tolist() == ["black", "east_asian", "x.y"]
    assert dataset.attributes == ("race",)


@pytest.mark.parametrize("name", ["key", "split", "gender"])
def test_a_gathered_column_overwrites_none(folder, tmp_path, name):
    labels = table(tmp_path, "l.csv", "file,gender,m,f\na.png,x,1,0\nb.png,y,0,1\nc.png,x,0,1\n")
    with pytest.raises(UsageError, match=f"would overwrite the column '{name}'"):
        loaded(folder, labels, one_hot=(f"{name}=m,f",))
    own = table(tmp_path, "o.csv", "file,m,f\na.png,1,0\nb.png,0,1\nc.png,0,1\n")
    assert loaded(folder, own, one_hot=("m=m,f",)).table["m"].tolist() == ["m", "f", "f"]


def test_values_are_renamed_and_grouped(folder, tmp_path):
    labels = table(tmp_path, "l.csv", "file,ethnicity,age\na.png,black,12\nb.png,african,\nc.png,asian,60\n")
    maps = ("ethnicity=black|african=black,else=other", "age=<13=child,<60=adult,else=senior")
    dataset = loaded(folder, labels, maps=maps)
    assert dataset.table["ethnicity"].tolist() == ["black", "black", "other"]
    assert dataset.table["age"].fillna("?").tolist() == ["child", "?", "senior"]
    left = loaded(folder, labels, maps=("ethnicity=african=black",))
    assert left.table["ethnicity"].tolist() == ["black", "black", "asian"]


def test_the_grammar_of_a_map():
    assert parse_map('a="x,y"|z="p=q",else=') == ValueMap("a", {"x,y": "p=q", "z": "p=q"}, (), "")
    values = pd.Series(["x,y", "z", "w", None])
    assert parse_map('a="x,y"|z=p,else=').apply(values).fillna("?").tolist() == ["p", "p", "?", "?"]
    assert parse_map("n=7=seven,<7=few").apply(pd.Series([7.0, 6, 8, np.nan])).tolist()[:3] == ["seven", "few", 8.0]
    behind = parse_map("n=<7=few,3=three,3=drei,<9=more").apply(pd.Series([2, 3, 8]))
    assert behind.tolist() == ["few", "three", "more"]  # a single value is named wherever it stands


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("ethnicity", "cannot be parsed"),
        ("ethnicity=black", "cannot be parsed"),
        ("ethnicity=black=x,,", "cannot be parsed"),
        ("ethnicity=else=x,black=y", "cannot be parsed"),
        ('ethnicity="black=x', "cannot be parsed"),
        ("age=<ten=child", "cannot be parsed"),
        ("age=<20=a,<10=b", "must increase"),
        ("etnicity=black=x", "did you mean 'ethnicity'"),
        ("ethnicity=blck=x", r"'blck', which no row has; did you mean 'black'"),
        ("ethnicity=<3=x", "must hold numbers"),
        ("key=a.png=x", "identifies rows"),
    ],
)
def test_rules_that_do_not_parse_or_match_nothing(folder, tmp_path, rule, message):
    labels = table(tmp_path, "l.csv", "file,ethnicity,age\na.png,black,12\nb.png,asian,30\nc.png,asian,60\n")
    with pytest.raises(UsageError, match=message):
        loaded(folder, labels, maps=(rule,))


def test_links_are_admitted_on_request_only(folder, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    for name in NAMES:
        os.symlink(folder / name, links / name)
    labels = table(tmp_path, "l.csv", "file,gender\na.png,f\nb.png,m\nc.png,f\n")
    with pytest.raises(DatasetError, match=r"no images are in .* 3 links .*--follow-links"):
        loaded(links, labels)
    dataset = loaded(links, labels, follow_links=True, strict=True)
    assert dataset.follow_links
    assert dataset.image(1)[0, 0, 0] == 1


def test_loops_devices_and_paths_out_of_the_folder_stay_refused(folder, tmp_path):
    os.symlink(folder, folder / "loop")
    os.symlink(folder / "self.png", folder / "self.png")
    os.symlink("/dev/zero", folder / "zero.png")
    os.mkfifo(tmp_path / "pipe")
    os.symlink(tmp_path / "pipe", folder / "pipe.png")
    write_face(tmp_path / "other" / "d.png", 4)
    os.symlink(tmp_path / "other", folder / "other")
    dataset = load_dataset(folder, options=LoadOptions(needs_labels=False, follow_links=True))
    assert list(dataset.table["key"]) == [*NAMES, "other/d.png"]
    assert {problem.name for problem in dataset.problems} == {"loop", "self.png"}
    for key in ("../other/d.png", "zero.png", "pipe.png", str(tmp_path / "other" / "d.png")):
        with pytest.raises(ImageError):
            dataset.images.read(key)


def test_links_are_for_folders(tmp_path):
    pd.DataFrame({"image": [b"x"], "a": [1]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DatasetError, match="follow-links is for folders"):
        load_dataset(tmp_path / "x.parquet", options=LoadOptions(follow_links=True))


def test_arrow_files_are_refused_with_the_way_out(tmp_path):
    (tmp_path / "data-00000-of-00001.arrow").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"no images .* save_to_disk"):
        load_dataset(tmp_path)
