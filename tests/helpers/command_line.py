"""What tests of the command line share."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faceaug

ROOT = Path(__file__).resolve().parents[2]
if importlib.util.find_spec("faceaug.cli") is None:  # a checkout that is not installed: the folder cli/ is that package
    faceaug.__path__.append(str(ROOT))

# A command line in a process of its own, whether faceaug is installed or not.
IN_PROCESS = f"""
import importlib.util, faceaug
if importlib.util.find_spec("faceaug.cli") is None:
    faceaug.__path__.append({str(ROOT)!r})
from faceaug.cli.main import main, run
"""


@dataclass(frozen=True)
class Outcome:
    """What a command line gave."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, parsed."""
        return json.loads(self.out)


Run = Callable[..., Outcome]
