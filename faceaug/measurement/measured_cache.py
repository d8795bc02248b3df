"""Tables of measurements in the cache: the same images are measured once by the same weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faceaug.cache.arrays import cached_arrays
from faceaug.cache.key import CacheKey, device_identity
from faceaug.cache.store import open_cache
from faceaug.datasets.content import content_sha256
from faceaug.errors import FaceaugError
from faceaug.measurement.estimator import FaceEstimator

MEASUREMENTS_VERSION = 4
"""Raised whenever the same images and weights give other measurements than before."""
CACHED_TOGETHER = 1024
"""Images whose measurements are one entry, whole batches: an interrupted call loses the work of some seconds."""
_NUMBERS, _REASONS = "numbers", "reasons"


def encoded_from(encoded: Callable[[int], bytes], first: int) -> Callable[[int], bytes]:
    """Return what gives the bytes of the images from number `first` on, which is then number 0."""
    return lambda row: encoded(first + row)


def measurements_key(
    encoded: Callable[[int], bytes], count: int, settings: Sequence[Any], estimator: FaceEstimator, workers: int | None
) -> CacheKey | None:
    """Return the key of the measurements of images.

    Parameters
    ----------
    encoded : callable
        From index to the encoded bytes of an image.
    count : int
        Number of images.
    settings : sequence
        JSON values that decide what is read off them.
    estimator : FaceEstimator
    workers : int, optional
        Threads that read the images.

    Returns
    -------
    CacheKey or None
        None where nothing is cached: the cache is off, the weights have no hash, or an image cannot be read.
    """
    if not estimator.sha256 or not open_cache().enabled:
        return None
    try:
        pictures = content_sha256(encoded, count, workers)
    except (FaceaugError, OSError):  # which the table gives as a reason
        return None
    return CacheKey(
        "measured",
        {
            "version": MEASUREMENTS_VERSION,
            "pictures": pictures,
            "by": [estimator.sha256, list(estimator.column_names)],
            "settings": list(settings),
            "device": device_identity(estimator.device),
        },
    )


def cached_table(
    key: CacheKey, reason_column: str, columns: Sequence[str], measure: Callable[[], tuple[pd.DataFrame, str]]
) -> pd.DataFrame:
    """Return a table of the cache; measured, and kept there, where it has none.

    What was measured on other bytes than those of the key, as of a photograph that has vanished since, is not kept.

    Parameters
    ----------
    key : CacheKey
    reason_column : str
        Its last column, of texts; the others are numbers.
    columns : sequence of str
        The others.
    measure : callable
        Returns the table, and the SHA-256 of the images that were read for it, as `content_sha256`.
    """
    read = ""

    def compute() -> dict[str, NDArray[Any]]:
        nonlocal read
        table, read = measure()
        reasons = json.dumps(table[reason_column].tolist()).encode()
        return {_NUMBERS: table[list(columns)].to_numpy(np.float64), _REASONS: np.frombuffer(reasons, np.uint8)}

    arrays = cached_arrays(key, compute, keep=lambda: read == key.parts["pictures"])
    table = pd.DataFrame({name: arrays[_NUMBERS][:, k] for k, name in enumerate(columns)})
    return table.assign(**{reason_column: pd.Series(json.loads(arrays[_REASONS].tobytes()), dtype=object)})
