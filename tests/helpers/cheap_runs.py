"""Runs of `faceaug balance` in processes of their own, with the cheap engine of `mean_engine`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SAMPLES = 60
_RUN = """
import sys, time
sys.path.insert(0, sys.argv.pop(1))
pause = float(sys.argv.pop(1))
from importlib.metadata import EntryPoint
import mean_engine
from command_line import IN_PROCESS
from faceaug.synthesis.engines import registry
registry.entry_points = lambda group: [EntryPoint("mean", "mean_engine:spec", group)]
propose = mean_engine.MeanEngine.propose
def slow(*words):
    time.sleep(pause)
    return propose(*words)
mean_engine.MeanEngine.propose = slow
from faceaug.shards.output_folder import OutputFolder
opened = OutputFolder.open.__func__
OutputFolder.open = classmethod(lambda *words, **given: opened(*words, **given, max_rows=16, save_every=0.05))
exec(IN_PROCESS)
main()
"""


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


def start_balance(folder: Path, *options: str, pause: float = 0.0) -> subprocess.Popen[str]:
    """Begin a run of `SAMPLES` samples from the faces of a folder to its "out"; each block takes `pause` seconds."""
    helpers = str(Path(__file__).resolve().parent)
    words: Sequence[str] = [
        *(sys.executable, "-c", _RUN, helpers, str(pause), "balance", "faces", "--labels", "labels.csv", "--by", "g"),
        *("--strategy", "min:400", "--max-total", str(SAMPLES), "--engine", "mean", "--no-report", "-o", "out"),
        *(
            "--threshold",
            "duplicate_bits=0",
            "--threshold",
            "resemblance=1",
            "--workers",
            "2",
            "--max-uses",
            "99",
            *options,
        ),
    ]
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish_balance(folder: Path, *options: str) -> str:
    """Run to the end, and return what was said on stderr; AssertionError where it fails."""
    process = start_balance(folder, *options)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return err
