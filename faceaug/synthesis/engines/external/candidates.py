"""Candidates: images that were made elsewhere, and what is claimed of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faceaug.analysis.axes import Axis, attribute
from faceaug.datasets.dataset import FaceDataset, LoadOptions, load_dataset
from faceaug.errors import DatasetError, UsageError
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.rerendering.source_faces import is_rendered

NO_CLAIM, UNKNOWN_CLAIM = -1, -2
"""Codes of a label that is not claimed, and of a claim that is no level of the plan."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Images that were made elsewhere.

    Attributes
    ----------
    dataset : FaceDataset
        Their files, not yet decoded, with whatever columns they came with.
    claims : dict of int64 [N]
        By the name of a labelled axis, the level that is claimed of each: an index into the axis's levels, `NO_CLAIM`
        or `UNKNOWN_CLAIM`. Axes of which nothing is claimed are left out.
    """

    dataset: FaceDataset
    claims: dict[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.dataset)


def open_candidates(config: RunConfig, axes: Sequence[Axis]) -> Candidates:
    """List the candidates of a run; none of them is decoded yet.

    Raises
    ------
    UsageError
        When the run names none.
    DatasetError
        When there are none, or the table of claimed labels cannot be read.
    """
    if config.candidates is None:
        raise UsageError(
            "the engine external checks images that were made elsewhere: say where they are, as --candidates generated/"
        )
    options = LoadOptions(check="none", needs_labels=False)
    dataset = load_dataset(config.candidates, config.candidate_labels, split="all", options=options)
    labelled = [axis for axis in axes if not is_rendered(axis) and axis.name in dataset.table.columns]
    return Candidates(dataset, {axis.name: _claimed(dataset, axis) for axis in labelled})


def _claimed(dataset: FaceDataset, axis: Axis) -> NDArray[np.int64]:
    values = attribute(dataset.table, axis.name)
    known = pd.notna(values).to_numpy()
    if not known.any():
        return np.full(len(values), NO_CLAIM, np.int64)
    try:
        codes = np.asarray(axis.assign(values), np.int64)
    except UsageError as error:
        raise DatasetError(f"the labels claimed for the candidates do not fit the data set's: {error}") from error
    return np.where(known, np.where(codes >= 0, codes, UNKNOWN_CLAIM), NO_CLAIM)
