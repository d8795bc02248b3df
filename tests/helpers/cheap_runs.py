"""Runs of `faceaug balance` in processes of their own, with the cheap engine of `mean_engine`."""

from __future__ import annotations

import functools
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
from forked import ForkedProcess
from PIL import Image

SAMPLES = 60


def _run(pause: float, words: list[str]) -> None:
    """Run a command line with the engine "mean", of which each block takes a while, and with small shards."""
    import command_line  # noqa: F401  # finds faceaug.cli
    from faceaug.cli.main import main
    from mean_engine import MeanEngine

    from faceaug.shards.output_folder import OutputFolder
    from faceaug.synthesis.engines import registry

    propose = MeanEngine.propose

    def paced(*given: Any) -> Any:
        time.sleep(pause)
        return propose(*given)

    registry.entry_points = lambda group: [EntryPoint("mean", "mean_engine:spec", group)]  # type: ignore[assignment]
    MeanEngine.propose = paced  # type: ignore[method-assign]
    OutputFolder.open = functools.partial(OutputFolder.open, max_rows=16, save_every=0.05)  # type: ignore[method-assign]
    sys.argv = ["faceaug", *words]
    main()


def write_faces(folder: Path, count: int = 24, seed: int = 0) -> Path:
    """Write random pictures with labels: a folder "faces" and labels.csv."""
    rng = np.random.default_rng(seed)
    (folder / "faces").mkdir(parents=True)
    lines = ["file,g"]
    for k in range(count):
        picture = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(picture).resize((32, 32)).save(folder / "faces" / f"{k}.png")
        lines.append(f"{k}.png,{'a' if k % 3 else 'b'}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def start_balance(folder: Path, *options: str, pause: float = 0.0) -> ForkedProcess:
    """Begin a run of `SAMPLES` samples from the faces of a folder to its "out"; each block takes `pause` seconds."""
    words = [
        *("balance", "faces", "--labels", "labels.csv", "--by", "g", "--strategy", "min:400"),
        *("--max-total", str(SAMPLES), "--engine", "mean", "--no-report", "-o", "out", "--workers", "2"),
        *("--threshold", "duplicate_bits=0", "--threshold", "resemblance=1", "--max-uses", "99", *options),
    ]
    return ForkedProcess(_run, pause, words, folder=folder)


def finish_balance(folder: Path, *options: str) -> str:
    """Run to the end, and return what was said on stderr; AssertionError where it fails."""
    process = start_balance(folder, *options)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return err
