"""Merging, choosing and dividing output folders: the results are sound, and nothing is left after an error."""

from __future__ import annotations

import pytest
from old_shards import to_old_folder
from shard_samples import COLUMNS, cells, header, plan, sample, write_output

from faceaug.curation.operations import merge_outputs, split_output, subset_output
from faceaug.errors import OutputError, UsageError
from faceaug.shards.description.samples_table import read_samples_table
from faceaug.shards.manifest import DatasetRecord, read_manifest
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.run_state import CellState
from faceaug.shards.verify import verify

COUNT = 30


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return write_output(tmp_path_factory.mktemp("curation") / "out", count=COUNT, rows=12)


def other_output(path, first=100, count=7, **changes):
    """Write an output folder of other samples."""
    with OutputFolder.open(path, "e" * 64) as folder:
        folder.begin(header(**changes), cells(), plan())
        folder.append([sample(k) for k in range(first, first + count)], {0: CellState({"blurred": 2})})
        folder.finish()
    return path


def table(folder):
    return read_samples_table(folder / "samples.parquet").to_pandas()


def sound(folder):
    report = verify(folder)
    assert report.problems == ()
    assert report.notes == ()
    assert report.complete
    return report.rows


@pytest.mark.parametrize("layout", ["blob", "raw"])
def test_merged_samples_are_all_there_as_they_were(tmp_path, layout):
    one = write_output(tmp_path / "one", count=12, layout=layout)
    two = other_output(tmp_path / "two", layout=layout)
    manifest = merge_outputs([one, two], tmp_path / "both", command="faceaug merge one two")
    assert sound(tmp_path / "both") == manifest.totals.accepted == 19
    hashes = table(tmp_path / "both")["sha256"].tolist()
    assert hashes == [*table(one)["sha256"], *table(two)["sha256"]]
    assert manifest.totals.rejected == {"blurred": 2, "duplicate": 1}
    assert manifest.created_by.command == "faceaug merge one two"
    assert manifest.measured["merge"] == {"folders": ["one", "two"]}


@pytest.mark.parametrize("old_first", [True, False])
def test_a_folder_of_the_version_before_is_merged_with_one_of_today(tmp_path, old_first):
    old = to_old_folder(write_output(tmp_path / "old", count=12))
    new = other_output(tmp_path / "new")
    folders = [old, new] if old_first else [new, old]
    manifest = merge_outputs(folders, tmp_path / "both")
    assert sound(tmp_path / "both") == 19
    assert manifest.generator == read_manifest(new).generator


def test_one_folder_is_not_merged_with_itself(tmp_path):
    one = write_output(tmp_path / "one", count=12)
    with pytest.raises(UsageError, match="have a sample in common"):
        merge_outputs([one, one], tmp_path / "both", command="faceaug merge one one")
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first": 3}, "have a sample in common"),
        ({"layout": "raw"}, "have another layout"),
        ({"dataset": DatasetRecord(name="t", fingerprint="0" * 64, rows=1)}, "have another dataset"),
        (
            {"columns": (COLUMNS[0].model_copy(update={"levels": ("male", "female")}), *COLUMNS[1:])},
            "the column gender",
        ),
    ],
)
def test_folders_that_do_not_fit_are_not_merged(out, tmp_path, changes, message):
    two = other_output(tmp_path / "two", **changes)
    with pytest.raises(UsageError, match=message):
        merge_outputs([out, two], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_one_folder_an_unfinished_one_and_a_full_destination_are_refused(out, tmp_path):
    with pytest.raises(UsageError, match="name at least two"):
        merge_outputs([out], tmp_path / "both")
    half = write_output(tmp_path / "half", finish=False)
    with pytest.raises(UsageError, match="is unfinished"):
        merge_outputs([out, half], tmp_path / "both")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    with pytest.raises(OutputError, match="not an empty folder"):
        subset_output(out, tmp_path / "full", "age > 0")
    assert (tmp_path / "full" / "note").read_text() == "mine"


def test_a_subset_holds_the_samples_that_meet_the_condition(out, tmp_path):
    counts = []
    manifest = subset_output(out, tmp_path / "some", "yaw > 20 and engine == 'rerender'", progress=counts.append)
    chosen = table(tmp_path / "some")
    assert sound(tmp_path / "some") == len(chosen) == sum(counts) == 2
    assert set(chosen["engine"]) == {"rerender"}
    assert chosen["semantic/yaw"].min() > 20
    assert [cell.planned for cell in manifest.cells] == [cell.accepted for cell in manifest.cells]
    assert manifest.measured["subset"] == {"folder": "out", "where": "yaw > 20 and engine == 'rerender'"}


def test_a_condition_that_no_sample_meets_writes_nothing(out, tmp_path):
    with pytest.raises(UsageError, match="none of the 30 samples"):
        subset_output(out, tmp_path / "none", "age > 1000")
    assert not (tmp_path / "none").exists()


def test_every_cell_is_divided_by_the_shares(out, tmp_path):
    parts = split_output(out, tmp_path / "parts", [0.8, 0.2])
    assert list(parts) == ["train", "val"]
    whole = set(table(out)["sha256"])
    found = [table(tmp_path / "parts" / name) for name in parts]
    assert [sound(tmp_path / "parts" / name) for name in parts] == [24, 6]
    assert [each["cell"].value_counts().to_dict() for each in found] == [{0: 12, 1: 12}, {0: 3, 1: 3}]
    assert set(found[0]["sha256"]) | set(found[1]["sha256"]) == whole
    again = split_output(out, tmp_path / "again", [0.8, 0.2])
    assert [m.shards for m in again.values()] == [m.shards for m in parts.values()]
    other = split_output(out, tmp_path / "other", [0.8, 0.2], seed=1)
    assert [m.shards for m in other.values()] != [m.shards for m in parts.values()]
    assert read_manifest(tmp_path / "parts/val").measured["split"] == {"folder": "out", "share": 0.2, "seed": 0}


def test_samples_of_one_photograph_stay_together(out, tmp_path):
    """All rerendered samples of the helper name one photograph; each cell has three of them."""
    split_output(out, tmp_path / "parts", [0.5, 0.5])
    places = [
        set(table(tmp_path / "parts" / name).groupby("cell")["source_sha256"].count()) for name in ("train", "val")
    ]
    assert places in ([{0}, {3}], [{3}, {0}], [{0, 3}, {0, 3}], [{3, 0}, {3, 0}])


@pytest.mark.parametrize(
    ("shares", "names", "message"),
    [
        ([0.5], (), "at least two positive ones with the sum 1"),
        ([0.5, 0.6], (), "sum 1"),
        ([1.5, -0.5], (), "positive"),
        ([0.5, 0.5], ("a", "a"), "a name of its own"),
        ([0.5, 0.5], ("a",), "a name of its own"),
        ([0.5, 0.5], ("a", "../b"), "without slashes"),
    ],
)
def test_shares_and_names_that_do_not_fit_are_refused(out, tmp_path, shares, names, message):
    with pytest.raises(UsageError, match=message):
        split_output(out, tmp_path / "parts", shares, names=names)
    assert not (tmp_path / "parts").exists()


def test_the_commands(faceaug_cli_for_curation, out, tmp_path):
    run = faceaug_cli_for_curation
    two = other_output(tmp_path / "two")
    assert run(["merge", str(out), str(two), "-o", str(tmp_path / "both")]) == 0
    assert run(["subset", str(tmp_path / "both"), "--where", "age > 30", "-o", str(tmp_path / "some")]) == 0
    assert (
        run(["split", str(tmp_path / "some"), "--shares", "0.5,0.5", "-o", str(tmp_path / "parts"), "--names", "a,b"])
        == 0
    )
    assert sound(tmp_path / "parts/a") + sound(tmp_path / "parts/b") == sound(tmp_path / "some")
    assert run(["split", str(out), "--shares", "half", "-o", str(tmp_path / "x")]) == 2


@pytest.fixture
def faceaug_cli_for_curation():
    import command_line  # noqa: F401  a checkout that is not installed
    from faceaug.cli.main import run

    return run
