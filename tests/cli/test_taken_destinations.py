"""A folder that an output cannot be written to is refused before the images are read, and stays as it was."""

from __future__ import annotations

import pytest
from shard_samples import write_output

COMMANDS = {
    "admit": ["{real}", "--dataset", "{real}", "--by", "kind"],
    "balance": ["{real}", "--by", "kind"],
    "bench": ["group-gap"],
    "discover": ["--tune-on", "{real}", "--work"],
    "evaluate": ["{made}", "--against", "{real}"],
    "export": ["{made}", "--to", "webdataset", "--with-real", "{real}"],
    "merge": ["{made}", "{made}"],
    "split": ["{made}", "--shares", "0.5,0.5"],
    "subset": ["{made}", "--where", "cell == 0"],
}
READING = {
    "admit": "faceaug.cli.admit.read_dataset",
    "balance": "faceaug.cli.balance.read_dataset",
    "bench": "faceaug.bench.experiment.load_experiment_data",
    "discover": "faceaug.datasets.dataset.load_dataset",
    "evaluate": "faceaug.cli.outputs.evaluate.read_unmeasured",
    "export": "faceaug.cli.outputs.export.read_unmeasured",
    "merge": "faceaug.curation.operations.ChosenSamples.all_of",
    "split": "faceaug.curation.operations.ChosenSamples.all_of",
    "subset": "faceaug.curation.operations.ChosenSamples.all_of",
}
"""What each command reads first."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_output(tmp_path_factory.mktemp("outputs") / "a", rows=12)


@pytest.fixture
def refused(made, faceaug_cli, tmp_path, monkeypatch):
    """Return a function that runs a command with an output folder, which must be refused at once, and its message."""

    def refuse(command, out):
        monkeypatch.setattr(READING[command], lambda *rest, **options: pytest.fail("the images were read"))
        words = [word.format(real=tmp_path, made=made) for word in COMMANDS[command]]
        last = [str(out), "-o", str(tmp_path / "new.safetensors")] if command == "discover" else ["-o", str(out)]
        ended = faceaug_cli(command, *words, *last)
        assert ended.status == 1
        return ended.err

    return refuse


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"evaluate"}))  # which writes beside other files
def test_a_folder_with_other_files(refused, tmp_path, command):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    said = refused(command, out)
    assert str(out) in said
    assert any(word in said for word in ("not empty", "not an empty folder", "holds other files", "holds a run"))
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "notes.txt"]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_path_through_a_file(refused, tmp_path, command):
    (tmp_path / "notes.txt").write_text("mine")
    assert f"{tmp_path}/notes.txt/out could not be written" in refused(command, tmp_path / "notes.txt" / "out")
    said = refused(command, tmp_path / "notes.txt")
    assert "is a file" in said or "exists already and is not an empty folder" in said
    assert [path.name for path in tmp_path.rglob("*")] == ["notes.txt"]


@pytest.mark.parametrize(("command", "option"), [("plan", "-o"), ("plan", "--html"), ("analyze", "--html")])
def test_a_file_that_cannot_be_written(faceaug_cli, tmp_path, monkeypatch, command, option):
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr(f"faceaug.cli.{command}.read_dataset", lambda *rest: pytest.fail("the images were read"))
    for file, said in ((tmp_path, "is a folder"), (tmp_path / "notes.txt" / "out", "could not be written")):
        ended = faceaug_cli(command, str(tmp_path), "--by", "kind", option, str(file))
        assert ended.status == 1
        assert f"{file} {said}" in ended.err


@pytest.mark.parametrize("command", ["admit", "balance"])
def test_a_folder_with_a_run(refused, made, command):
    assert "has a run; continue it with --resume" in refused(command, made)
