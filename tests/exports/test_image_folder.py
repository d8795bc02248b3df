import shutil

import pandas as pd
import pytest
from shard_samples import COLUMNS, cells, header, plan, sample, write_output

from faceaug.errors import IntegrityError, OutputError, UsageError
from faceaug.exports.export import export_output
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.reader import ShardReader
from faceaug.utils import images

COUNT = 30


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return write_output(tmp_path_factory.mktemp("export") / "out", count=COUNT, rows=12)


def encoded(out):
    images = []
    for path in sorted((out / "shards").glob("*.h5")):
        with ShardReader(path) as reader:
            images += reader.encoded_many(range(len(reader)))
    return images


def test_each_cell_becomes_a_folder_with_unchanged_files(out, tmp_path):
    counts = []
    report = export_output(out, tmp_path / "deep" / "images", progress=counts.append)
    assert (report.images, report.folders) == (COUNT, {"female": 15, "male": 15})
    assert sum(counts) == COUNT
    labels = pd.read_csv(report.destination / "metadata.csv")
    assert len(labels) == COUNT
    for row, data in enumerate(encoded(out)):
        name = labels["file_name"][row]
        assert name.split("/")[0] == labels["gender"][row]
        assert name.endswith(".jpg")
        assert (report.destination / name).read_bytes() == data
    assert len(list(report.destination.rglob("*.jpg"))) == COUNT
    assert sorted(p.name for p in report.destination.iterdir()) == ["female", "male", "metadata.csv"]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["images"]


def test_metadata_has_the_labels_of_the_samples(out, tmp_path):
    export_output(out, tmp_path / "x")
    labels = pd.read_csv(tmp_path / "x" / "metadata.csv", dtype={"seed": str})
    samples = [sample(k) for k in range(COUNT)]
    assert labels["age"].tolist() == [s.attr["age"] for s in samples]
    assert labels["seed"].tolist() == [f"{s.seed:#018x}" for s in samples]  # beyond int64
    assert labels["semantic/yaw"].tolist() == [s.semantic["yaw"] for s in samples]
    assert labels["skin/tone"].isna().tolist() == ["skin/tone" not in s.attr for s in samples]


def test_any_attributes_can_make_the_folders(out, tmp_path):
    one = export_output(out, tmp_path / "one", by="skin/tone")
    assert one.folders == {"hell-weiß": 22, "unknown": 8}
    two = export_output(out, tmp_path / "two", by=["skin/tone,gender"])
    assert set(two.folders) == {"hell-weiß_female", "hell-weiß_male", "unknown_female"}
    assert sum(two.folders.values()) == COUNT


def test_cells_whose_levels_hold_underlines_do_not_meet(tmp_path):
    hats, coats = ("a_b", "a"), ("c", "b_c")
    columns = [
        COLUMNS[0].model_copy(update={"name": name, "levels": levels})
        for name, levels in (("hat", hats), ("coat", coats))
    ]
    samples = [
        {"attr": {"hat": hat, "coat": coat}, "attr_confidence": {}, "semantic": {}, "harmonize": {}}
        for hat, coat in (("a_b", "c"), ("a", "b_c"))
    ]
    out = write_custom(tmp_path / "out", tuple(columns), samples)
    assert export_output(out, tmp_path / "x", by="hat,coat").folders == {"a%5fb_c": 1, "a_b%5fc": 1}
    assert set(export_output(out, tmp_path / "y", by="hat").folders) == {"a_b", "a"}


@pytest.mark.parametrize("by", ["gander", "age", "semantic/yaw"])
def test_folders_by_a_name_without_levels_are_refused(out, tmp_path, by):
    with pytest.raises(UsageError, match="cannot be sorted by"):
        export_output(out, tmp_path / "x", by=by)
    assert list(tmp_path.iterdir()) == []


def test_levels_cannot_lead_out_of_the_destination_or_meet(tmp_path):
    levels = ("../up", "/etc", "a/b", "a%2fb", ".", "..", "", "CON :*?", " ")
    levels = tuple(level for level in levels if level)
    columns = (COLUMNS[0].model_copy(update={"name": "hat", "levels": levels}),)
    samples = [{"attr": {"hat": level}, "attr_confidence": {}, "semantic": {}, "harmonize": {}} for level in levels]
    out = write_custom(tmp_path / "out", columns, samples)
    report = export_output(out, tmp_path / "x" / "images", by="hat")
    assert len(report.folders) == len(levels)
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["images"]
    folders = [p for p in report.destination.iterdir() if p.is_dir()]
    assert len(folders) == len(levels)
    assert all(len(list(p.iterdir())) == 1 for p in folders)


def write_custom(path, columns, changes):
    with OutputFolder.open(path, "f" * 64) as folder:
        folder.begin(header(columns=columns), cells(), plan())
        folder.append([sample(k, **change) for k, change in enumerate(changes)])
        folder.finish()
    return path


def test_raw_pixels_become_png(tmp_path):
    out = write_output(tmp_path / "out", count=6, layout="raw", codec="jpeg")
    report = export_output(out, tmp_path / "x")
    names = pd.read_csv(report.destination / "metadata.csv")["file_name"]
    for row, name in enumerate(names):
        assert name.endswith(".png")
        assert (images.decode((report.destination / name).read_bytes()) == sample(row).image).all()


def test_an_empty_destination_is_used_and_a_full_one_refused(out, tmp_path):
    (tmp_path / "empty").mkdir()
    assert export_output(out, tmp_path / "empty").images == COUNT
    with pytest.raises(OutputError, match="not an empty folder"):
        export_output(out, tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="not an empty folder"):
        export_output(out, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "x"


def test_a_run_without_samples_exports_a_table_without_rows(tmp_path):
    report = export_output(write_output(tmp_path / "out", count=0), tmp_path / "x")
    assert (report.images, report.folders) == (0, {})
    assert (tmp_path / "x" / "metadata.csv").exists()


def test_damage_and_unfinished_runs_are_refused_and_leave_nothing(out, tmp_path):
    folder = shutil.copytree(out, tmp_path / "in" / "out")
    path = folder / "shards" / "00001.h5"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=r"00001\.h5"):
        export_output(folder, tmp_path / "x")
    unfinished = write_output(tmp_path / "in" / "half", finish=False)
    with pytest.raises(UsageError, match="unfinished"):
        export_output(unfinished, tmp_path / "x")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_a_failed_write_leaves_nothing(out, tmp_path, monkeypatch):
    def full(writer, row):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("csv.DictWriter.writerow", full)
    with pytest.raises(OutputError, match="disk is full"):
        export_output(out, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
