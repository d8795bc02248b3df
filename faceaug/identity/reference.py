"""The real faces of a data set as embeddings, and the nearest of them to other faces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import UsageError
from faceaug.identity.base import FaceEmbedder
from faceaug.identity.cache import read_embeddings, write_embeddings
from faceaug.identity.comparison import NO_ROW, IdentityComparison
from faceaug.utils.threads import Progress
from faceaug.utils.typing import Bools, Floats32, Indices

_BATCH = 32  # pictures that are in memory at once
_SAVED_AFTER = 512  # pictures after which the cache is written, since embedding takes long
_QUERIES = 256  # queries that are compared at once
_CONSIDERED = 8
"""Real faces that are compared exactly, of those that are nearest by a matrix product. The product rounds a row by its
place in the batch; distances of the product are right to 1e-5, so that the nearest face is among these."""


@dataclass(frozen=True, eq=False)
class IdentityReference:
    """The real faces of a data set, against which synthetic ones are compared.

    Attributes
    ----------
    embedder : FaceEmbedder
    embeddings : float32 [N, D]
        Of each row of the data set; NaN where no face is found.
    digests : tuple of bytes
        SHA-256 of the file of each row, as samples name their sources.
    """

    embedder: FaceEmbedder
    embeddings: Floats32
    digests: tuple[bytes, ...]

    @classmethod
    def build(
        cls,
        dataset: FaceDataset,
        embedder: FaceEmbedder,
        *,
        cache: Path | None = None,
        progress: Progress | None = None,
    ) -> IdentityReference:
        """Embed all real faces of a data set.

        Parameters
        ----------
        dataset : FaceDataset
        embedder : FaceEmbedder
        cache : path, optional
            A .safetensors file that keeps the embeddings: what it holds of the same files and the same embedder is not
            computed again. Embeddings of faces are biometric data: keep it as carefully as the photographs.
        progress : callable, optional
            Called with the number of images that were done since the last call.

        Raises
        ------
        ImageError
            When an image cannot be read.
        IntegrityError
            When the cache is damaged or no cache of embeddings.
        OutputError
            When the cache cannot be written.
        FaceaugError
            When the embedder fails.
        """
        digests = tuple(hashlib.sha256(dataset.encoded(row)).digest() for row in range(len(dataset)))
        known = read_embeddings(cache, embedder) if cache is not None and cache.exists() else {}
        first = {digest: row for row, digest in reversed(list(enumerate(digests)))}  # one of equal files is enough
        missing = sorted(row for digest, row in first.items() if digest not in known)
        if progress is not None:
            progress(len(digests) - len(missing))
        for block in _blocks(missing, _SAVED_AFTER):
            for rows in _blocks(block, _BATCH):
                embedded = embedder.embed([dataset.image(row) for row in rows])
                known.update({digests[row]: vector for row, vector in zip(rows, embedded, strict=True)})
                if progress is not None:
                    progress(len(rows))
            if cache is not None:
                write_embeddings(cache, embedder, known)
        return cls(embedder, np.stack([known[digest] for digest in digests]), digests)

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def face_found(self) -> Bools:
        """Whether a face was found in each real image, bool [N]."""
        return self._found

    @cached_property
    def _found(self) -> Bools:
        return np.asarray(np.isfinite(self.embeddings).all(1))

    @cached_property
    def _usable(self) -> Indices:
        return np.flatnonzero(self._found)

    def row_of(self, digest: bytes) -> int:
        """Return the first row whose file has a SHA-256, or -1."""
        return self._rows_by_digest.get(digest, [NO_ROW])[0]

    def nearest(self, embeddings: Floats32, *, exclude: Indices | None = None) -> tuple[Indices, Floats32]:
        """Return the nearest real face to each embedding.

        Parameters
        ----------
        embeddings : float32 [K, D]
            Of the same embedder; NaN where no face was found.
        exclude : int64 [K], optional
            A row of the data set that does not count, for each embedding: its own, when real faces are compared with
            each other. Rows with the same file do not count, either.

        Returns
        -------
        rows : int64 [K]
            -1 where the embedding is NaN, or no real face is left.
        distances : float32 [K]
            Euclidean; NaN where the row is -1. A result does not depend on the other embeddings.

        Raises
        ------
        UsageError
            When the embeddings have another width than those of the data set.
        """
        self._check_width(embeddings)
        rows = np.full(len(embeddings), NO_ROW, np.int64)
        distances = np.full(len(embeddings), np.nan, np.float32)
        queries = np.flatnonzero(np.isfinite(embeddings).all(1)) if len(self._usable) else np.zeros(0, np.int64)
        real = self.embeddings[self._usable]
        squares = (real * real).sum(1)
        for start in range(0, len(queries), _QUERIES):
            chosen = queries[start : start + _QUERIES]
            scores = squares - 2 * embeddings[chosen] @ real.T  # squared distances less a constant of each query
            if exclude is not None:
                for k, row in enumerate(exclude[chosen].tolist()):
                    scores[k, np.searchsorted(self._usable, self._usable_with_file_of(row))] = np.inf
            count = min(_CONSIDERED, len(real))
            candidates = np.argpartition(scores, count - 1, axis=1)[:, :count]
            for k, query in enumerate(chosen):
                left = np.sort(candidates[k][np.isfinite(scores[k, candidates[k]])])
                if len(left):
                    rows[query], distances[query] = self._closest(embeddings[query], self._usable[left])
        return rows, distances

    def compare(self, embeddings: Floats32, sources: Sequence[Sequence[int]]) -> IdentityComparison:
        """Compare samples with the real faces that they were made from, and with all others.

        Parameters
        ----------
        embeddings : float32 [K, D]
            Of the samples; NaN where no face was found.
        sources : sequence of K sequences of int
            Rows of the data set that each sample was made from; empty for a sample without one.

        Raises
        ------
        UsageError
            When the embeddings have another width than those of the data set, or there are not K lists of sources.
        """
        if len(sources) != len(embeddings):
            raise UsageError(f"{len(sources)} lists of sources do not fit {len(embeddings)} embeddings: give one each")
        nearest_rows, nearest_distances = self.nearest(embeddings)
        rows = np.full(len(embeddings), NO_ROW, np.int64)
        distances = np.full(len(embeddings), np.nan, np.float32)
        for k, own in enumerate(sources):
            usable = np.unique(np.array([row for row in own if self._found[row]], np.int64))
            if len(usable):
                rows[k], distances[k] = self._closest(embeddings[k], usable)
        nearer = [self._share_nearer(row, distance) for row, distance in zip(rows.tolist(), distances, strict=True)]
        limit = float(self.embedder.same_person.distance) if self.embedder.is_identity else float("nan")
        return IdentityComparison(rows, distances, np.array(nearer, np.float32), nearest_rows, nearest_distances, limit)

    def distances(self, embedding: Floats32, rows: Sequence[int] | Indices) -> Floats32:
        """Return the distances float32 [K] of one embedding [D] to rows of the data set; NaN without a face."""
        difference = self.embeddings[np.asarray(rows, np.int64)].astype(np.float64) - embedding.astype(np.float64)
        return np.asarray(np.sqrt((difference * difference).sum(1)), np.float32)

    def _closest(self, embedding: Floats32, rows: Indices) -> tuple[int, np.float32]:
        """Return the nearest of a few rows, the first of several, and its exact distance."""
        distances = self.distances(embedding, rows)
        best = int(distances.argmin())
        return int(rows[best]), np.float32(distances[best])

    def _share_nearer(self, row: int, distance: np.float32) -> float:
        """Return the share of other real faces that lie nearer to the one of a row than a distance."""
        if not np.isfinite(distance):
            return float("nan")
        others = np.setdiff1d(self._usable, self._usable_with_file_of(row))
        return float((self.distances(self.embeddings[row], others) < distance).mean()) if len(others) else 0.0

    def _usable_with_file_of(self, row: int) -> list[int]:
        """Return the row itself and those with the same file, as far as they have an embedding."""
        equal = self._rows_by_digest[self.digests[row]] if row != NO_ROW else []
        return [each for each in equal if self._found[each]]

    @cached_property
    def _rows_by_digest(self) -> dict[bytes, list[int]]:
        rows: dict[bytes, list[int]] = {}
        for row, digest in enumerate(self.digests):
            rows.setdefault(digest, []).append(row)
        return rows

    def _check_width(self, embeddings: Floats32) -> None:
        if embeddings.ndim != 2 or embeddings.shape[1] != self.embeddings.shape[1]:
            raise UsageError(
                f"embeddings {list(embeddings.shape)} do not fit those of the data set, "
                f"{list(self.embeddings.shape)}: both must come from the same embedder"
            )


def _blocks(rows: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
