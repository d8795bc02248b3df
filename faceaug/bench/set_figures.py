"""What a synthetic set is like beside real faces that no engine saw (docs/bench.md)."""

from __future__ import annotations

from typing import Any

import numpy as np

from faceaug.bench.examples import Examples
from faceaug.errors import UsageError
from faceaug.evaluation.comparison import FeatureSet, evaluate_samples
from faceaug.utils.typing import Indices


def set_figures(
    samples: Examples, sources: Indices, real: Examples, held_out: Examples, names: tuple[str, ...]
) -> dict[str, Any] | None:
    """Return the figures of `evaluate_samples`, as JSON values; None where there are too few faces to compare.

    Parameters
    ----------
    samples : Examples
        Frozen features.
    sources : int64 [N]
        The row of `real` from which each sample was made, or a number of its own from `len(real)` on.
    real, held_out : Examples
        Faces of the training part, and of the test part.
    names : tuple of str
        Of the cells.
    """
    try:
        figures = evaluate_samples(
            FeatureSet(real.inputs.astype(np.float32), real.cells, np.arange(len(real))),
            FeatureSet(samples.inputs.astype(np.float32), samples.cells, sources),
            FeatureSet(held_out.inputs.astype(np.float32), held_out.cells, -1 - np.arange(len(held_out))),
        ).to_dict()
    except UsageError:
        return None
    figures["cells"] = {names[cell.pop("cell")]: cell for cell in figures["cells"]}
    return figures
