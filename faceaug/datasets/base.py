"""What a reader hands over: a table, a source of encoded images, and a list of what was wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd

from faceaug.utils.text import one_line as one_line

UNREADABLE = "unreadable image"
MISSING = "missing file"
NO_IMAGE = "label without image"
NO_LABEL = "image without label"
MALFORMED = "malformed name"
DUPLICATE = "duplicate label"


@dataclass(frozen=True)
class DatasetProblem:
    """One thing in a data set that cannot be used: its kind, the name it has there, and what is wrong with it.

    Kinds: "unreadable image", "missing file" (a label names a file that is not there), "label without image" (a label
    names no file at all), "image without label", "malformed name", "duplicate label".
    """

    kind: str
    name: str
    detail: str


class ImageSource(Protocol):
    """Where a data set's images are. Picklable, and safe to use from several threads.

    Files are opened late. A source that keeps them open also has a method `close()`; `read` opens them again after it.
    """

    def read(self, key: str) -> bytes:
        """Return the encoded image that `key` stands for (PNG for containers of bare pixels).

        Raises
        ------
        ImageError
            When it cannot be read.
        """
        ...


@dataclass(frozen=True, eq=False)
class RawDataset:
    """What a reader found, before any image is looked into.

    Attributes
    ----------
    table
        A row per image that has labels: the column "key", attribute columns, and "split" where the source has one.
        Labels that are missing are NaN.
    images
        Reads the keys of the table.
    problems
        What was left out of the table, in a fixed order.
    """

    table: pd.DataFrame
    images: ImageSource
    problems: tuple[DatasetProblem, ...] = ()


Reader = Callable[..., RawDataset]
"""A callable read(path: Path, labels: Path | None, *, file_column: str | None) -> RawDataset."""


class ReaderModule(Protocol):
    """What each of faceaug's own readers is: a module with these two functions."""

    def detect(self, path: Path, labels: Path | None) -> bool:
        """Tell whether the path looks like this reader's kind."""
        ...

    def read(self, path: Path, labels: Path | None, *, file_column: str | None = None) -> RawDataset:
        """Read it."""
        ...


def summarize(problems: Sequence[DatasetProblem]) -> str:
    """Count problems by kind in words: "2 missing file, 1 unreadable image"; the most frequent first."""
    counts = Counter(problem.kind for problem in problems)
    return ", ".join(f"{n:,} {kind}" for kind, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
