"""The result of a reader: a table, a source of encoded images, and the problems that were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import pandas as pd

ProblemKind = Literal[
    "unreadable image",
    "missing file",
    "label without image",
    "image without label",
    "malformed name",
    "duplicate label",
    "conflicting labels",
]
"""Kind of a problem; "missing file" is a label that names a file that is not there, "label without image" one that
names no file, "conflicting labels" are of several files or one-hot columns that contradict each other."""


@dataclass(frozen=True, slots=True)  # there can be millions
class DatasetProblem:
    """An entry of a data set that cannot be used.

    Attributes
    ----------
    kind : ProblemKind
    name : str
        Name of the entry in the data set, as a file or a row.
    detail : str
        What is wrong with it.
    """

    kind: ProblemKind
    name: str
    detail: str


class ImageSource(Protocol):
    """Source of the encoded images of a data set. It can be pickled, and used from several threads.

    Files are opened at the first read. A source that keeps files open also has a method `close()`, after which `read`
    opens them again.
    """

    def read(self, key: str) -> bytes:
        """Return the encoded image of a key (PNG for containers of raw pixels).

        Raises
        ------
        ImageError
            If the image cannot be read.
        """
        ...


@dataclass(frozen=True, eq=False)
class RawDataset:
    """Result of a reader, before any image is decoded.

    Attributes
    ----------
    table
        One row per image with labels: the column "key", attribute columns, and "split" if the source has splits.
        Missing labels are NaN.
    images
        Source of the images, by the keys of the table.
    problems
        Entries that were left out of the table, in a fixed order.
    """

    table: pd.DataFrame
    images: ImageSource
    problems: tuple[DatasetProblem, ...] = ()


class Reader(Protocol):
    """Reads data sets of one format; the type of entry points of the group "faceaug.datasets"."""

    def __call__(self, path: Path, labels: Path | None, *, file_column: str | None = None) -> RawDataset:
        """Read the data set at `path`, with the label file `labels` if there is one.

        Raises
        ------
        DatasetError
            If the data set cannot be read.
        """
        ...


class ReaderModule(Protocol):
    """A module of `faceaug.datasets.readers`."""

    def detect(self, path: Path, labels: Path | None) -> bool:
        """Return whether the path has the format of this reader."""
        ...

    def read(self, path: Path, labels: Path | None, *, file_column: str | None = None) -> RawDataset:
        """Read the data set, as `Reader`."""
        ...


def summarize(problems: Sequence[DatasetProblem]) -> str:
    """Return the number of problems of each kind, the most frequent first: "2 missing file, 1 unreadable image"."""
    counts = Counter(problem.kind for problem in problems)
    return ", ".join(f"{n:,} {kind}" for kind, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
