"""File systems that are soon full."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest


class Remount(Protocol):
    """Gives a small disk another size in kilobytes, and makes it read-only ("ro") or not ("rw")."""

    def __call__(self, kilobytes: int, mode: str = "rw", /) -> None: ...


@contextlib.contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Remount]:
    """Mount a file system of so many kilobytes at a new folder.

    Tests are skipped where this process may not mount one.
    """
    place.mkdir(parents=True)

    def mount(options: str) -> None:
        words = ["mount", "-n", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        try:
            done = subprocess.run(words, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("no small disk can be mounted here: there is no program 'mount'")
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")

    mount(f"size={kilobytes}k")
    try:
        yield lambda kilobytes, mode="rw", /: mount(f"remount,{mode},size={kilobytes}k")
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
