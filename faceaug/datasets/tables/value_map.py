"""Values of a column renamed and grouped by a rule of a small grammar, which is parsed and never evaluated.

    COLUMN=CLAUSE,CLAUSE,...
    CLAUSE    VALUE|VALUE=NAME    these values are called NAME
              <NUMBER=NAME        smaller numbers are called NAME, if no VALUE and no smaller NUMBER names them
              else=NAME           all other values are called NAME; without it they stay, "else=" makes them unknown

A value or name with one of ``,|=<"`` in it stands in double quotes. A VALUE that stands in two clauses has the
name of the first; a VALUE is an exception from the numbers, before or behind it.

>>> rule = parse_map("ethnicity=black|african=black,else=other")
>>> rule.names
{'black': 'black', 'african': 'black'}
>>> parse_map("age=<13=child,<60=adult,else=senior").cuts
((13.0, 'child'), (60.0, 'adult'))
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from faceaug.analysis.axes import NOT_ATTRIBUTES, attribute, label, numbers
from faceaug.datasets.base import RawDataset
from faceaug.errors import UsageError
from faceaug.utils.text import nearest, shown

_GRAMMAR = "write COLUMN=VALUE|VALUE=NAME,else=NAME or COLUMN=<13=child,<60=adult,else=senior, with , | = < in quotes"
_TOKEN = re.compile(r'\s*(?:"(?P<quoted>[^"]*)"|(?P<sign>[,|=<])|(?P<plain>[^,|=<"]+))')
_MOST_CLAUSES = 1_000


@dataclass(frozen=True)
class ValueMap:
    """How the values of a column are renamed.

    Attributes
    ----------
    column : str
    names : dict of str to str
        New name of single values.
    cuts : tuple of (float, str)
        Increasing numbers, and the name of what is below each.
    other : str or None
        Name of all other values; "" makes them unknown, None leaves them.
    """

    column: str
    names: dict[str, str]
    cuts: tuple[tuple[float, str], ...] = ()
    other: str | None = None

    def apply(self, values: pd.Series[Any]) -> pd.Series[Any]:
        """Return the renamed values; missing ones stay missing.

        Raises
        ------
        UsageError
            If a value that the rule names is not in the column, or text is to be cut.
        """
        texts = values.map(label, na_action="ignore")
        present = [str(text) for text in texts.dropna().unique()]
        for name in self.names:
            if name not in present:
                raise UsageError(
                    f"the rule of --map {self.column} names {shown(name)}, which no row has; {nearest(name, present)}"
                )
        result = values.astype(object) if self.other is None else pd.Series(self.other or np.nan, values.index, object)
        if self.cuts:
            limits = np.array([limit for limit, _ in self.cuts])
            finite = numbers(values, self.column)
            place = np.searchsorted(limits, finite, side="right")
            below = np.isfinite(finite) & (place < len(limits))
            result[below] = np.array([name for _, name in self.cuts], object)[place[below]]
        named = texts.isin(list(self.names))
        result[named] = texts[named].map(self.names)
        return result.where(values.notna(), np.nan)


def parse_map(text: str) -> ValueMap:
    """Parse a rule; see the head of this module.

    Raises
    ------
    UsageError
        If it does not follow the grammar.
    """
    tokens = _tokens(text)
    if len(tokens) < 3 or tokens[0][1] or tokens[1] != ("=", True):
        raise _no_rule(text)
    rule = ValueMap(tokens[0][0], {})
    for clause in _split(tokens[2:], ","):
        rule = _with_clause(rule, clause, text)
    return rule


def apply_maps(raw: RawDataset, rules: Sequence[str]) -> RawDataset:
    """Return a data set with values renamed by rules, one after the other.

    Raises
    ------
    UsageError
        If a rule does not parse, names a column or a value that is not there, or cuts a column of text.
    """
    table = raw.table
    for rule in map(parse_map, rules):
        values = attribute(table, rule.column) if rule.column not in NOT_ATTRIBUTES else None
        if values is None:
            raise UsageError(
                f"--map cannot change the column {shown(rule.column)}, which identifies rows; name a label"
            )
        table = table.assign(**{rule.column: rule.apply(values)})
    return replace(raw, table=table)


def _with_clause(rule: ValueMap, clause: list[tuple[str, bool]], text: str) -> ValueMap:
    *left, name = _split(clause, "=")
    if len(left) != 1 or len(name) > 1 or any(sign for _, sign in name) or len(rule.names) > _MOST_CLAUSES:
        raise _no_rule(text)
    (values,), new = left, name[0][0] if name else ""
    if values == [("else", False)] and rule.other is None:
        return replace(rule, other=new)
    if not new or rule.other is not None:
        raise _no_rule(text)
    if values[:1] == [("<", True)] and len(values) == 2:
        limit = _number(values[1][0], text)
        if rule.cuts and limit <= rule.cuts[-1][0]:
            raise UsageError(f"the numbers of --map {shown(text)} must increase from each clause to the next")
        return replace(rule, cuts=(*rule.cuts, (limit, new)))
    singles = _split(values, "|")
    if any(len(single) != 1 or single[0][1] for single in singles):
        raise _no_rule(text)
    return replace(rule, names={single[0][0]: new for single in singles} | rule.names)


def _tokens(text: str) -> list[tuple[str, bool]]:
    """Return the parts of a rule: (text, False) for a value or a name, (sign, True) for one of ``, | = <``."""
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.end() == at:
            raise _no_rule(text)
        at = match.end()
        if match["sign"]:
            tokens.append((match["sign"], True))
        elif match["quoted"] is not None:
            tokens.append((match["quoted"], False))
        elif match["plain"].strip():
            tokens.append((match["plain"].strip(), False))
    return tokens


def _split(tokens: list[tuple[str, bool]], sign: str) -> list[list[tuple[str, bool]]]:
    parts: list[list[tuple[str, bool]]] = [[]]
    for token in tokens:
        if token == (sign, True):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _number(text: str, rule: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise _no_rule(rule) from error
    if not math.isfinite(number):
        raise _no_rule(rule)
    return number


def _no_rule(text: str) -> UsageError:
    return UsageError(f"--map {shown(text)} cannot be parsed; {_GRAMMAR}")
