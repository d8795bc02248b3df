"""Pictures that occur several times: the same file, or nearly the same picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faceaug.synthesis.acceptance.near_duplicates import DuplicateIndex
from faceaug.utils.typing import Indices


def duplicate_groups(digests: list[bytes], hashes: NDArray[np.uint64], within: int) -> Indices:
    """Return the first row [N] of the group of each picture: pictures of a group are the same or near-duplicates.

    A picture joins the group of the first picture that is the same file, or whose perceptual hash differs in at most
    `within` bits.

    Parameters
    ----------
    digests : list of bytes, length N
        Hash of each file.
    hashes : uint64 [N]
        Perceptual hash of each picture.
    within : int
    """
    first, index = np.arange(len(hashes)), DuplicateIndex(np.empty(0, np.uint64), within)
    same: dict[bytes, int] = {}
    row_of: dict[int, int] = {}  # the first with a hash
    for row, digest in enumerate(digests):
        earlier = same.setdefault(digest, row)
        if earlier != row:
            first[row] = first[earlier]
        elif near := index.near_hashes(hashes[row]).tolist():
            first[row] = first[min(row_of[each] for each in near)]
        if int(hashes[row]) not in row_of:
            row_of[int(hashes[row])] = row
            index.add(hashes[row])
    return first
