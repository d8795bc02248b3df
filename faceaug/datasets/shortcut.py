"""Groups that a model could tell by the traces of synthesis, since one is mostly synthetic and another hardly."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pandas as pd

SHORTCUT_DIFFERENCE = 0.3
"""Difference between groups in their share of synthetic images from which there is a warning."""
_log = logging.getLogger(__name__)


def warn_of_shortcut(table: pd.DataFrame, by: Sequence[str], name: str) -> None:
    """Warn where groups of real and synthetic images differ much in their share of synthetic ones.

    Parameters
    ----------
    table : DataFrame
        With a row per image, the columns `by`, and "synthetic" (0 or 1).
    by : sequence of str
        Columns whose combinations are the groups; rows without one of them do not count.
    name : str
        Of the data set, for the message.
    """
    shares = table.dropna(subset=list(by)).groupby(list(by))["synthetic"].mean() if by else pd.Series(dtype=float)
    if len(shares) < 2 or shares.max() - shares.min() <= SHORTCUT_DIFFERENCE:
        return
    most, least = (_words(shares.index[int(place)]) for place in (shares.argmax(), shares.argmin()))
    _log.warning(
        "%s: %.0f%% of (%s) are synthetic, but %.0f%% of (%s): a model that draws them as they are can tell such "
        "groups by the traces of synthesis; draw the same share in every group with GroupSampler, or finish on real "
        "faces with fit_two_stage (faceaug.training)",
        name,
        *(100 * shares.max(), most, 100 * shares.min(), least),
    )


def _words(group: object) -> str:
    """Return the levels of a group as text."""
    return ", ".join(map(str, group)) if isinstance(group, tuple) else str(group)
