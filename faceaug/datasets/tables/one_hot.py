"""Labels that are spread over one-hot columns (gender_female, gender_male), gathered in one column."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from faceaug.analysis.axes import NOT_ATTRIBUTES
from faceaug.datasets.base import DatasetProblem, RawDataset
from faceaug.errors import UsageError
from faceaug.utils.text import nearest, shown

_SEPARATORS = ("_", ".", "=")
_PREFIX = re.compile(r"(?P<name>.+?)[_.=](?P<level>[^_.=]+)")
_HOT = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}
_log = logging.getLogger(__name__)


def gather_one_hot(raw: RawDataset, options: Sequence[str]) -> RawDataset:
    """Return a data set whose one-hot columns are single columns of text.

    Those that `options` name are gathered, as "gender=male,female" (columns that become the levels) or "gender" (all
    columns that begin with "gender_", "gender." or "gender="); a row with none of them has no label, and one with
    several is reported. Besides, columns of 0 and 1 are gathered where they share what comes before a "_", "." or "=",
    and exactly one of them is 1 in every row.

    Raises
    ------
    UsageError
        If an option cannot be parsed, names a column that is missing or holds other values, or would overwrite one.
    """
    table, problems = raw.table, list(raw.problems)
    named = [_named_group(option, table) for option in options]
    for name, levels in named:
        hot = np.stack([_hot(table[column], strict=True) for column in levels], 1)
        for key in table["key"][hot.sum(1) > 1]:
            problems.append(
                DatasetProblem("conflicting labels", str(key), f"has several of {name}: {', '.join(levels)}")
            )
        table = _gathered(table, name, levels, hot)
    for name, levels in _detected_groups(table).items():
        hot = np.stack([_hot(table[column]) for column in levels], 1)
        if (hot.sum(1) == 1).all():
            _log.warning("the one-hot columns %s are read as one column %r", ", ".join(levels), name)
            table = _gathered(table, name, levels, hot)
    return replace(raw, table=table, problems=tuple(problems))


def _named_group(option: str, table: pd.DataFrame) -> tuple[str, dict[str, str]]:
    """Return the name of the new column, and the level of each column that it replaces."""
    name, equals, columns = (part.strip() for part in option.partition("="))
    known = [str(column) for column in table.columns if column not in NOT_ATTRIBUTES]
    if equals:
        levels = {column.strip(): column.strip() for column in columns.split(",")}
    else:
        # the level is all that follows: "ethnicity_east_asian" is the level "east_asian" of "ethnicity"
        beginnings = tuple(name + separator for separator in _SEPARATORS)
        levels = {c: c[len(name) + 1 :] for c in known if c.startswith(beginnings) and len(c) > len(name) + 1}
    if not name or (equals and len(levels) < 2):
        raise UsageError(f"--one-hot {shown(option)} must be NAME or NAME=COLUMN,COLUMN, as gender=male,female")
    if len(levels) < 2:
        raise UsageError(f"no columns begin with {shown(name + '_')}; {nearest(name, known)}")
    for column in levels:
        if column not in known:
            raise UsageError(f"--one-hot {shown(option)} names no column {shown(column)}; {nearest(column, known)}")
    if name in NOT_ATTRIBUTES or (name in known and name not in levels):
        raise UsageError(f"--one-hot {shown(option)} would overwrite the column {shown(name)}; give another name")
    return name, levels


def _detected_groups(table: pd.DataFrame) -> dict[str, dict[str, str]]:
    groups: dict[str, dict[str, str]] = {}
    for column in map(str, table.columns):
        match = _PREFIX.fullmatch(column)
        if match and match["name"] not in table.columns and _is_hot(table[column]):
            groups.setdefault(match["name"], {})[column] = match["level"]
    return {name: levels for name, levels in groups.items() if len(levels) > 1}


def _is_hot(values: pd.Series[Any]) -> bool:
    """Return whether a column has no values but 0 and 1."""
    return bool(pd.api.types.is_numeric_dtype(values) and values.isin([0, 1]).all())


def _hot(values: pd.Series[Any], *, strict: bool = False) -> np.ndarray:
    """Return whether each value is 1, yes or true; a missing one is not."""
    found = values.map(lambda value: _HOT.get(str(value).strip().lower()), na_action="ignore")
    wrong = values[found.isna() & values.notna()]
    if strict and len(wrong):
        raise UsageError(
            f"the column {shown(values.name)} is no one-hot column: it holds {shown(wrong.iloc[0])}, but 0 and 1, no "
            "and yes, or false and true were expected"
        )
    return found.fillna(False).to_numpy(bool)


def _gathered(table: pd.DataFrame, name: str, levels: dict[str, str], hot: np.ndarray) -> pd.DataFrame:
    texts = np.array([*levels.values()], object)[hot.argmax(1)]
    column = pd.Series(np.where(hot.sum(1) == 1, texts, np.nan), index=table.index, dtype=object)
    return table.drop(columns=list(levels)).assign(**{name: column})
