"""What the user saves: pictures with their marks, plans and recipes. Nothing else is written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from faceaug.analysis.axes import AxisSpec
from faceaug.errors import OutputError, UsageError
from faceaug.planning.plan import Plan
from faceaug.recipes.recipe import parse
from faceaug.reconstruction.semantics import FACTOR_NAMES, FACTOR_UNITS
from faceaug.shards.description.provenance import mark_synthetic
from faceaug.utils.files import output_error, write_bytes
from faceaug.utils.images import Rgb, encode
from faceaug.utils.text import shown

_FACES_NEAR = 100  # that a recipe for faces near given values asks for
_HALF_WIDTHS = {"degrees": 5.0, "share": 0.1}  # of its bins, by unit
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,80}")
_PATHS = (("dataset", ("path", "labels", "reconstruction")), ("generator", ("directions",)))


def plan_near(values: Mapping[str, float]) -> dict[str, Any]:
    """Return the section `plan` of a recipe for faces whose view and light are near given values.

    It counts by one bin around each value of view and light, and asks for a hundred faces there. Other semantics are
    left out, since no column of a data set counts them.

    Raises
    ------
    UsageError
        When there is no value of view or light.
    """
    near = {name: values[name] for name in FACTOR_NAMES if name in values}
    if not near:
        raise UsageError(
            f"a recipe counts faces by view and light, and none of these was moved: move {', '.join(FACTOR_NAMES)}"
        )
    by = []
    for name, value in near.items():
        half = _HALF_WIDTHS[FACTOR_UNITS[name]]
        edges = (round(value - half, 2), round(value + half, 2))
        by.append(str(AxisSpec(name, ("edges", edges))))
    return dict(by=by, strategy=f"min:{_FACES_NEAR}")


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
                path = sections.get(section, {}).get(key)
                if path is not None and not Path(path).is_absolute():
                    sections[section][key] = os.path.relpath(path, self.folder)
        whole = {"format": "faceaug-recipe", "version": 2, "about": "Saved from the explorer.", **sections}
        parse(whole, "the recipe")  # what is saved can be read again
        return self._write(name, ".yaml", yaml.safe_dump(whole, sort_keys=False, allow_unicode=True).encode())

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
