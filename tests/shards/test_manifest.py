import json
import subprocess
from importlib import resources

import jsonschema
import pytest
from shard_samples import cells, header, write_output

from faceaug.errors import IntegrityError
from faceaug.shards import manifest as manifest_module
from faceaug.shards.manifest import (
    MANIFEST_HASH_NAME,
    MANIFEST_NAME,
    Manifest,
    Totals,
    hash_line,
    read_manifest,
    write_manifest,
)


def manifest(**changes):
    planned = cells()
    values = {
        **dict(header()),
        "complete": False,
        "fingerprint": "f",
        "cells": planned,
        "totals": Totals.of(planned),
    }
    return Manifest(**{**values, **changes})


def put(folder, value):
    """Write a manifest of any content together with its right hash."""
    data = json.dumps(value).encode()
    (folder / MANIFEST_NAME).write_bytes(data)
    (folder / MANIFEST_HASH_NAME).write_text(hash_line(data))


def test_a_manifest_comes_back_as_it_was_written(tmp_path):
    written = manifest(config={"gates": {"min": 0.5}}, measured={"accuracy": [0.5, None]}, progress={"next": 3})
    write_manifest(tmp_path, written)
    assert read_manifest(tmp_path) == written


def test_the_shipped_schema_is_current():
    shipped = json.loads(resources.files("faceaug.shards").joinpath("manifest.schema.json").read_text("utf-8"))
    assert shipped == manifest_module.manifest_schema(), "write it anew: python -m faceaug.shards.manifest"


def test_a_written_manifest_fits_the_schema_and_a_changed_one_does_not(tmp_path):
    schema = manifest_module.manifest_schema()
    value = json.loads((write_output(tmp_path / "out") / MANIFEST_NAME).read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(value)
    value["shards"][0]["rows"] = 0
    assert not validator.is_valid(value)


def test_sha256sum_agrees(tmp_path):
    write_manifest(tmp_path, manifest())
    done = subprocess.run(
        ["sha256sum", "-c", MANIFEST_HASH_NAME], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(IntegrityError, match=r"manifest\.json is missing"):
        read_manifest(tmp_path)


def test_a_missing_hash_is_named(tmp_path):
    write_manifest(tmp_path, manifest())
    (tmp_path / MANIFEST_HASH_NAME).unlink()
    with pytest.raises(IntegrityError, match=r"manifest\.sha256 is missing"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", [MANIFEST_NAME, MANIFEST_HASH_NAME])
def test_a_changed_byte_in_either_file_is_refused(tmp_path, name):
    write_manifest(tmp_path, manifest())
    data = (tmp_path / name).read_bytes()
    for place in range(0, len(data), 1 if name == MANIFEST_HASH_NAME else 97):
        (tmp_path / name).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(IntegrityError):
            read_manifest(tmp_path)
    for cut in (data[:-1], data + b"\n", b"", data + data + data):
        (tmp_path / name).write_bytes(cut)
        with pytest.raises(IntegrityError):
            read_manifest(tmp_path)


@pytest.mark.parametrize("version", [0, 1, 4, "2", None, True, 2.5])
def test_another_version_is_refused_and_named(tmp_path, version):
    value = manifest().model_dump(mode="json")
    put(tmp_path, {**value, "version": version})
    with pytest.raises(IntegrityError, match="version"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("value", [[], 3, {}, {"format": "something", "version": 1}])
def test_another_format_is_refused(tmp_path, value):
    put(tmp_path, value)
    with pytest.raises(IntegrityError, match="format"):
        read_manifest(tmp_path)


def test_text_that_is_not_json_is_refused(tmp_path):
    (tmp_path / MANIFEST_NAME).write_bytes(b"{")
    (tmp_path / MANIFEST_HASH_NAME).write_text(hash_line(b"{"))
    with pytest.raises(IntegrityError, match="not JSON"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["../x.h5", "/etc/passwd", "a/../../x", "a\\b", "", "./x", "a//b"])
def test_a_path_that_leaves_the_folder_is_refused_and_named(tmp_path, name):
    value = manifest().model_dump(mode="json")
    value["files"] = [{"name": name, "sha256": "0" * 64, "bytes": 1}]
    put(tmp_path, value)
    with pytest.raises(IntegrityError, match="not a plain path inside the folder"):
        read_manifest(tmp_path)


def change(value, path, new):
    *steps, last = path
    for step in steps:
        value = value[step]
    value[last] = new


@pytest.mark.parametrize(
    ("path", "new", "message"),
    [
        (("cells", 0, "accepted"), 1, "planned 40 is not accepted 1"),
        (("cells", 0, "tried"), 1, "tried 1 is not accepted 0"),
        (("cells", 0, "index"), 1, "not numbered"),
        (("cells", 0, "planned"), -1, "greater than or equal"),
        (("totals", "real"), 7, "totals are not the sums"),
        (("shards",), [{"name": "shards/0.h5", "sha256": "0" * 64, "bytes": 1, "rows": 1}], "shards hold 1 samples"),
        (("files",), [{"name": "a", "sha256": "0" * 64, "bytes": 1}] * 2, "listed twice"),
        (("files",), [{"name": "manifest.json", "sha256": "0" * 64, "bytes": 1}], "lists itself"),
        (("files",), [{"name": "a", "sha256": "0", "bytes": 1}], "files.0.sha256"),
        (("complete",), True, "is not listed"),
        (("surprise",), 1, "surprise"),
        (("codec",), "gif", "codec"),
        (("seed",), -1, "seed"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused_with_the_place(tmp_path, path, new, message):
    value = manifest().model_dump(mode="json")
    change(value, path, new)
    put(tmp_path, value)
    with pytest.raises(IntegrityError) as error:
        read_manifest(tmp_path)
    assert message in str(error.value)
    assert MANIFEST_NAME in str(error.value)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_an_interruption_between_the_files_leaves_a_pair_that_matches(tmp_path, monkeypatch, stop):
    """write_manifest writes three files; after a stop at any of them the old or the new manifest matches its hash."""
    old, new = manifest(progress=1), manifest(progress=2)
    write_manifest(tmp_path, old)
    written = []

    def write(path, data, original=manifest_module.write_bytes):
        if len(written) == stop:
            raise KeyboardInterrupt
        written.append(path.name)
        original(path, data)

    monkeypatch.setattr(manifest_module, "write_bytes", write)
    if stop < 3:
        with pytest.raises(KeyboardInterrupt):
            write_manifest(tmp_path, new)
    else:
        write_manifest(tmp_path, new)
    assert read_manifest(tmp_path).progress == (1 if stop == 1 else 2)


def test_numbers_that_json_lacks_are_refused_before_anything_is_written():
    with pytest.raises(ValueError, match="nan"):
        manifest(measured={"r2": float("nan")})
