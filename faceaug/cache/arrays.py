"""Arrays and files in the cache: read where they are there, computed and kept where they are not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from faceaug.cache.key import CacheKey
from faceaug.cache.store import open_cache
from faceaug.utils.files import write_bytes

_ARRAYS = "arrays.safetensors"
_log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]


def cached_arrays(key: CacheKey, compute: Callable[[], Arrays], *, keep: Callable[[], bool] = lambda: True) -> Arrays:
    """Return arrays of the cache; computed, and kept there, where it has none.

    Parameters
    ----------
    key : CacheKey
    compute : callable
        Returns the arrays by name.
    keep : callable
        Asked after that: whether they were computed from what the key says.
    """
    cache = open_cache()
    items = cache.read(key)
    if items is not None and _ARRAYS in items:
        try:
            return load(items[_ARRAYS])
        except (SafetensorError, ValueError, KeyError) as error:
            _log.info("a cache entry of the kind %s cannot be read: %s", key.kind, error)
    arrays = {name: np.ascontiguousarray(array) for name, array in compute().items()}
    if cache.enabled and keep():
        cache.write(key, {_ARRAYS: save(arrays)})
    return arrays


def restore_files(key: CacheKey, folder: Path, names: Sequence[str]) -> bool:
    """Write the files of an entry to a folder, in the order in which they were kept; False where there is none.

    An entry that holds anything but `names` is not used: a cache folder may be shared, and no name may lead out of the
    folder.
    """
    items = open_cache().read(key)
    if not items or not set(items) <= set(names):
        return False
    for name, data in items.items():
        write_bytes(folder / name, data)
    return True


def keep_files(key: CacheKey, folder: Path, names: Sequence[str]) -> None:
    """Keep those of `names` that are files of a folder."""
    cache = open_cache()
    if cache.enabled:
        cache.write(key, {name: (folder / name).read_bytes() for name in names if (folder / name).exists()})
