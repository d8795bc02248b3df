"""Conditions on samples, as ``yaw > 20 and engine == 'morph'``: parsed, checked against a list, never run as Python.

A condition compares columns of `samples.parquet` with constants, by `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in`,
and joins comparisons by `and`, `or` and `not`. `abs(yaw)` is the only function. A comparison with a missing value is
false. Columns go by the last part of their name where it is unique (`yaw` for `semantic/yaw`); any name may stand in
backticks.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pandas as pd

from faceaug.errors import UsageError
from faceaug.utils.text import nearest, one_line, shown
from faceaug.utils.typing import Bools

_MOST = 2000  # characters
_QUOTED = re.compile(r"`([^`]*)`")
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}


def matching_rows(table: pd.DataFrame, condition: str) -> Bools:
    """Return which rows of a table of samples meet a condition.

    Parameters
    ----------
    table : pandas.DataFrame
        N rows.
    condition : str
        See the head of this module.

    Returns
    -------
    bool [N]

    Raises
    ------
    UsageError
        When it is no condition, names an unknown column, or compares a text with a number.

    Examples
    --------
    >>> table = pd.DataFrame({"semantic/yaw": [10.0, 30.0], "engine": ["morph", "rerender"]})
    >>> matching_rows(table, "yaw > 20 and engine != 'morph'").tolist()
    [False, True]
    """
    return _Condition(table, condition).rows()


def check_condition(condition: str) -> None:
    """Refuse what is no condition, whatever columns there are.

    Raises
    ------
    UsageError
    """
    _Condition(pd.DataFrame(), condition).parsed()


class _Condition:
    """One condition on one table."""

    def __init__(self, table: pd.DataFrame, text: str) -> None:
        self._table, self._text = table, text
        self._quoted: dict[str, str] = {}
        short = Counter(str(name).rpartition("/")[2] for name in table.columns)
        self._names = {str(name): str(name) for name in table.columns}
        for name in table.columns:
            last = str(name).rpartition("/")[2]
            if short[last] == 1:
                self._names.setdefault(last, str(name))

    def parsed(self) -> ast.expr:
        if len(self._text) > _MOST:
            raise UsageError(f"the condition has {len(self._text):,} characters; at most {_MOST:,} are read")
        try:
            tree = ast.parse(_QUOTED.sub(self._placeholder, self._text).strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise UsageError(f"{self._shown} is no condition; write one as: yaw > 20 and engine == 'morph'") from error
        return tree.body

    def rows(self) -> Bools:
        body = self.parsed()
        try:
            return self._truth(body)
        except (RecursionError, TypeError, OverflowError) as error:
            raise UsageError(
                f"{self._shown} cannot be computed ({one_line(error)}); compare columns with numbers, as yaw > 20, or "
                "with texts in quotes"
            ) from error

    @property
    def _shown(self) -> str:
        return f"the condition {shown(self._text)}"

    def _placeholder(self, match: re.Match[str]) -> str:
        placeholder = f"__quoted_{len(self._quoted)}"
        self._quoted[placeholder] = match[1]
        return placeholder

    def _truth(self, node: ast.expr) -> Bools:
        """Return which rows meet a part of the condition."""
        if isinstance(node, ast.BoolOp):
            parts = [self._truth(value) for value in node.values]
            return np.asarray((np.all if isinstance(node.op, ast.And) else np.any)(parts, axis=0))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self._truth(node.operand)
        if isinstance(node, ast.Compare):
            values = [node.left, *node.comparators]
            parts = [self._compared(values[k], op, values[k + 1]) for k, op in enumerate(node.ops)]
            return np.asarray(np.all(parts, axis=0))
        raise self._refused(node)

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Bools:
        if isinstance(op, (ast.In, ast.NotIn)):
            if not isinstance(right, (ast.List, ast.Tuple, ast.Set)):
                raise self._refused(right)
            found = np.any([self._compared(left, ast.Eq(), each) for each in right.elts] or [self._nowhere], axis=0)
            known = pd.notna(self._value(left))
            return np.asarray(known & ~found if isinstance(op, ast.NotIn) else found, bool) & self._everywhere
        if type(op) not in _COMPARISONS:
            raise self._refused(op)
        one, other = self._value(left), self._value(right)
        if _is_text(one) != _is_text(other):
            raise UsageError(
                f"{self._shown} compares a text with a number; write texts in quotes, as engine == 'morph'"
            )
        known = pd.notna(one) & pd.notna(other)
        with np.errstate(invalid="ignore"):
            compared = np.asarray(_COMPARISONS[type(op)](_comparable(one), _comparable(other)), bool)
        return np.asarray(known & compared & self._everywhere, bool)

    @property
    def _everywhere(self) -> Bools:
        return np.ones(len(self._table), bool)

    @property
    def _nowhere(self) -> Bools:
        return np.zeros(len(self._table), bool)

    def _value(self, node: ast.expr) -> Any:
        """Return a constant, or the values of a column."""
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float)):
            return node.value
        if isinstance(node, ast.Name):
            return self._column(node.id)
        negated = isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd))
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "abs"
        if negated or (called and len(cast("ast.Call", node).args) == 1 and not cast("ast.Call", node).keywords):
            value = self._value(cast("Any", node).operand if negated else cast("ast.Call", node).args[0])
            if _is_text(value):
                raise self._refused(node)
            if called:
                return np.abs(value)
            return -value if isinstance(cast("ast.UnaryOp", node).op, ast.USub) else value
        raise self._refused(node)

    def _column(self, name: str) -> Any:
        name = self._quoted.get(name, name)
        if name not in self._names:
            raise UsageError(f"samples have no column {shown(name)}; {nearest(name, self._names)}")
        column = self._table[self._names[name]]
        if column.dtype == bool or pd.api.types.is_numeric_dtype(column):
            return column.to_numpy()
        return column.astype(object).to_numpy()

    def _refused(self, node: ast.AST) -> UsageError:
        what = one_line(ast.unparse(node)) if isinstance(node, ast.expr) else type(node).__name__
        return UsageError(
            f"{self._shown} has {shown(what)}, and only comparisons of columns with numbers or texts can be joined by "
            "and, or, not; write it as: yaw > 20 and engine == 'morph'"
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype == object)


def _comparable(value: Any) -> Any:
    """Return texts with empty ones where they are missing, so that they have an order."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return np.array(["" if each is None or each != each else str(each) for each in value], dtype=object)
    return value
