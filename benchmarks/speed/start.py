"""Start of the command line beside that of Python with click alone, each in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.speed.data import smooth_images, write_output
from benchmarks.speed.protocol import OURS, Case, Disagreement, Size, Work

TITLE = "start, in fresh processes"
AIM_SECONDS = 0.3
_CLICK = [sys.executable, "-c", "import click"]
_COMMAND = "from faceaug.cli.main import main; main()"  # what the console script does
_MODULES = "import sys\nfrom faceaug.cli.main import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"


def cases(size: Size, folder: Path) -> Iterator[Case]:
    """Yield the help of the command, and the verification of a small output folder."""
    out = write_output(folder / "out", smooth_images(200 if size == "full" else 8, 64))
    for name, words in {"faceaug --help": ["--help"], "faceaug verify, 200 samples": ["verify", str(out)]}.items():
        works = {OURS: _process([sys.executable, "-c", _COMMAND, *words]), "import click": _process(_CLICK)}
        yield Case(name, "starts", 1, works, lambda words=words: _no_torch(words), aim_seconds=AIM_SECONDS)


def _process(words: list[str]) -> Work:
    return lambda: subprocess.run(words, check=True, capture_output=True)


def _no_torch(words: list[str]) -> str:
    done = subprocess.run([sys.executable, "-c", _MODULES, *words], check=False, capture_output=True, text=True)
    if "torch" in done.stderr.split():
        raise Disagreement(f"faceaug {words[0]} imports torch")
    return f"torch is not imported, {len(done.stderr.split()):,} modules are"
