"""Compare the samples of an output folder with the real faces of its data set, whatever engine made them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceaug.identity.column import IDENTITY_DISTANCE, is_of
from faceaug.identity.comparison import NO_ROW, IdentityComparison
from faceaug.identity.reference import IdentityReference
from faceaug.identity.summary import (
    REAL_TO_REAL,
    SAMPLE_TO_REAL,
    SAMPLE_TO_SOURCE,
    DistanceDistribution,
    IdentitySummary,
    histogram_edges,
    limit_of,
)
from faceaug.shards.columns import SOURCE_COLUMNS
from faceaug.shards.manifest import Manifest, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.utils.files import inside
from faceaug.utils.threads import Progress
from faceaug.utils.typing import Bools, Floats32

_BATCH = 32  # samples that are in memory at once


@dataclass(frozen=True, eq=False)
class _Samples:
    """What was read of the compared samples, N of them.

    Attributes
    ----------
    embeddings : float32 [N, D]
    sources : list of tuple of bytes
        SHA-256 of the photographs that each sample was made from, none or several.
    recorded : float32 [N]
        The column `identity_distance` of the run, where the same embedder measured it; else NaN.
    stored : int
        Samples of the folder.
    """

    embeddings: Floats32
    sources: list[tuple[bytes, ...]]
    recorded: Floats32
    stored: int


def compare_output(
    out: Path | str, reference: IdentityReference, *, most: int | None = None, progress: Progress | None = None
) -> IdentitySummary:
    """Compare the samples of an output folder with the real faces of its data set.

    Parameters
    ----------
    out : path
        An output folder; its run may be unfinished.
    reference : IdentityReference
        Of the data set that was balanced.
    most : int, optional
        Most samples that are compared, spread evenly; all when None.
    progress : callable, optional
        Called with the number of samples that were done since the last call.

    Raises
    ------
    IntegrityError
        When the manifest or a shard is damaged.
    FaceaugError
        When the embedder fails.
    """
    out = Path(out)
    manifest = read_manifest(out)
    with contextlib.ExitStack() as stack:
        shards = [stack.enter_context(ShardReader(inside(out, entry.name))) for entry in manifest.shards]
        samples = _read_samples(manifest, shards, reference, most, progress)
    rows = [[reference.row_of(digest) for digest in digests] for digests in samples.sources]
    comparison = reference.compare(samples.embeddings, [[row for row in own if row != NO_ROW] for own in rows])
    missing = np.array([NO_ROW in own for own in rows], bool)
    return _summary(reference, samples, comparison, missing)


def _read_samples(
    manifest: Manifest,
    shards: Sequence[ShardReader],
    reference: IdentityReference,
    most: int | None,
    progress: Progress | None,
) -> _Samples:
    stored = sum(len(shard) for shard in shards)
    has_distance = any(is_of(column, reference.embedder) for column in manifest.columns)
    embeddings, sources, recorded = [reference.embeddings[:0]], [], [np.zeros(0, np.float32)]
    for shard, rows in _chosen(shards, stored, most):
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            embeddings.append(reference.embedder.embed(shard.image_many(batch)))
            if progress is not None:
                progress(len(batch))
        columns = [shard.column(name, rows) for name in SOURCE_COLUMNS if name in shard.keys]
        sources += [tuple(column[k].tobytes() for column in columns if column[k].any()) for k in range(len(rows))]
        nothing = np.full(len(rows), np.nan, np.float32)
        recorded.append(shard.column(f"semantic/{IDENTITY_DISTANCE}", rows) if has_distance else nothing)
    return _Samples(np.concatenate(embeddings), sources, np.concatenate(recorded), stored)


def _chosen(shards: Sequence[ShardReader], stored: int, most: int | None) -> Iterator[tuple[ShardReader, list[int]]]:
    """Yield the rows of each shard that are compared."""
    count = stored if most is None else min(most, stored)
    chosen = np.unique(np.linspace(0, stored - 1, count).round().astype(np.int64)) if count else np.zeros(0, np.int64)
    first = 0
    for shard in shards:
        rows = chosen[(chosen >= first) & (chosen < first + len(shard))] - first
        first += len(shard)
        if len(rows):
            yield shard, rows.tolist()


def _summary(
    reference: IdentityReference, samples: _Samples, comparison: IdentityComparison, missing: Bools
) -> IdentitySummary:
    embedder, limit = reference.embedder, limit_of(reference.embedder)
    _, between_real = reference.nearest(reference.embeddings, exclude=np.arange(len(reference)))
    distances = {
        # What the engine measured counts as well: a photograph may have gone since.
        SAMPLE_TO_SOURCE: np.fmin(comparison.source_distance, samples.recorded),
        SAMPLE_TO_REAL: comparison.nearest_distance,
        REAL_TO_REAL: between_real,
    }
    edges = histogram_edges(distances.values(), limit)
    sourced = np.array([bool(digests) for digests in samples.sources], bool)
    ranked = np.isfinite(comparison.nearer_real)
    return IdentitySummary(
        embedder=embedder.name,
        sha256=embedder.sha256,
        licence=embedder.licence,
        is_identity=embedder.is_identity,
        same_person=limit,
        same_person_source=embedder.same_person.source,
        real=len(reference),
        real_without_face=int((~reference.face_found).sum()),
        stored=samples.stored,
        compared=len(samples.sources),
        without_face=int((~comparison.face_found).sum()),
        sourced=int(sourced.sum()),
        sources_missing=int(missing.sum()),
        nearest_to_source=int((comparison.nearer_real[ranked] == 0).sum()),
        judged_by_rank=int(ranked.sum()),
        edges=tuple(edges.tolist()),
        distances={name: DistanceDistribution.of(values, edges, limit) for name, values in distances.items()},
    )
