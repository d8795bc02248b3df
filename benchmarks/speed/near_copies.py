"""The gate on near-copies: is a hash within some bits of one of many? `DuplicateIndex` beside brute force and faiss.

Hashes are clustered, as those of faces are: each is one of some thousand prototypes with a quarter of its bits drawn
anew. Queries are near-copies in one half of the cases, and new hashes in the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.protocol import OURS, Case, Disagreement, Size, Work, find_opponents
from faceaug.synthesis.acceptance.near_duplicates import DuplicateIndex, differing_bits
from faceaug.synthesis.config import AcceptanceThresholds

TITLE = "near-copies among hashes of 64 bits"
COUNTS = {"full": (100_000, 1_000_000), "tiny": (3000,)}
QUERIES = {"full": 200, "tiny": 20}
_PROTOTYPES = 4000


def cases(size: Size, folder: Path) -> Iterator[Case]:
    """Yield a case for each number of hashes."""
    opponents = find_opponents(faiss_cpu="faiss")
    within = AcceptanceThresholds().duplicate_bits
    for count in COUNTS[size]:
        known = clustered_hashes(count, seed=0)
        queries = _queries(known, QUERIES[size], within)
        works: dict[str, Work] = {
            OURS: _indexed(known, queries, within),
            "brute force": lambda known=known, queries=queries: [_brute(known, query, within) for query in queries],
        }
        if faiss := opponents.modules.get("faiss-cpu"):
            works["faiss-cpu IndexBinaryFlat"] = _faiss(faiss.IndexBinaryFlat(64), known, queries, within)
            works["faiss-cpu IndexBinaryMultiHash"] = _faiss(_multi_hash(faiss), known, queries, within)
        yield Case(
            f"{count:,} hashes, within {within} bits",
            "queries",
            len(queries),
            works,
            lambda works=works: _agree(works),
            missing=opponents.missing,
            rounds=5,
        )


def clustered_hashes(count: int, seed: int) -> NDArray[np.uint64]:
    """Return hashes [count] that lie in clusters."""
    rng = np.random.default_rng(seed)
    prototypes = rng.integers(0, 2**64, _PROTOTYPES, np.uint64)
    changed = np.bitwise_and(*(rng.integers(0, 2**64, count, np.uint64) for _ in range(2)))  # a quarter of the bits
    return prototypes[rng.integers(0, _PROTOTYPES, count)] ^ changed


def _queries(known: NDArray[np.uint64], count: int, within: int) -> NDArray[np.uint64]:
    rng = np.random.default_rng(1)
    near = rng.choice(known, count // 2)
    for row in range(len(near)):
        for bit in rng.choice(64, within, replace=False).tolist():
            near[row] ^= np.uint64(1 << bit)
    return np.concatenate([near, clustered_hashes(count - len(near), seed=2)])


def _indexed(known: NDArray[np.uint64], queries: NDArray[np.uint64], within: int) -> Work:
    index = DuplicateIndex(known, within)
    return lambda: [index.near(query) for query in queries]


def _brute(known: NDArray[np.uint64], query: np.uint64, within: int) -> bool:
    return int(differing_bits(query, known).min()) <= within


def _multi_hash(faiss: Any) -> Any:
    index = faiss.IndexBinaryMultiHash(64, 4, 16)
    index.nflip = 2  # with 4 parts of 16 bits, 8 differing bits leave a part with at most 2
    return index


def _faiss(index: Any, known: NDArray[np.uint64], queries: NDArray[np.uint64], within: int) -> Work:
    index.add(known.view(np.uint8).reshape(-1, 8))

    def search() -> list[bool]:
        """Search one query after the other, as the gate has to: each accepted sample is added before the next."""
        return [bool(index.search(query.reshape(1).view(np.uint8)[None], 1)[0][0, 0] <= within) for query in queries]

    return search


def _agree(works: dict[str, Work]) -> str:
    verdicts = {name: work() for name, work in works.items()}
    for name, given in verdicts.items():
        if given != verdicts["brute force"]:
            raise Disagreement(f"{name} gives other verdicts than brute force")
    near = sum(verdicts["brute force"])  # type: ignore[call-overload]
    return f"the same verdicts, {near} of {len(verdicts['brute force'])} are near-copies"  # type: ignore[arg-type]
