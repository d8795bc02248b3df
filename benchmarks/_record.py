"""What every benchmark writes beside its figures: the command, the seed, the versions and the class of machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faceaug._version import __version__
from faceaug.utils.device import machine_class
from faceaug.utils.files import write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
FORMAT, VERSION = "faceaug-benchmark", 1


def environment(seed: int, packages: Sequence[str] = (), device: str = "cpu") -> dict[str, Any]:
    """Return what a reader needs to judge and repeat a measurement.

    Parameters
    ----------
    seed : int
    packages : sequence of str
        Distributions whose versions matter besides Python and faceaug.
    device : str
        The torch device that did the work; its name is added when it is a GPU.

    Returns
    -------
    dict
        command, seed, versions, machine, and its load average when asked (other work slows a measurement).
    """
    versions = {"python": platform.python_version(), "faceaug": __version__}
    versions |= {package: importlib.metadata.version(package) for package in packages}
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    return {
        "command": command(),
        "seed": seed,
        "versions": versions,
        "machine": machine_class(device),
        "load_average": load,
    }


def command() -> str:
    """Return the running command as one would type it in the root of the repository."""
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(ROOT).as_posix() if script.is_relative_to(ROOT) else script.name
    if script.name == "__main__.py":  # of a package that was run by its name
        return shlex.join(["python", "-m", name.removesuffix("/__main__.py").replace("/", "."), *sys.argv[1:]])
    return shlex.join(["python", name, *sys.argv[1:]])


def write_result(name: str, record: dict[str, Any], out: Path | None = None) -> Path:
    """Write a benchmark's record as JSON to benchmarks/results/<name>.json, or to `out`, and return the path."""
    path = out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"format": FORMAT, "version": VERSION, "name": name, **record})
    return path
