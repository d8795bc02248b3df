"""Bad input as seen from the command line: one sentence, the right status, no traceback, nothing half-written."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest


def empty_folder(faces: Path) -> None:
    for file in faces.iterdir():
        file.unlink()


def one_class(faces: Path) -> None:
    labels = faces / "labels.csv"
    labels.write_text(labels.read_text().replace(",male", ",female"))


def no_labels_at_all(faces: Path) -> None:
    lines = (faces / "labels.csv").read_text().splitlines()
    (faces / "labels.csv").write_text("\n".join([lines[0], *(f"{line.split(',')[0]},,," for line in lines[1:])]))


def only_text_files(faces: Path) -> None:
    for file in faces.glob("*.png"):
        file.write_text("hello")


def cut_off(faces: Path) -> None:
    for file in faces.glob("*.png"):
        file.write_bytes(file.read_bytes()[:300])


def bombs(faces: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    for file in faces.glob("*.png"):
        file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)


def gone(faces: Path) -> None:
    faces.rename(faces.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("spoil", "words", "status", "message"),
    [
        (empty_folder, [], 1, "no images are in"),
        (one_class, [], 1, "single level 'female'"),
        (no_labels_at_all, [], 1, "gender"),
        (only_text_files, [], 1, "only JPEG, PNG and WebP"),
        (cut_off, [], 1, "cut off or damaged"),
        (bombs, [], 1, "60000 by 60000 pixels"),
        (gone, [], 1, "does not exist"),
        (None, ["--by", "ethnicty"], 2, "did you mean 'ethnicity'?"),
        (None, ["--strategy", "unifrom"], 2, "did you mean 'uniform'?"),
        (None, ["--max-total", "-1"], 2, "max_total"),
        (None, ["--reader", "foldr"], 1, "did you mean 'folder'?"),
        (None, ["--split", "train"], 1, "has no splits"),
        (None, ["--labels", "no-such-file.csv"], 1, "no-such-file.csv"),
        (None, ["--recipe", "balance_face"], 2, "did you mean 'balance_faces'?"),
    ],
)
def test_errors_are_one_sentence_with_the_remedy(
    faceaug_cli, faces, tmp_path, spoil: Callable[[Path], None] | None, words, status, message
):
    if spoil is not None:
        spoil(faces)
    out = tmp_path / "out"
    for command in (["plan", "-o", tmp_path / "plan.json"], ["balance", "-o", out]):
        outcome = faceaug_cli(command[0], faces, *command[1:], "--by", "gender", *words)
        assert outcome.status == status
        assert outcome.out == ""
        assert message in outcome.err
        told = [line for line in outcome.err.splitlines() if not line.startswith("Warning: ")]
        assert len(told) == 1
        assert told[0].startswith("Error: ")
    assert not out.exists()
    assert not (tmp_path / "plan.json").exists()


def test_missing_labels_are_counted(faceaug_cli, faces):
    labels = faces / "labels.csv"
    labels.write_text(labels.read_text().replace("001.png,female", "001.png,"))
    outcome = faceaug_cli("analyze", faces, "--by", "gender")
    assert outcome.status == 0
    assert "1 left out: 1 without gender" in outcome.out


def test_a_strategy_that_asks_for_fewer_than_there_are(faceaug_cli, faces, tmp_path):
    counts = tmp_path / "counts.json"
    counts.write_text('{"female": 3}')
    outcome = faceaug_cli("plan", faces, "--by", "gender", "--strategy", counts)
    assert outcome.status == 1
    assert "faceaug only adds" in outcome.err


def test_a_folder_with_other_files_is_not_touched(faceaug_cli, faces, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    outcome = faceaug_cli("balance", faces, "--by", "gender", "-o", out)
    assert outcome.status == 1
    assert "thesis.txt" in outcome.err
    assert [file.name for file in out.iterdir()] == ["thesis.txt"]


def test_a_folder_in_use_is_refused(faceaug_cli, faces, tmp_path):
    from faceaug.shards.output_folder import OutputFolder

    with OutputFolder.open(tmp_path / "out", "f" * 64):
        outcome = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out")
    assert outcome.status == 1
    assert "in use" in outcome.err


def test_a_full_disk_leaves_nothing_half_written(faceaug_cli, faces, tmp_path, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    outcome = faceaug_cli("plan", faces, "--by", "gender", "-o", tmp_path / "plan.json")
    assert outcome.status == 1
    assert outcome.err.startswith("Error: the disk is full")
    assert [file.name for file in tmp_path.iterdir()] == ["faces"]
