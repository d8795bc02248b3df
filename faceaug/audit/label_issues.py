"""Suspected wrong labels by confident learning (cleanlab) on frozen features."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from faceaug.analysis.axes import Axis, Codes
from faceaug.errors import UsageError
from faceaug.utils.typing import Floats, Indices

AUDIT_INSTALL = "pip install 'faceaug[audit]'"
_FOLDS, _SEED = 5, 0
_COMPONENTS, _PENALTY = 128, 0.0003  # of the features; inverse strength of the penalty of the regression


@dataclass(frozen=True)
class LabelIssue:
    """A label that is suspected to be wrong.

    Attributes
    ----------
    row : int
    attribute, given, suggested : str
        The label, and that which the picture looks like.
    quality : float
        Probability that classifiers which have not seen the picture give to its label; smaller is more suspect.
    """

    row: int
    attribute: str
    given: str
    suggested: str
    quality: float


def check_cleanlab() -> None:
    """Raise UsageError where cleanlab is not installed."""
    if importlib.util.find_spec("cleanlab") is None:
        raise UsageError(
            f"--audit finds wrong labels with the package cleanlab, which is not installed: {AUDIT_INSTALL}"
        )


def label_issues(axis: Axis, codes: Codes, features: Floats, groups: Indices) -> list[LabelIssue]:
    """Return the labels of an attribute that are suspected to be wrong, the most suspect first.

    Probabilities come from logistic regressions on the other folds, and are compared by confident learning (Northcutt
    et al., J. Artif. Intell. Res. 70, 2021). Levels of fewer faces than folds are left out.

    Parameters
    ----------
    axis : Axis
    codes : int64 [N]
        Level of each picture, -1 where unknown.
    features : float [N, F]
    groups : int64 [N]
        Pictures of a group, as near-duplicates, are in the same fold.
    """
    from cleanlab.filter import find_label_issues

    sizes = np.bincount(codes[codes >= 0], minlength=len(axis.levels))
    levels = np.flatnonzero(sizes >= _FOLDS)
    rows = np.flatnonzero(np.isin(codes, levels))
    if len(levels) < 2:
        return []
    labels = np.searchsorted(levels, codes[rows])
    probabilities = _out_of_fold(features[rows], labels, groups[rows], len(levels))
    found = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return [
        LabelIssue(
            int(rows[k]),
            axis.name,
            axis.levels[levels[labels[k]]],
            axis.levels[levels[int(probabilities[k].argmax())]],
            round(float(probabilities[k, labels[k]]), 4),
        )
        for k in found
    ]


def _out_of_fold(features: Floats, labels: NDArray[np.int64], groups: Indices, levels: int) -> Floats:
    """Return the probability [N, levels] of each level by a regression on the folds in which a picture is not."""
    components = min(_COMPONENTS, len(features) - 1, features.shape[1])
    reduced = PCA(components, svd_solver="randomized", random_state=_SEED).fit_transform(
        StandardScaler().fit_transform(features)
    )
    probabilities = np.full((len(labels), levels), 1 / levels)
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=_SEED)
    for learnt, held_out in folds.split(reduced, labels, groups):
        model = LogisticRegression(C=_PENALTY, max_iter=500).fit(reduced[learnt], labels[learnt])
        found = np.zeros((len(held_out), levels))
        found[:, model.classes_] = model.predict_proba(reduced[held_out])
        probabilities[held_out] = found
    return probabilities
