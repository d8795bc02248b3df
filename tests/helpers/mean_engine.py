"""An engine as another package would bring it: the mean of two real images of a cell's labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceaug.planning.plan import PlannedCell
from faceaug.shards.columns import Column
from faceaug.shards.reader import ShardReader
from faceaug.shards.writer import read_back
from faceaug.synthesis.acceptance.near_duplicates import hashes
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
from faceaug.synthesis.request import RunRequest, cells_of
from faceaug.synthesis.sample_columns import kept_labels
from faceaug.utils.images import Codec
from faceaug.utils.tensors import as_tensor

BLOCK = 4
SAME = "two different images"


class MeanEngine:
    """Takes means of real images; an `Engine`."""

    names, generator, takes_image_sizes = ("mean",), None, True

    def __init__(self, request: RunRequest) -> None:
        self._request, self._labels = request, kept_labels(request.dataset, request.plan.axes)
        self._cells = cells_of(request.dataset, request.plan.axes)
        self._real: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._codec: Codec | None = None  # None where pixels are kept as they are

    @property
    def columns(self) -> tuple[Column, ...]:
        share = Column(group="semantic", name="share", type="float32", meaning="share of the first image")
        return (*(column for column in self._labels.columns if column.name in self._planned), share)

    @property
    def _planned(self) -> set[str]:
        return {axis.name for axis in self._request.plan.axes}

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"version": 1}

    @property
    def real_hashes(self) -> NDArray[np.uint64]:
        return self._real

    def estimate(self) -> RunEstimate:
        return RunEstimate(0.01 * self._request.plan.total, 4000.0 * self._request.plan.total)

    def prepare(self, inputs: PreparationInputs) -> Preparation:
        inputs.progress("hashing", 1, 1)
        self._codec = inputs.stored_codec
        self._real = hashes(as_tensor(inputs.thumbnails))
        return Preparation(metrics={"seconds": {"hashing": 0.0}})

    def unreachable(self, cell: PlannedCell) -> str:
        return "" if (self._cells == cell.index).sum() > 1 else "there are not two real faces of the cell"

    def blocks(self, cell: PlannedCell) -> int:
        return -(-cell.planned * self._request.config.tries // BLOCK)

    def propose(self, cell: PlannedCell, block: int) -> BlockResult:
        rows, candidates, refused = np.flatnonzero(self._cells == cell.index), [], {}
        for attempt in range(block * BLOCK, (block + 1) * BLOCK):
            seed = sample_seed(self._request.config.seed, cell.index, attempt)
            rng = np.random.Generator(np.random.PCG64(seed))
            one, two = rng.choice(rows, 2).tolist()
            if one == two:
                refused[attempt] = SAME
                continue
            share = rng.uniform(0.3, 0.7)
            image = share * self._request.dataset.image(one) + (1 - share) * self._request.dataset.image(two)
            pixels = image.round().astype(np.uint8)
            labels = self._labels.of(one)
            candidates.append(
                Candidate(
                    attempt=attempt,
                    seed=seed_number(seed),
                    engine=self.names[0],
                    image=pixels,
                    quality=None,
                    harmonize={},
                    w=None,
                    origin_w=None,
                    attr={name: labels[name] for name in self._planned},
                    confidence={},
                    semantic={"share": share},
                    plausibility=float("nan"),
                    realism=float("nan"),
                    hash=_hash(read_back(pixels, self._codec, None)),
                )
            )
        return BlockResult(tuple(candidates), refused, {})

    def stored_hashes(self, reader: ShardReader) -> Iterator[np.uint64]:
        for row in np.flatnonzero(reader.made_by(self.names[0])).tolist():
            yield _hash(reader.image(row))


def _hash(pixels: NDArray[np.uint8]) -> np.uint64:
    return hashes(as_tensor(pixels[None]))[0]


def spec() -> EngineSpec:
    """Return the engine as an entry point names it."""
    return EngineSpec(MeanEngine, lambda config: frozenset({"generator", "survey_samples", "from_real"}))
