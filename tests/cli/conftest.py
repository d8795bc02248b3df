"""The command line in this process, and a small labelled data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import Outcome, Run

from faceaug.utils.images import encode

ROWS = (("female", "asian", 8), ("female", "black", 2), ("male", "asian", 4), ("male", "black", 6))


@pytest.fixture
def faceaug_cli(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process."""
    from faceaug.cli.main import run

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A folder of 20 small faces with labels.csv in it: gender, ethnicity, age."""
    folder = tmp_path / "faces"
    folder.mkdir()
    lines = ["file,gender,ethnicity,age"]
    for gender, ethnicity, count in ROWS:
        for _ in range(count):
            number = len(lines)
            pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            (folder / f"{number:03d}.png").write_bytes(encode(pixels, "png"))
            lines.append(f"{number:03d}.png,{gender},{ethnicity},{20 + number}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder
