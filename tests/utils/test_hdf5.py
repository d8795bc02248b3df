"""HDF5 files from elsewhere: nothing outside the file is read, and no file ends the process."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import IN_PROCESS, Outcome
from forked import run_forked
from shard_samples import write_output

from faceaug.datasets import load_dataset
from faceaug.datasets.torch_dataset import ShardDataset
from faceaug.errors import DatasetError, FaceaugError, ImageError, IntegrityError
from faceaug.shards.manifest import MANIFEST_HASH_NAME, MANIFEST_NAME, hash_line
from faceaug.shards.reader import ShardReader
from faceaug.shards.verify import verify
from faceaug.utils.hdf5 import MOST_LINKS, open_hdf5

CANARY = b"the canary sings"
ROWS = 20

Spoil = Callable[[h5py.File, str, Path], None]
"""Replaces one data set of a file, by name, by something that leads to the canary's file."""


def external_storage(file: h5py.File, name: str, canary: Path) -> None:
    file.create_dataset(name, (ROWS,), f"S{len(CANARY)}", external=[(str(canary), 0, ROWS * len(CANARY))])


def virtual(file: h5py.File, name: str, canary: Path) -> None:
    layout = h5py.VirtualLayout((ROWS,), f"S{len(CANARY)}")
    layout[:] = h5py.VirtualSource(f"{canary}.h5", "secret", (ROWS,))
    file.create_virtual_dataset(name, layout)


def external_link(file: h5py.File, name: str, canary: Path) -> None:
    file[name] = h5py.ExternalLink(f"{canary}.h5", "/secret")


def soft_link_to_an_external_one(file: h5py.File, name: str, canary: Path) -> None:
    file["elsewhere/real"] = h5py.ExternalLink(f"{canary}.h5", "/secret")
    file[name] = h5py.SoftLink("/elsewhere/real")


def soft_link(file: h5py.File, name: str, canary: Path) -> None:
    file[name] = h5py.SoftLink("/elsewhere")


def mapping_itself(file: h5py.File, name: str, canary: Path) -> None:
    layout = h5py.VirtualLayout((ROWS,), "i4")
    layout[:] = h5py.VirtualSource(".", name, (ROWS,), "i4")
    file.create_virtual_dataset(name, layout)


KINDS = {
    external_storage: "a data set whose values are stored in another file",
    virtual: "a virtual data set",
    external_link: "a link to another file",
    soft_link_to_an_external_one: "link",
    soft_link: "a soft link",
    mapping_itself: "a virtual data set",
}
kinds = pytest.mark.parametrize(("spoil", "said"), KINDS.items(), ids=[kind.__name__ for kind in KINDS])


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file of bytes, and beside it one of HDF5 with the same in its data set "secret"."""
    path = tmp_path / "canary"
    path.write_bytes(CANARY * ROWS)
    with h5py.File(f"{path}.h5", "w") as file:
        file["secret"] = np.array([CANARY] * ROWS)
    return path


def data_set(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["images"] = np.random.default_rng(0).integers(0, 256, (ROWS, 8, 8, 3), dtype=np.uint8)
    return path


def run_commands(commands: Sequence[Sequence[object]]) -> list[Outcome]:
    """Run command lines one after the other in one process of their own; it must outlive all of them."""
    words = [[str(word) for word in command] for command in commands]
    code = f"""{IN_PROCESS}
import contextlib, io, json, sys
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(words)
    print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""
    process = run_forked(code, json.dumps(words), timeout=300)
    assert process.returncode == 0, process.stderr
    return [Outcome(*json.loads(line)) for line in process.stdout.splitlines()]


@pytest.mark.slow
def test_a_column_from_elsewhere_is_not_printed(tmp_path, canary):
    cases = [(spoil, said, name) for spoil, said in KINDS.items() for name in ("gender", "attr/deep/gender")]
    files = [tmp_path / f"{k}" / "x.h5" for k in range(len(cases))]
    for file, (spoil, _, name) in zip(files, cases, strict=True):
        file.parent.mkdir()
        with h5py.File(data_set(file), "a") as handle:
            spoil(handle, name, canary)
    outcomes = run_commands([("analyze", file, "--by", "gender", "--check", "none") for file in files])
    for outcome, (spoil, said, name) in zip(outcomes, cases, strict=True):
        assert outcome.status == 1, (spoil, name, outcome.err)
        assert CANARY.decode() not in outcome.out + outcome.err
        assert "x.h5 is refused: " in outcome.err
        assert said in outcome.err
        assert outcome.err.count("\n") == 1


@kinds
@pytest.mark.parametrize("name", ["images", "blob", "offset"])
def test_images_from_elsewhere_are_refused(tmp_path, canary, spoil, said, name):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["gender"] = np.array([b"x"] * ROWS)
        spoil(file, name, canary)
    with pytest.raises(DatasetError, match=said):
        load_dataset(tmp_path / "x.h5")


def test_a_file_that_is_replaced_after_it_was_listed_is_looked_through_again(tmp_path, canary):
    source = load_dataset(data_set(tmp_path / "x.h5")).images
    source.close()
    with h5py.File(tmp_path / "x.h5", "a") as file:
        del file["images"]
        external_storage(file, "images", canary)
    with pytest.raises(ImageError, match="another file"):
        source.read("0")


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return write_output(tmp_path_factory.mktemp("sound") / "out", count=20, rows=20)


def spoiled(sound: Path, folder: Path, spoil: Spoil, name: str, canary: Path) -> Path:
    """Copy an output folder, replace one data set of its shard, and mend the hashes as an attacker would."""
    shutil.copytree(sound, folder)
    (shard,) = (folder / "shards").glob("*.h5")
    with h5py.File(shard, "a") as file:
        del file[name]
        spoil(file, name, canary)
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    data = shard.read_bytes()
    manifest["shards"][0] |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    written = json.dumps(manifest).encode()
    (folder / MANIFEST_NAME).write_bytes(written)
    (folder / MANIFEST_HASH_NAME).write_text(hash_line(written))
    return shard


@kinds
@pytest.mark.parametrize("name", ["image", "length", "attr/gender"])
def test_no_reader_of_shards_reads_from_elsewhere(sound, tmp_path, canary, spoil, said, name):
    shard = spoiled(sound, tmp_path / "out", spoil, name, canary)
    with pytest.raises(IntegrityError, match=said):
        _ = ShardReader(shard).rows
    with pytest.raises(FaceaugError, match=said):
        _ = ShardDataset(tmp_path / "out")[0]
    with pytest.raises(FaceaugError, match=said):
        load_dataset(tmp_path / "out")
    report = verify(tmp_path / "out")
    assert any(said in problem.what for problem in report.problems)
    assert CANARY.decode() not in report.to_text()


@pytest.mark.slow
def test_a_shard_that_maps_itself_does_not_end_the_process(sound, tmp_path, canary):
    names = ("image", "length", "attr/gender")
    shards = [spoiled(sound, tmp_path / f"{k}", mapping_itself, name, canary) for k, name in enumerate(names)]
    folders = [shard.parents[1] for shard in shards]
    code = """
import sys
from faceaug.datasets.torch_dataset import ShardDataset
from faceaug.errors import FaceaugError
from faceaug.shards.reader import ShardReader
for shard, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    for read in (lambda: ShardReader(shard).image(0), lambda: ShardDataset(folder)[0]):
        try:
            read()
        except FaceaugError as error:
            print(error)
"""
    process = run_forked(code, *(path for pair in zip(shards, folders, strict=True) for path in pair))
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("is a virtual data set") == 2 * len(names)
    commands = [
        command for folder in folders for command in (("verify", folder), ("analyze", folder, "--by", "gender"))
    ]
    assert [outcome.status for outcome in run_commands(commands)] == [1] * len(commands)


def test_groups_that_contain_themselves_are_read_as_often_as_they_are_there(tmp_path):
    with h5py.File(data_set(tmp_path / "x.h5"), "a") as file:
        group = file.create_group("labels")
        group["gender"] = np.array([b"f", b"m"] * (ROWS // 2))
        for number in range(20):  # paths of eight of them are 20^8
            group[f"again{number}"] = group
            group[f"whole{number}"] = file
    dataset = load_dataset(tmp_path / "x.h5", strict=True)
    assert dataset.attributes == ("gender",)


def test_a_file_of_too_many_parts_is_refused(tmp_path):
    with h5py.File(tmp_path / "many.h5", "w") as file:
        file["one"] = [1]
        for number in range(MOST_LINKS):
            file[f"{number}"] = file["one"]
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file.create_group("/".join("g" * 200))
    for name in ("many.h5", "deep.h5"):
        with pytest.raises(DatasetError, match="needs only a few"):
            open_hdf5(tmp_path / name, DatasetError)


def test_a_refused_file_is_closed_and_the_name_in_the_message_is_short(tmp_path, canary):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        external_link(file, "a\n" + "very" * 500, canary)
    with pytest.raises(DatasetError) as caught:
        open_hdf5(tmp_path / "x.h5", DatasetError)
    assert len(str(caught.value)) < len(str(tmp_path)) + 300
    assert "\n" not in str(caught.value)
    with h5py.File(tmp_path / "x.h5", "a") as file:  # fails while another handle is open for reading
        file["b"] = [1]
