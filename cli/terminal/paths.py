"""Types of paths on the command line: of this machine alone, or also URLs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class _LocalPath(click.Path):
    """A path on this machine; a URL is refused, since its slashes would get lost."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        from faceaug.places.filesystems import is_url

        if is_url(value):
            self.fail(f"{value} is a URL; give a file or folder of this machine", parameter, context)
        return super().convert(value, parameter, context)


class _Source(click.Path):
    """A path to read from, or a URL, which is converted to a path that stands for it."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        from faceaug.places.filesystems import is_url

        if not is_url(value):
            return super().convert(value, parameter, context)
        from faceaug.datasets.dataset import local_place

        return local_place(value)


class _Destination(click.Path):
    """A path to write to, or a URL, which stays a text."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        from faceaug.places.filesystems import is_url

        return value if is_url(value) else super().convert(value, parameter, context)


PATH = _LocalPath(path_type=Path)
SOURCE = _Source(path_type=Path)
DESTINATION = _Destination(path_type=Path)
