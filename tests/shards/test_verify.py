import hashlib
import json
import random
import shutil

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from old_shards import to_old_folder
from shard_samples import sample, write_output

from faceaug.shards import verify as verify_module
from faceaug.shards.manifest import MANIFEST_HASH_NAME, MANIFEST_NAME, hash_line
from faceaug.shards.reader import ShardReader
from faceaug.shards.verify import verify


@pytest.fixture(scope="module", params=["blob", "raw", "version 2"])
def sound(request, tmp_path_factory):
    changes = {"layout": "raw", "codec": "png"} if request.param == "raw" else {}
    out = write_output(tmp_path_factory.mktemp(request.param) / "out", count=20, rows=8, **changes)
    return to_old_folder(out) if request.param == "version 2" else out


@pytest.fixture(scope="module")
def blob(tmp_path_factory):
    return write_output(tmp_path_factory.mktemp("blob") / "out", count=20, rows=8)


@pytest.fixture
def copy(blob, tmp_path):
    return shutil.copytree(blob, tmp_path / "out")


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def reseal(folder):
    """Put the hashes of the present files into the manifest, as someone who changes files on purpose would."""
    value = json.loads((folder / MANIFEST_NAME).read_text())
    for entry in (*value["shards"], *value["files"]):
        data = (folder / entry["name"]).read_bytes()
        entry |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    write_manifest(folder, value)


def write_manifest(folder, value):
    data = json.dumps(value).encode()
    (folder / MANIFEST_NAME).write_bytes(data)
    (folder / MANIFEST_HASH_NAME).write_text(hash_line(data))


def edit(folder, name, change):
    """Change a shard through HDF5, so that its checksums are right, and update the hashes in the manifest."""
    with h5py.File(folder / name, "r+") as file:
        change(file)
    reseal(folder)


def problems_of(report):
    return [(p.file, p.row, p.what) for p in report.problems]


def test_a_sound_folder_has_no_problem(sound):
    counts = []
    report = verify(sound, progress=counts.append)
    assert (report.problems, report.rows, report.complete, report.notes) == ((), 20, True, ())
    assert report.ok
    assert counts == [8, 8, 4]
    assert report.to_text() == "sound: 20 samples"
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def blamed(name):
    """Which files may be named for damage to a file: manifest and hash cannot be told apart."""
    return {MANIFEST_NAME, MANIFEST_HASH_NAME} if name in (MANIFEST_NAME, MANIFEST_HASH_NAME) else {name}


@pytest.mark.slow
def test_a_flipped_bit_anywhere_in_any_file_is_found_and_its_file_named(sound, tmp_path):
    folder = shutil.copytree(sound, tmp_path / "out")
    rng = random.Random(0)
    names = files(folder)
    assert len(names) == 9
    for name in names:
        data = (folder / name).read_bytes()
        for place in {0, len(data) // 2, len(data) - 1, *(rng.randrange(len(data)) for _ in range(2))}:
            flipped = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
            (folder / name).write_bytes(flipped)
            report = verify(folder)
            assert not report.ok, (name, place)
            assert {p.file for p in report.problems} & blamed(name), (name, place)
        (folder / name).write_bytes(data)
    assert verify(folder).ok


@pytest.mark.parametrize("damage", ["truncated", "emptied", "longer", "deleted", "folder instead", "link away"])
def test_a_changed_file_is_found_and_named(sound, tmp_path, damage):
    folder = shutil.copytree(sound, tmp_path / "out")
    for name in files(folder):
        path = folder / name
        data = path.read_bytes()
        path.unlink()
        if damage == "truncated":
            path.write_bytes(data[: len(data) // 2])
        elif damage == "emptied":
            path.touch()
        elif damage == "longer":
            path.write_bytes(data + b"\0")
        elif damage == "folder instead":
            path.mkdir()
        elif damage == "link away":
            (tmp_path / "elsewhere").write_bytes(data)
            path.symlink_to(tmp_path / "elsewhere")
        report = verify(folder)
        assert {p.file for p in report.problems} & blamed(name), name
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        path.write_bytes(data)


def test_swapped_files_are_found(copy):
    one, two = copy / "shards" / "00000.h5", copy / "shards" / "00001.h5"
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    assert {"shards/00000.h5", "shards/00001.h5", "samples.parquet"} <= {p.file for p in verify(copy).problems}


def test_swapped_shards_are_found_even_with_updated_hashes(copy):
    one, two = copy / "shards" / "00000.h5", copy / "shards" / "00001.h5"
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    reseal(copy)
    assert {p.file for p in verify(copy).problems} == {"samples.parquet"}


def test_damage_in_an_image_names_its_row_and_no_other(copy):
    path = copy / "shards" / "00001.h5"
    with ShardReader(path) as reader:
        images = reader.encoded_many(range(8))
    whole = path.read_bytes()
    for row, image in enumerate(images):
        data = bytearray(whole)
        data[data.find(image) + len(image) // 2] ^= 16
        path.write_bytes(data)
        report = verify(copy)
        assert {p.row for p in report.problems} == {None, row}
        assert {p.file for p in report.problems} == {"shards/00001.h5"}
        assert f"shards/00001.h5, row {row}: the image does not match its SHA-256" in report.to_text()


def test_damage_to_the_heap_of_images_is_found_and_the_images_are_sound(copy):
    path = copy / "shards" / "00001.h5"
    data = bytearray(path.read_bytes())
    data[data.find(b"GCOL") + 8] ^= 255  # its size
    path.write_bytes(data)
    problems = [problem for problem in verify(copy).problems if problem.shard]
    assert any("the images cannot be read through HDF5" in problem.what for problem in problems)
    assert {problem.row for problem in problems} == {None}


def test_damage_in_raw_pixels_names_its_row(tmp_path):
    folder = write_output(tmp_path / "out", count=6, rows=8, layout="raw", codec="png")
    path = folder / "shards" / "00000.h5"
    data = bytearray(path.read_bytes())
    data[data.find(sample(3).image.tobytes()) + 100] ^= 1
    path.write_bytes(data)
    assert {p.row for p in verify(folder).problems} == {None, 3}


def test_damage_in_a_column_names_the_data_set_and_the_rows_that_differ(copy):
    path = copy / "shards" / "00000.h5"
    data = bytearray(path.read_bytes())
    with ShardReader(path) as reader:
        yaw = reader.column("semantic/yaw").tobytes()
    data[data.find(yaw) + 4 * 5] ^= 1
    path.write_bytes(data)
    problems = problems_of(verify(copy))
    assert ("shards/00000.h5", None, "semantic/yaw fails its checksum") in problems
    assert [(file, row) for file, row, _ in problems if row is not None] == [("samples.parquet", 5)]


def replace(name, value, place=...):
    def change(file):
        values = file[name][...]
        values[place] = value
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=values, chunks=values.shape, fletcher32=True).attrs.update(attributes)

    return change


def relevel(file):
    file["attr/gender"].attrs.modify("levels", np.array([b"male", b"female"]))


@pytest.mark.parametrize(
    ("change", "message", "row"),
    [
        (replace("attr/gender", 2, 3), "attr/gender has the value 2", 3),
        (replace("attr/gender", -2, 0), "attr/gender has the value -2", 0),
        (replace("engine", -1, 2), "engine has the value -1", 2),
        (replace("cell", 2, 1), "cell has the value 2", 1),
        (replace("cell", -1, 7), "cell has the value -1", 7),
        (replace("engine", 1, 1), "requires a source_sha256", 1),
        (replace("source_sha256", 0, 4), "requires a source_sha256", 4),
        (replace("w", np.nan, (2, 3)), "w has the value", 2),
        (replace("w", np.inf, 2), "w has the value", 2),
        (replace("length", 0, 3), "positions and lengths do not fit", None),
        (replace("length", 10**9, 3), "positions and lengths do not fit", None),
        (replace("position", -1, 3), "positions and lengths do not fit", None),
        (replace("position", 0, 3), "the image is another one when it is read through HDF5", 3),
        (replace("length", 1, 0), "the image is another one when it is read through HDF5", 0),
        (replace("sha256", 0, 6), "does not match its SHA-256", 6),
        (lambda f: f.__delitem__("seed"), "'seed' is missing", None),
        (
            lambda f: f.create_dataset("attr/extra", data=np.zeros(8)),
            "'attr/extra' that the manifest does not list",
            None,
        ),
        (relevel, "has levels ('male', 'female')", None),
        (lambda f: f.attrs.modify("rows", 7), "its rows is 7, expected 8", None),
        (lambda f: f.attrs.modify("version", 9), "its version is 9, expected 3", None),
        (lambda f: f.attrs.modify("codec", b"png"), "its codec is 'png', expected 'jpeg'", None),
    ],
)
def test_invalid_values_behind_correct_hashes_are_found_with_their_row(copy, change, message, row):
    edit(copy, "shards/00000.h5", change)
    problems = [(p.file, p.row) for p in verify(copy).problems if message in p.what]
    assert ("shards/00000.h5", row) in problems


def test_a_data_set_without_a_checksum_or_of_another_type_is_found(copy):
    def change(file):
        yaw = file["semantic/yaw"][...]
        del file["semantic/yaw"], file["cell"]
        file.create_dataset("semantic/yaw", data=yaw)
        file.create_dataset("cell", data=np.zeros(8, np.int64), chunks=(8,), fletcher32=True)

    edit(copy, "shards/00000.h5", change)
    text = verify(copy).to_text()
    assert "semantic/yaw has no checksum" in text
    assert "cell is int64 [8], expected int32 of 8 rows" in text


def test_a_data_set_that_claims_more_than_the_file_holds_is_not_read(copy):
    def change(file):
        del file["w"]
        file.create_dataset("w", shape=(8, 10**9), dtype=np.float32, chunks=(1, 10**6), fletcher32=True)

    edit(copy, "shards/00000.h5", change)
    assert "'w' claims 32,000,000,000 bytes" in verify(copy).to_text()


def test_an_image_that_is_not_a_jpeg_is_found(tmp_path):
    folder = write_output(tmp_path / "out", count=8, rows=8)
    path = folder / "shards" / "00000.h5"
    with ShardReader(path) as reader:
        image, start = reader.encoded(2), int(reader.column("position")[2])
    data = path.read_bytes()
    path.write_bytes(data[:start] + b"\1" + data[start + 1 :])

    def change(file):
        hashes = file["sha256"][...]
        hashes[2] = np.frombuffer(hashlib.sha256(b"\1" + image[1:]).digest(), np.uint8)
        replace("sha256", hashes)(file)

    edit(folder, "shards/00000.h5", change)
    assert [(p.file, p.row) for p in verify(folder).problems if "only JPEG, PNG and WebP" in p.what] == [
        ("shards/00000.h5", 2)
    ]


def test_cells_that_do_not_add_up_are_found(copy):
    edit(copy, "shards/00002.h5", replace("cell", 1, 0))
    problems = problems_of(verify(copy))
    assert (MANIFEST_NAME, None, "cell 0 accounts for 10 samples, the shards have 9") in problems
    assert (MANIFEST_NAME, None, "cell 1 accounts for 10 samples, the shards have 11") in problems


def test_a_sample_that_is_stored_twice_is_found(copy):
    edit(copy, "shards/00002.h5", replace("seed", sample(2).seed, 2))
    assert (
        "shards/00002.h5",
        2,
        "has the cell and the seed of shards/00000.h5, row 2: the sample is stored twice",
    ) in problems_of(verify(copy))


def test_a_table_that_differs_from_the_shards_is_found_with_shard_and_row(copy):
    table = pq.read_table(copy / "samples.parquet")
    column = table.column("age").to_pylist()
    column[10] = 99.0
    table = table.set_column(table.schema.get_field_index("age"), table.schema.field("age"), [column])
    pq.write_table(table, copy / "samples.parquet")
    reseal(copy)
    (problem,) = verify(copy).problems
    assert (problem.file, problem.shard, problem.row) == ("samples.parquet", "shards/00001.h5", 2)
    assert problem.what == "age is 99.0, the shard has 30.0"


@pytest.mark.parametrize("change", [lambda t: t.slice(1), lambda t: t.drop_columns(["seed"])])
def test_a_table_without_a_row_or_a_column_is_found(copy, change):
    pq.write_table(change(pq.read_table(copy / "samples.parquet")), copy / "samples.parquet")
    reseal(copy)
    assert {p.file for p in verify(copy).problems} == {"samples.parquet"}


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p["cells"][0].update(planned=1),
        lambda p: p["cells"].reverse(),
        lambda p: p.pop("cells"),
        lambda p: p["cells"][0].pop("real"),
    ],
)
def test_a_plan_that_is_not_the_one_of_the_manifest_is_found(copy, change):
    plan = json.loads((copy / "plan.json").read_text())
    change(plan)
    (copy / "plan.json").write_text(json.dumps(plan))
    reseal(copy)
    assert {p.file for p in verify(copy).problems} == {"plan.json"}


def test_a_name_that_leads_out_of_the_folder_is_refused(copy, tmp_path):
    (tmp_path / "secret").write_bytes(b"x")
    value = json.loads((copy / MANIFEST_NAME).read_text())
    value["files"].append({"name": "../secret", "sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1})
    write_manifest(copy, value)
    assert "'../secret' is not a plain path inside the folder" in verify(copy).to_text()


def test_accounting_that_contradicts_itself_is_found(copy):
    value = json.loads((copy / MANIFEST_NAME).read_text())
    value["cells"][0]["short"] += 1
    write_manifest(copy, value)
    assert "planned 40 is not accepted 10 + short 31" in verify(copy).to_text()


def test_an_extra_shard_is_a_problem_and_another_extra_file_a_note(copy):
    shutil.copy(copy / "shards" / "00000.h5", copy / "shards" / "00003.h5")
    (copy / "notes.txt").write_text("mine")
    (copy / "report.html").write_text("derived")
    (copy / "report_files").mkdir()
    report = verify(copy)
    assert problems_of(report) == [("shards/00003.h5", None, "is not listed in the manifest")]
    assert report.notes == ("notes.txt is not listed in the manifest",)


def test_an_unfinished_run_is_valid_and_reported_as_unfinished(tmp_path):
    folder = write_output(tmp_path / "out", finish=False)
    report = verify(folder)
    assert report.ok
    assert not report.complete
    assert report.to_text() == "sound: 30 samples; the run is unfinished"
    data = (folder / "shards" / "00001.h5").read_bytes()
    (folder / "shards" / "00001.h5").write_bytes(data[:-1])
    assert {p.file for p in verify(folder).problems} == {"shards/00001.h5"}


def test_a_folder_without_a_manifest_is_reported(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        (problem,) = verify(folder).problems
        assert problem.file == MANIFEST_NAME
        assert "no output folder" in problem.what


def test_every_shard_is_read_once(sound, monkeypatch):
    checked = []
    original = verify_module.check_shard
    monkeypatch.setattr(verify_module, "check_shard", lambda p, e, m: checked.append(e.name) or original(p, e, m))
    assert verify(sound).ok
    assert checked == ["shards/00000.h5", "shards/00001.h5", "shards/00002.h5"]
