"""Splits: telling which column divides a data set into training, validation and test, and choosing a part."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd

from faceaug.datasets.label_file import as_name
from faceaug.errors import DatasetError, nearest
from faceaug.utils.text import shown

COLUMN = "split"
OTHER_NAMES = ("partition", "eval_partition", "subset")
ALL = "all"
_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_CODES = {"0": "train", "1": "val", "2": "test"}  # as CelebA has them
_log = logging.getLogger(__name__)


def canonical(values: pd.Series[Any], *, codes: bool = False) -> pd.Series[Any] | None:
    """Return a column of splits as "train", "val" and "test" (NaN stays), or None when it holds something else.

    With `codes`, 0, 1 and 2 are understood as well.
    """
    text = values.map(_text, na_action="ignore")
    known = set(text.dropna())
    for meaning in (_WORDS, _CODES) if codes else (_WORDS,):
        if known and known <= meaning.keys():
            return text.map(meaning)
    return None


def normalize(table: pd.DataFrame) -> pd.DataFrame:
    """Give the table a column "split" when it has one that says train, val or test, under whatever name.

    A column "split" that says something else is left as it is: its values can be chosen by name.
    """
    lowered = {str(name).lower(): name for name in reversed(list(table.columns))}
    for name in (COLUMN, *OTHER_NAMES):
        if name not in lowered:
            continue
        column = lowered[name]
        splits = canonical(table[column], codes=True)
        if splits is not None:
            return table.drop(columns=column).assign(split=splits)
        if column == COLUMN:
            break
    return table


def choose(table: pd.DataFrame, split: str | None, name: str) -> tuple[pd.DataFrame, str | None]:
    """Return the rows of a split, and the split's name (None for the whole).

    Parameters
    ----------
    table
        As `normalize` returns it.
    split
        A split's name; "all" for everything; None for the training part where there is one, else everything.
    name
        What errors call the data set.

    Raises
    ------
    DatasetError
        When the data set has no such split.
    """
    if split == ALL or (split is None and COLUMN not in table.columns):
        return table, None
    if COLUMN not in table.columns:
        raise DatasetError(
            f"{name} has no splits, but {shown(split)} was asked for: leave --split out, or add a column 'split'"
        )
    values = table[COLUMN].map(_text_as_is, na_action="ignore")
    known = sorted(set(values.dropna()))
    if split is None and not set(known) <= {"train", "val", "test"}:
        _log.warning("%s: the column 'split' says %s, none of them known: all are used", name, ", ".join(known[:10]))
        return table, None
    wanted = "train" if split is None else split if split in known else _WORDS.get(split.strip().lower(), split)
    if wanted not in known:
        raise DatasetError(
            f"{name} has no {'training part' if split is None else f'split {shown(split)}'}; {nearest(wanted, known)} "
            f"(choose one with --split, or --split {ALL})"
        )
    chosen = (values == wanted).fillna(False).astype(bool)
    return table[chosen.to_numpy()].reset_index(drop=True), wanted


def _text(value: object) -> str:
    return as_name(value).strip().lower()


def _text_as_is(value: object) -> str:
    return as_name(value).strip()
