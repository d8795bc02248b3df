"""Division of a data set into training, validation and test, and thinning of groups in the training part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from faceaug.analysis.axes import Axis, attribute
from faceaug.bench.recipe import BenchSplit, ThinnedGroup
from faceaug.datasets.splits import SPLIT_COLUMN
from faceaug.errors import DatasetError, UsageError
from faceaug.synthesis.acceptance.near_duplicates import differing_bits, hashes
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import as_tensor
from faceaug.utils.text import nearest, shown
from faceaug.utils.typing import Bools, Indices

_PARTS = ("train", "val", "test")
_READ = 256  # pictures that are hashed at a time


@dataclass(frozen=True, eq=False)
class Partition:
    """The rows of the parts of a data set, each in increasing order; no row is in two parts.

    Attributes
    ----------
    train, validation, test : int64 [K]
    thinned : int64 [K]
        Training rows that were left out to thin groups.
    duplicates : int
        Rows of training and validation that were left out since a near-duplicate is in a later part (own splits alone).
    """

    train: Indices
    validation: Indices
    test: Indices
    thinned: Indices = field(default_factory=lambda: np.empty(0, np.int64))
    duplicates: int = 0


def duplicate_clusters(thumbnails: Rgb, bits: int) -> Indices:
    """Return a number [N] for each picture, the same for near-duplicates, and for what they connect.

    Parameters
    ----------
    thumbnails : uint8 [N, S, S, 3]
    bits : int
        Perceptual hashes (64 bits) that differ in at most this many bits are near-duplicates.
    """
    parts = [hashes(as_tensor(thumbnails[start : start + _READ])) for start in range(0, len(thumbnails), _READ)]
    known = np.concatenate(parts) if parts else np.empty(0, np.uint64)
    first: list[int] = []
    second: list[int] = []
    for row in range(len(known) - 1):
        near = np.flatnonzero(differing_bits(known[row], known[row + 1 :]) <= bits) + row + 1
        first += [row] * len(near)
        second += near.tolist()
    pairs = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(len(known), len(known)))
    return np.asarray(connected_components(pairs, directed=False)[1], np.int64)


def draw_parts(clusters: Indices, strata: Indices, split: BenchSplit, seed: int) -> Partition:
    """Divide rows at random, so that near-duplicates are in one part and every stratum is in all parts alike.

    Parameters
    ----------
    clusters : int64 [N]
        Of `duplicate_clusters`.
    strata : int64 [N]
        Cell of each row; a cluster counts to that of its first row.
    split : BenchSplit
    seed : int
    """
    rng = np.random.default_rng([seed, 0x5B17])
    _, firsts, members = np.unique(clusters, return_index=True, return_inverse=True)
    order = rng.permutation(len(firsts))
    order = order[np.argsort(strata[firsts][order], kind="stable")]
    starts = np.flatnonzero(np.diff(strata[firsts][order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    place = (np.arange(len(order)) - np.repeat(starts, sizes) + 0.5) / np.repeat(sizes, sizes)  # in (0, 1)
    part_of_cluster = np.empty(len(firsts), np.int64)
    # Test and validation first, so that of few faces some are held out.
    bounds = [split.test, split.test + split.validation]
    part_of_cluster[order] = np.array([2, 1, 0])[np.searchsorted(bounds, place, side="right")]
    part = part_of_cluster[members]
    train, validation, test = (np.flatnonzero(part == k) for k in range(3))
    return Partition(train, validation, test)


def own_parts(table: pd.DataFrame, clusters: Indices, name: str) -> Partition:
    """Return the parts that the data set itself has, without rows that have a near-duplicate in a later part.

    Raises
    ------
    DatasetError
        When the data set has no splits train, val and test.
    """
    if SPLIT_COLUMN not in table.columns or not set(_PARTS) <= set(table[SPLIT_COLUMN].dropna()):
        raise DatasetError(
            f"{name} has no splits train, val and test of its own; leave split.own out to have it divided"
        )
    train, validation, test = (np.flatnonzero((table[SPLIT_COLUMN] == part).to_numpy(bool)) for part in _PARTS)
    new = ~np.isin(clusters[validation], clusters[test])
    validation = validation[new]
    apart = ~np.isin(clusters[train], clusters[np.concatenate([validation, test])])
    return Partition(train[apart], validation, test, duplicates=int((~apart).sum() + (~new).sum()))


def thin(parts: Partition, members: Sequence[Bools], groups: Sequence[ThinnedGroup], seed: int) -> Partition:
    """Return the parts with fewer training rows of some groups.

    Parameters
    ----------
    parts : Partition
    members : sequence of bool [N]
        Whether each row is in the group.
    groups : sequence of ThinnedGroup
    seed : int
        Of the rows that are kept.

    Raises
    ------
    UsageError
        When a group has no training row, or fewer than it is to keep, when groups overlap, or when nothing is left
        beside their shares.
    """
    train = parts.train
    inside = [own[train] for own in members]
    if (np.sum(inside, 0) > 1).any():
        raise UsageError("the groups under imbalance overlap, so their shares cannot all hold; name groups apart")
    rows, left = [train[~np.any(inside, 0)] if groups else train], 1.0 - sum(group.share or 0 for group in groups)
    if left <= 0:
        raise UsageError(f"the shares under imbalance sum to {1 - left:g}; give shares that sum to less than 1")
    # Of what is left when the others are counted, each group gets its share.
    beside = len(rows[0]) + sum(int(group.count or 0) for group in groups)
    for number, (own, group) in enumerate(zip(inside, groups, strict=True)):
        keep = group.count if group.share is None else round(group.share / left * beside)
        keep = max(1, int(keep or 0))
        if keep > own.sum():
            raise UsageError(
                f"the group {describe_group(group)} is to keep {keep:,} training faces, but there are "
                f"{int(own.sum()):,}: give a smaller share or count"
            )
        rng = np.random.default_rng([seed, 0x7417, number])
        rows.append(rng.choice(train[own], keep, replace=False))
    kept = np.sort(np.concatenate(rows))
    return Partition(kept, parts.validation, parts.test, np.setdiff1d(train, kept), parts.duplicates)


def group_members(table: pd.DataFrame, axis: Axis, group: ThinnedGroup) -> Bools:
    """Return whether each row [N] of a table is in a group that is to be thinned.

    Raises
    ------
    UsageError
        When one of its levels does not exist.
    """
    for level in group.levels:
        if level not in axis.levels:
            raise UsageError(f"imbalance names the level {shown(level)} of {axis.name}; {nearest(level, axis.levels)}")
    codes = axis.assign(attribute(table, axis.name))
    return np.isin(codes, [axis.levels.index(level) for level in group.levels])


def describe_group(group: ThinnedGroup) -> str:
    """Return a group as text: "ethnicity: asian"."""
    return f"{group.by}: {', '.join(group.levels)}"
