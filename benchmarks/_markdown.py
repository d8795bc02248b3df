"""Markdown for docs/results.md."""

from __future__ import annotations

from collections.abc import Container


def table(head: list[str], rows: list[list[str]], right: Container[int]) -> list[str]:
    """Return the lines of a Markdown table; the columns in `right` are right-aligned."""
    marks = ["---:" if i in right else "---" for i in range(len(head))]
    return ["| " + " | ".join(row) + " |" for row in (head, marks, *rows)]
