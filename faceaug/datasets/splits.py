"""Splits: the column that divides a data set into training, validation and test, and the selection of one split."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pandas as pd

from faceaug.datasets.label_file import as_name
from faceaug.errors import DatasetError
from faceaug.utils.text import nearest, shown

SPLIT_COLUMN = "split"
ALL_SPLITS = "all"
_OTHER_NAMES = ("partition", "eval_partition", "subset")
_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_CODES = {"0": "train", "1": "val", "2": "test"}  # as CelebA has them
_log = logging.getLogger(__name__)


def canonical_splits(values: pd.Series[Any], *, codes: bool = False) -> pd.Series[Any] | None:
    """Return a column of splits as "train", "val" and "test" (NaN stays), or None if it has other values.

    With `codes`, the numbers 0, 1 and 2 are accepted as well.
    """
    text = values.map(_lower_text, na_action="ignore")
    present = set(text.dropna())
    for meaning in (_WORDS, _CODES) if codes else (_WORDS,):
        if present and present <= meaning.keys():
            return text.map(meaning)
    return None


def normalize_splits(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its column of train, val and test, under any of the usual names, as column "split".

    A column "split" with other values is left as it is; its values can be selected by name.
    """
    lowered = {str(name).lower(): name for name in reversed(list(table.columns))}
    for name in (SPLIT_COLUMN, *_OTHER_NAMES):
        if name not in lowered:
            continue
        column = lowered[name]
        splits = canonical_splits(table[column], codes=True)
        if splits is not None:
            return table.drop(columns=column).assign(split=splits)
        if column == SPLIT_COLUMN:
            break
    return table


def add_splits(tables: Sequence[pd.DataFrame], splits: Sequence[str], source: str) -> None:
    """Add the column "split" to the tables of several files; one of the data itself is kept, with a warning.

    Parameters
    ----------
    tables : sequence of DataFrame
        With the same columns.
    splits : sequence of str
        Of each table.
    source : str
        Name of the data set, for the warning.
    """
    if any(SPLIT_COLUMN in table for table in tables):
        _log.warning(
            "%s: its own column 'split' is used; the splits that its files are named after, %s, are not",
            source,
            ", ".join(sorted(set(splits))[:10]),
        )
        return
    for table, split in zip(tables, splits, strict=True):
        table[SPLIT_COLUMN] = split


def select_split(table: pd.DataFrame, split: str | None, name: str) -> tuple[pd.DataFrame, str | None]:
    """Return the rows of a split, and the name of the split (None for all rows).

    Parameters
    ----------
    table
        Result of `normalize_splits`.
    split
        Name of the split; "all" for all rows; None for the training split if there are splits, else all rows.
    name
        Name of the data set, for error messages.

    Raises
    ------
    DatasetError
        If the data set has no such split.
    """
    if split == ALL_SPLITS or (split is None and SPLIT_COLUMN not in table.columns):
        return table, None
    if SPLIT_COLUMN not in table.columns:
        raise DatasetError(
            f"{name} has no splits, but the split {shown(split)} was requested; "
            "leave --split out, or add a column 'split'"
        )
    values = table[SPLIT_COLUMN].map(_text, na_action="ignore")
    present = sorted(set(values.dropna()))
    if split is None and present and not set(present) & {"train", "val", "test"}:
        _log.warning(
            "%s: the column 'split' has the values %s, none of which is train, val or test, so all rows are used",
            name,
            ", ".join(present[:10]),
        )
        return table, None
    wanted = "train" if split is None else split if split in present else _WORDS.get(split.strip().lower(), split)
    if wanted not in present:
        raise DatasetError(
            f"{name} has no {'training split' if split is None else f'split {shown(split)}'}; "
            f"{nearest(wanted, present)} (choose one with --split, or --split {ALL_SPLITS})"
        )
    selected = (values == wanted).fillna(False).astype(bool)
    return table[selected.to_numpy()].reset_index(drop=True), wanted


def _lower_text(value: object) -> str:
    return as_name(value).strip().lower()


def _text(value: object) -> str:
    return as_name(value).strip()
