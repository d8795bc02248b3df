"""Refused pictures in an output folder: read as they were written, and damage is told in a sentence."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_samples import cells, header, plan, sample, write_output

from faceaug.errors import IntegrityError
from faceaug.shards.manifest import read_manifest
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.refused import REFUSED_NAME, RefusedPicture, read_refused, write_refused
from faceaug.shards.verify import verify

PICTURES = [RefusedPicture(0, 3, "plausible", False, b"one"), RefusedPicture(1, 7, "<b>", True, b"two")]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    with OutputFolder.open(tmp_path / "out", "f" * 64) as folder:
        folder.begin(header(), cells(), plan())
        folder.append([sample(0)])
        write_refused(folder.path, PICTURES)
        folder.finish(files=[REFUSED_NAME])
    return tmp_path / "out"


def test_they_are_read_as_they_were_written_and_are_no_samples(out: Path) -> None:
    manifest = read_manifest(out)
    assert read_refused(out, manifest) == tuple(PICTURES)
    assert manifest.totals.accepted == 1
    assert verify(out).ok


def test_a_folder_without_them_has_none(tmp_path: Path) -> None:
    out = write_output(tmp_path / "out")
    assert read_refused(out, read_manifest(out)) == ()


def test_damage_is_told(out: Path) -> None:
    manifest, path = read_manifest(out), out / REFUSED_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert [problem.file for problem in verify(out).problems] == [REFUSED_NAME]
    with pytest.raises(IntegrityError, match="run faceaug verify"):
        read_refused(out, manifest)
    table = pq.read_table(pa.BufferReader(whole))
    for name, values in (("cell", [0, 9]), ("reason", ["a", None])):
        changed = table.set_column(
            table.schema.get_field_index(name), name, pa.array(values, table.schema.field(name).type)
        )
        pq.write_table(changed, path)
        with pytest.raises(IntegrityError, match="lacks a value, or is of a cell"):
            read_refused(out, manifest)
