"""What the user saves: pictures with their marks, plans and recipes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from faceaug.errors import OutputError, UsageError
from faceaug.planning.plan import Plan
from faceaug.recipes.recipe import parse
from faceaug.shards.description.provenance import mark_synthetic
from faceaug.utils.files import output_error, write_bytes
from faceaug.utils.images import Rgb, encode
from faceaug.utils.text import shown

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,80}")
_PATHS = (("dataset", ("path", "labels", "reconstruction")), ("generator", ("directions",)))


class SaveFolder:
    """The folder in which the user saves. Files that are there stay as they are.

    Parameters
    ----------
    folder : Path
        Made when the first file is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def picture(self, name: str, image: Rgb, engine: str, seed: int) -> Path:
        """Save a picture uint8 [H, W, 3] as PNG with the marks that it is synthetic.

        Raises
        ------
        UsageError
            When the name is no plain name of a .png file.
        OutputError
            When a file of this name is there, or the folder cannot be written.
        """
        return self._write(name, ".png", mark_synthetic(encode(image, "png"), "png", engine, seed))

    def plan(self, name: str, plan: Plan) -> Path:
        """Save a plan for `faceaug balance --plan`; errors as for `picture`, for a .json file."""
        path = self._new_file(name, ".json")
        plan.write(path)
        return path

    def recipe(self, name: str, content: Mapping[str, Mapping[str, Any]]) -> Path:
        """Save a recipe for `faceaug balance --recipe`; errors as for `picture`, for a .yaml file.

        Parameters
        ----------
        content : mapping
            Sections of the recipe. Relative paths are meant from the working folder, and are written as seen from the
            recipe.
        """
        sections = {name: dict(section) for name, section in content.items() if section}
        for section, keys in _PATHS:
            for key in keys:
                value = sections.get(section, {}).get(key)
                if isinstance(value, list):
                    sections[section][key] = [self._seen_from_folder(path) for path in value]
                elif value is not None:
                    sections[section][key] = self._seen_from_folder(value)
        whole = {"format": "faceaug-recipe", "version": 2, "about": "Saved from the explorer.", **sections}
        parse(whole, "the recipe")  # what is saved can be read again
        return self._write(name, ".yaml", yaml.safe_dump(whole, sort_keys=False, allow_unicode=True).encode())

    def _seen_from_folder(self, path: str) -> str:
        return path if Path(path).is_absolute() else os.path.relpath(path, self.folder)

    def _write(self, name: str, suffix: str, data: bytes) -> Path:
        path = self._new_file(name, suffix)
        write_bytes(path, data)
        return path

    def _new_file(self, name: str, suffix: str) -> Path:
        if not _PLAIN_NAME.fullmatch(name) or not name.endswith(suffix):
            raise UsageError(
                f"{shown(name)} cannot name this file: use letters, digits, - and _, and end with {suffix}"
            )
        path = self.folder / name
        if path.exists() or path.is_symlink():
            raise OutputError(f"{path} is there already: choose another name")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(self.folder, error) from error
        return path
