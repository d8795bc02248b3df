"""faceaug verify and faceaug export, on small output folders; faceaug generator."""

from __future__ import annotations

import pytest
from dataset_files import write_face
from shard_samples import write_output

from faceaug.generators import registry


@pytest.fixture
def out(tmp_path):
    return write_output(tmp_path / "out")


def test_verify_of_a_sound_folder(faceaug_cli, out):
    assert faceaug_cli("verify", out).status == 0
    assert faceaug_cli("verify", out).out == "sound: 30 samples\n"
    assert faceaug_cli("verify", out, "--quiet").out == ""
    value = faceaug_cli("verify", out, "--json").json
    assert value == {"ok": True, "complete": True, "rows": 30, "problems": [], "notes": []}


def test_verify_reports_damaged_files(faceaug_cli, out):
    shard = sorted((out / "shards").iterdir())[1]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 255
    shard.write_bytes(data)
    for words in ((), ("--quiet",)):
        outcome = faceaug_cli("verify", out, *words)
        assert outcome.status == 1
        assert f"shards/{shard.name}" in outcome.out
    value = faceaug_cli("verify", out, "--json")
    assert value.status == 1
    assert value.json["ok"] is False
    assert value.json["problems"][0]["file"] == f"shards/{shard.name}"


def test_verify_refuses_other_folders(faceaug_cli, tmp_path):
    outcome = faceaug_cli("verify", tmp_path)
    assert outcome.status == 1
    assert "no output folder of faceaug" in outcome.out


def test_export_beside_the_output_by_default(faceaug_cli, out, tmp_path):
    outcome = faceaug_cli("export", out, "--to", "imagefolder")
    assert outcome.status == 0
    folder = tmp_path / "out-imagefolder"
    assert outcome.out == f"30 images in 2 folders were written to {folder}, with metadata.csv\n"
    assert sorted(entry.name for entry in folder.iterdir()) == ["female", "male", "metadata.csv"]
    again = faceaug_cli("export", out, "--to", "imagefolder")
    assert again.status == 1
    assert "exists already" in again.err


def test_export_to_a_folder_by_an_attribute(faceaug_cli, out, tmp_path):
    value = faceaug_cli(
        "export", out, "--to", "imagefolder", "-o", tmp_path / "there", "--by", "gender", "--by", "skin/tone", "--json"
    ).json
    assert value["images"] == sum(value["folders"].values()) == 30
    assert "female_hell-weiß" in value["folders"]
    wrong = faceaug_cli("export", out, "--to", "imagefolder", "-o", tmp_path / "where", "--by", "gendr")
    assert wrong.status == 2
    assert "did you mean 'gender'?" in wrong.err
    assert not (tmp_path / "where").exists()


class NamedGenerator:
    """The attributes of a generator that `info` shows."""

    name, resolution, z_dim, w_dim = "made-up", 16, 4, 5
    licence, origin, sha256 = "CC0", "nowhere", "0" * 64


def test_generator_info(faceaug_cli, monkeypatch):
    monkeypatch.setattr(registry, "load_generator", lambda name: NamedGenerator())
    value = faceaug_cli("generator", "info", "made-up", "--json").json
    assert value == {key: getattr(NamedGenerator, key) for key in value}
    assert set(value) == {"name", "resolution", "z_dim", "w_dim", "licence", "origin", "sha256"}
    assert "licence     CC0\n" in faceaug_cli("generator", "info").out


def test_an_unknown_generator_is_refused_with_the_nearest_name(faceaug_cli):
    outcome = faceaug_cli("generator", "info", "digifac")
    assert outcome.status == 1
    assert "did you mean 'digiface'?" in outcome.err


def test_the_formats_of_export_are_those_of_the_package():
    from faceaug.cli.outputs.export import FORMATS

    from faceaug.exports import export

    assert tuple(export.FORMATS) == FORMATS


def test_export_with_real_images(faceaug_cli, out, tmp_path):
    write_face(tmp_path / "real" / "1.png", 1)
    (tmp_path / "real.csv").write_text("file,gender\n1.png,male\n")
    words = ("export", out, "--to", "parquet", "-o", tmp_path / "x")
    assert "--labels are those of --with-real" in faceaug_cli(*words, "--labels", tmp_path / "real.csv").err
    outcome = faceaug_cli(*words, "--with-real", tmp_path / "real", "--labels", tmp_path / "real.csv")
    assert outcome.out == f"31 images in 1 file were written to {tmp_path / 'x'}, with a data card and croissant.json\n"
