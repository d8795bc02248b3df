"""An engine that costs next to nothing: small encoded images of one colour, and hashes of random bits.

What a run with it takes is what faceaug itself takes beside an engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceaug.planning.plan import PlannedCell
from faceaug.shards.columns import Column
from faceaug.shards.reader import ShardReader
from faceaug.synthesis.engines.base import (
    BlockResult,
    Candidate,
    Preparation,
    PreparationInputs,
    sample_seed,
    seed_number,
)
from faceaug.synthesis.engines.registry import EngineSpec
from faceaug.synthesis.estimate import RunEstimate
from faceaug.synthesis.request import RunRequest
from faceaug.synthesis.sample_columns import kept_labels
from faceaug.utils.images import encode

NAME, BLOCK = "trivial", 32


class TrivialEngine:
    """Takes labels of the first faces, and images of one colour; an `Engine`."""

    names, generator, takes_image_sizes = (NAME,), None, False

    def __init__(self, request: RunRequest) -> None:
        self._request = request
        self._labels = kept_labels(request.dataset, request.axes)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of all attributes."""
        names = {axis.name for axis in self._request.axes}
        return tuple(column for column in self._labels.columns if column.name in names)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Nothing decides its samples but the request."""
        return {"version": 1}

    @property
    def real_hashes(self) -> NDArray[np.uint64]:
        """It resembles no real image."""
        return np.empty(0, np.uint64)

    def estimate(self) -> RunEstimate:
        """Return a guess."""
        return RunEstimate(1e-4 * self._request.plan.total, 1000.0 * self._request.plan.total)

    def prepare(self, inputs: PreparationInputs) -> Preparation:
        """Learn nothing."""
        return Preparation()

    def unreachable(self, cell: PlannedCell) -> str:
        """Reach every cell."""
        return ""

    def blocks(self, cell: PlannedCell) -> int:
        """Return the number of blocks after which a cell is given up."""
        return -(-cell.planned * self._request.config.tries // BLOCK)

    def propose(self, cell: PlannedCell, block: int) -> BlockResult:
        """Propose a block of samples."""
        candidates = []
        for attempt in range(block * BLOCK, (block + 1) * BLOCK):
            seed = seed_number(sample_seed(self._request.config.seed, cell.index, attempt))
            candidates.append(
                Candidate(
                    attempt=attempt,
                    seed=seed,
                    engine=NAME,
                    image=_image(seed % 64),
                    quality=90,
                    harmonize={},
                    w=None,
                    origin_w=None,
                    attr=dict(self._labels.of(seed % len(self._request.dataset))),
                    confidence={},
                    semantic={},
                    plausibility=float("nan"),
                    realism=float("nan"),
                    hash=np.uint64(seed),
                )
            )
        return BlockResult(tuple(candidates), {}, {})

    def stored_hashes(self, reader: ShardReader) -> Iterator[np.uint64]:
        """Yield the hashes of its samples in a shard, which are their seeds."""
        yield from reader.column("seed")


@cache
def _image(shade: int) -> bytes:
    return encode(np.full((8, 8, 3), 4 * shade, np.uint8), "jpeg")


def spec() -> EngineSpec:
    """Return the engine as an entry point names it."""
    unused = {"generator", "directions", "device", "batch_size", "survey_samples", "from_real", "max_uses"}
    return EngineSpec(TrivialEngine, lambda config: frozenset(unused))
