"""What the user saves: pictures with their marks, plans and recipes. Nothing else is written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from faceaug.analysis.axes import AxisSpec, numbers
from faceaug.analysis.binning import bin_codes, edge_labels
from faceaug.errors import OutputError, UsageError
from faceaug.planning.plan import Plan
from faceaug.recipes.recipe import parse
from faceaug.reconstruction.semantics import FACTOR_NAMES, FACTOR_UNITS
from faceaug.shards.description.provenance import mark_synthetic
from faceaug.utils.files import output_error, write_bytes
from faceaug.utils.images import Rgb, encode
from faceaug.utils.text import shown

_FACES_NEAR = 100  # that a recipe for faces near given values asks for, beside the real ones
_BINS = {"degrees": (5.0, -90.0, 90.0), "share": (0.1, 0.0, 1.0)}  # half width, and the ends of the axis, by unit
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
                path = sections.get(section, {}).get(key)
                if path is not None and not Path(path).is_absolute():
                    sections[section][key] = os.path.relpath(path, self.folder)
        whole = {"format": "faceaug-recipe", "version": 2, "about": "Saved from the explorer.", **sections}
        parse(whole, "the recipe")  # what is saved can be read again
        return self._write(name, ".yaml", yaml.safe_dump(whole, sort_keys=False, allow_unicode=True).encode())

    def recipe_near(
        self, name: str, values: Mapping[str, float], sections: Mapping[str, Any], table: pd.DataFrame | None
    ) -> Path:
        """Save a recipe for a hundred more faces whose view and light are near given values, and its file of counts.

        It counts by view and light in bins around the values, and adds faces to that one cell. Other semantics are
        left out, since no column of a data set counts them. Errors as for `recipe`.

        Parameters
        ----------
        values : mapping of str to float
            By semantic.
        sections : mapping
            The other sections of the recipe.
        table : DataFrame, optional
            Of the data set, by which the real faces near the values are counted. Where it lacks the columns, a hundred
            faces are asked for in all, the real ones among them.

        Raises
        ------
        UsageError
            When there is no value of view or light.
        """
        axes = {key: _edges_around(key, values[key]) for key in FACTOR_NAMES if key in values}
        if not axes:
            raise UsageError(
                f"a recipe counts faces by view and light, and none of these was moved: move {', '.join(FACTOR_NAMES)}"
            )
        cell = {
            key: int(bin_codes(np.clip([values[key]], edges[0], edges[-1]), edges)[0]) for key, edges in axes.items()
        }
        real = 0
        if table is not None and set(axes) <= set(table.columns):
            near = [bin_codes(numbers(table[key], key), edges) == cell[key] for key, edges in axes.items()]
            real = int(np.all(near, axis=0).sum())
        levels = {key: edge_labels(edges)[cell[key]] for key, edges in axes.items()}
        counts = f"{name.removesuffix('.yaml')}.counts.yaml"
        self._new_file(name, ".yaml")  # refused before anything is written
        self._write(counts, ".yaml", yaml.safe_dump([{**levels, "count": real + _FACES_NEAR}]).encode())
        by = [str(AxisSpec(key, ("edges", edges))) for key, edges in axes.items()]
        return self.recipe(name, {**sections, "plan": dict(by=by, strategy=counts)})

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


def _edges_around(name: str, value: float) -> tuple[float, ...]:
    """Return the edges of an axis of view or light with a bin around a value."""
    half, low, high = _BINS[FACTOR_UNITS[name]]
    value = min(max(value, low), high)
    return tuple(sorted({low, max(low, round(value - half, 2)), min(high, round(value + half, 2)), high}))
