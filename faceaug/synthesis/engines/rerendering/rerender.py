"""Real faces, turned and relit, as samples: no generator, no classifiers; the labels are those of the photograph.

An attempt takes one photograph. What is measured on it is moved by as little as brings it into the cell's bins: it is
rendered on its canvas, measured again, and corrected by what is missing, a few times. Then it is rendered at its full
size, encoded as it would be stored, and everything that decides is measured on that.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from faceaug.datasets.thumbnails import common_aspect, thumbnail
from faceaug.errors import FaceaugError
from faceaug.measurement.alignment import canvas_extent, lay_on_canvas, lay_on_canvases, stack_canvases
from faceaug.measurement.crops import CROP_SIDE
from faceaug.measurement.estimator import FaceEstimator, Measurements
from faceaug.planning.plan import PlannedCell
from faceaug.reconstruction.warp import PhotographedFaces, Warp, apply_warp
from faceaug.shards.columns import Column
from faceaug.shards.manifest import ModelRecord
from faceaug.shards.reader import ShardReader
from faceaug.synthesis.acceptance.near_duplicates import hashes
from faceaug.synthesis.engines.base import (
    BlockResult,
    Candidate,
    Engine,
    Preparation,
    PreparationInputs,
    SourceImage,
    seed_number,
)
from faceaug.synthesis.engines.photographs import factor_values, measured_near, requested_estimator, stored_image
from faceaug.synthesis.engines.rerendering.source_faces import REACH, SourceFaces, SourceGoal, check_axes
from faceaug.synthesis.estimate import RunEstimate, rerender_estimate
from faceaug.synthesis.request import RunRequest
from faceaug.synthesis.sample_columns import kept_labels, rerender_columns
from faceaug.synthesis.stages import THUMBNAIL_SIDE
from faceaug.utils.images import Codec, ImageInfo, decode_with_info
from faceaug.utils.tensors import as_tensor, to_uint8
from faceaug.utils.typing import Floats

RERENDER_BLOCK = 16
"""Attempts that are computed together, whatever the number of workers."""
CORRECTIONS = 3
DIFFERENT = (3.0, 0.04)  # degrees and share by which a table may differ from what is measured on the photograph
CLIPPED, MORE_CLIPPED = 0.97, 0.03  # brightness that counts as clipped, and by how much its share may grow
UNREADABLE, OTHERWISE = "source readable", "source measured as its table says"
COVERED, DISTORTED = "nothing left uncovered", "not distorted"
EXPOSED, FACE, REACHED = "well exposed", "face found again", "value reached"
_SEED_KEY = 2**32 - 3  # third number of the seeds' spawn key: the generator's attempts have two


def create_engine(request: RunRequest) -> Engine:
    """Load what measures faces, and return the engine.

    Raises
    ------
    UsageError
        When the plan has no bins of view or light, or a run is resumed with an estimator that has no hash.
    IntegrityError
        When the estimator's file cannot be read.
    """
    check_axes(request.plan.axes, request.config.engine)
    return RerenderEngine(request, requested_estimator(request))


@dataclass(frozen=True, eq=False)
class _Photograph:
    """A source as its file holds it: decoded, a block of large ones would not fit into memory."""

    row: int
    data: bytes
    size: tuple[int, int]
    canvas: NDArray[np.uint8]
    shorter: float
    quality: int | None


@dataclass(frozen=True, eq=False)
class _Attempts:
    """A block of attempts whose photographs could be read, N of them, with A goals.

    Attributes
    ----------
    numbers : tuple of int
    photographs : tuple of _Photograph
    rows : int64 [N]
        Of the data set.
    goals : tuple of SourceGoal
    before : Measurements
        Of the photographs.
    canvases, shorter : Tensor [N, 3, C, C], [N]
        Canvases that are warped to measure them, and half the shorter side of each photograph, in half canvases.
    """

    numbers: tuple[int, ...]
    photographs: tuple[_Photograph, ...]
    rows: NDArray[np.int64]
    goals: tuple[SourceGoal, ...]
    before: Measurements
    canvases: Tensor
    shorter: Tensor

    @property
    def names(self) -> list[str]:
        """The semantics of the goals."""
        return [goal.name for goal in self.goals]

    @property
    def columns(self) -> list[int]:
        """Where the goals stand among what is measured."""
        return [goal.column for goal in self.goals]


@dataclass(frozen=True, eq=False)
class _Rerendered:
    """Attempt k of a block, rendered at its full size, as it would be stored.

    `refused` says why it is refused before it is measured, or is an empty text.
    """

    k: int
    image: NDArray[np.uint8] | bytes
    stored: NDArray[np.uint8]
    refused: str


class RerenderEngine:
    """Turns and relights real faces; an `Engine`. The rows of the data set are the sources.

    Parameters
    ----------
    request : RunRequest
    estimator : FaceEstimator
        What measured the columns of the data set.
    """

    names, generator, takes_image_sizes = ("rerender",), None, True

    def __init__(self, request: RunRequest, estimator: FaceEstimator) -> None:
        dataset, axes, config = request.dataset, request.plan.axes, request.config
        self._request, self._estimator = request, estimator
        self._dataset, self._axes, self._config = dataset, axes, config
        self._sources = SourceFaces(dataset, axes, config.keep, config.thresholds.drift, config.seed)
        self._labels = kept_labels(dataset, axes)
        self._aligned = request.aligned
        self._real: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._aspect = 1.0
        self._codec: Codec | None = None  # None where pixels are kept as they are
        self._rows: dict[int, NDArray[np.int64]] = {}
        self._lock = threading.Lock()

    @property
    def columns(self) -> tuple[Column, ...]:
        return rerender_columns(self._axes, self._labels)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"estimator": self._estimator.sha256}

    @property
    def real_hashes(self) -> NDArray[np.uint64]:
        return self._real

    def estimate(self) -> RunEstimate:
        return rerender_estimate(self._request, self._estimator)

    def prepare(self, inputs: PreparationInputs) -> Preparation:
        """Hash the data set's images."""
        self._aspect = common_aspect(self._dataset)
        self._codec = inputs.stored_codec
        pieces = np.array_split(inputs.thumbnails, max(1, len(inputs.thumbnails) // 1024))
        self._real = np.concatenate([hashes(as_tensor(piece)) for piece in pieces])
        sha256 = self._estimator.sha256
        return Preparation(classifiers=(ModelRecord(name="reconstruction", sha256=sha256),) if sha256 else ())

    def unreachable(self, cell: PlannedCell) -> str:
        return "" if len(self._sources_of(cell)) else self._sources.none_for(cell.levels)

    def blocks(self, cell: PlannedCell) -> int:
        """Return after how many blocks each source was tried once, or as many tries were made as are allowed."""
        attempts = max(2 * RERENDER_BLOCK, cell.planned * self._config.tries)
        return -(-min(len(self._sources_of(cell)), attempts) // RERENDER_BLOCK)

    def propose(self, cell: PlannedCell, block: int) -> BlockResult:
        torch.set_num_threads(1)
        first = block * RERENDER_BLOCK
        rows = self._sources_of(cell)[first : first + RERENDER_BLOCK]
        refused: dict[int, str] = {}
        photographs: dict[int, _Photograph] = {}
        for number, row in enumerate(rows.tolist(), first):
            try:
                photographs[number] = self._photograph(row)
            except (FaceaugError, OSError):
                refused[number] = UNREADABLE
        if not photographs:
            return BlockResult((), refused, {})
        attempts = self._measured(cell, photographs)
        candidates, refusals, pictures = self._attempt(cell, attempts)
        return BlockResult(candidates, refused | refusals, {}, pictures=pictures)

    def stored_hashes(self, reader: ShardReader) -> Iterator[np.uint64]:
        rows = np.flatnonzero(reader.made_by(self.names[0])).tolist()
        for start in range(0, len(rows), RERENDER_BLOCK):
            yield from self._hashes(reader.image_many(rows[start : start + RERENDER_BLOCK]))

    def _sources_of(self, cell: PlannedCell) -> NDArray[np.int64]:
        with self._lock:
            if cell.index not in self._rows:
                self._rows[cell.index] = self._sources.rows(cell.index, cell.levels)
            return self._rows[cell.index]

    def _photograph(self, row: int) -> _Photograph:
        data = self._dataset.encoded(row)
        pixels, info = self._decoded(row, data)
        quality = info.quality if self._codec == info.codec else None
        return _Photograph(row, data, pixels.shape[:2], *lay_on_canvas(pixels), quality)

    def _decoded(self, row: int, data: bytes) -> tuple[NDArray[np.uint8], ImageInfo]:
        return decode_with_info(data, name=self._dataset.keys[row], max_pixels=self._dataset.max_pixels)

    def _measured(self, cell: PlannedCell, photographs: dict[int, _Photograph]) -> _Attempts:
        """Measure photographs together."""
        taken = tuple(photographs.values())
        canvases, shorter = stack_canvases([(photograph.canvas, photograph.shorter) for photograph in taken])
        before = self._estimator.read(canvases, shorter, aligned=self._aligned)
        return _Attempts(
            numbers=tuple(photographs),
            photographs=taken,
            rows=np.array([photograph.row for photograph in taken], np.int64),
            goals=self._sources.goals(cell.levels),
            before=before,
            canvases=_as_fine_as_read(canvases, before.faces.windows),
            shorter=shorter,
        )

    def _attempt(
        self, cell: PlannedCell, attempts: _Attempts
    ) -> tuple[tuple[Candidate, ...], dict[int, str], dict[int, NDArray[np.uint8]]]:
        """Return candidates, why the other attempts are rejected, and the pictures of those that were rendered."""
        as_in_table = self._measured_as_in_table(attempts)
        seeds = [self._seed(cell, number) for number in attempts.numbers]
        uniform = np.stack([np.random.Generator(np.random.PCG64(s)).random(len(attempts.goals)) for s in seeds])
        warps = self._warps(attempts, uniform, np.flatnonzero(as_in_table))
        refused = {
            number: REACHED if as_in_table[k] else OTHERWISE
            for k, number in enumerate(attempts.numbers)
            if k not in warps
        }
        rendered = [self._rerender(attempts, k, warp) for k, warp in sorted(warps.items())]
        judged = self._judged(cell, attempts, rendered)
        pictures = {}
        for one, verdict in zip(rendered, judged, strict=True):
            if isinstance(verdict, str):
                number = attempts.numbers[one.k]
                refused[number], pictures[number] = verdict, one.stored
        return tuple(one for one in judged if not isinstance(one, str)), refused, pictures

    def _judged(self, cell: PlannedCell, attempts: _Attempts, rendered: Sequence[_Rerendered]) -> list[Candidate | str]:
        """Return attempts that were rendered as candidates, or why they are refused; they are measured together."""
        whole = [one for one in rendered if not one.refused]
        verdicts: dict[int, Candidate | str] = {}
        if whole:
            pictures = [one.stored for one in whole]
            after = self._estimator.read(*lay_on_canvases(pictures), aligned=self._aligned)
            for row, (one, hash_) in enumerate(zip(whole, self._hashes(pictures), strict=True)):
                verdicts[one.k] = self._fault(attempts, one.k, after, row) or self._candidate(
                    cell, attempts, one, factor_values(after, row), hash_
                )
        return [verdicts.get(one.k, one.refused) for one in rendered]

    def _measured_as_in_table(self, attempts: _Attempts) -> NDArray[np.bool_]:
        """Return whether the goals [N] measure on the photographs what the table says of them."""
        values = attempts.before.values[:, attempts.columns]
        table = np.stack([self._sources.values(goal.name)[attempts.rows] for goal in attempts.goals], 1)
        tolerance = np.array([DIFFERENT[goal.name == "light"] for goal in attempts.goals])
        return np.asarray((np.abs(values - table) <= tolerance).all(1))  # NaN is not

    def _warps(self, attempts: _Attempts, uniform: Floats, active: NDArray[np.int64]) -> dict[int, Warp]:
        """Return how photographs `active` are warped so that their goals are measured in their bins.

        Photographs are left out that were moved toward a goal as far as `REACH` allows and are still measured outside
        of it. After the last correction nothing is measured again.
        """
        goals, before, columns, rows = attempts.goals, attempts.before, attempts.columns, attempts.rows
        now = before.values[:, columns]
        values = np.stack([goal.entered(now[:, k], rows, uniform[:, k]) for k, goal in enumerate(goals)], 1)
        reach = np.array([REACH[name] for name in attempts.names])
        change = np.where(np.isfinite(values), values - now, 0.0).clip(-reach, reach)
        warps: dict[int, Warp] = {}
        faces = PhotographedFaces.of(before.factors[torch.from_numpy(active)])
        for _ in range(CORRECTIONS):
            if not len(active):
                return warps
            warp = faces.changed(attempts.names, change[active])
            read = self._read_turned(attempts, active, warp)[:, columns]
            holds = np.stack([goal.holds(read[:, k], rows[active]) for k, goal in enumerate(goals)], 1)
            warps |= {int(active[row]): warp[row : row + 1] for row in np.flatnonzero(holds.all(1))}
            corrected = (change[active] + values[active] - read).clip(-reach, reach)
            stuck = ~holds & (corrected == change[active])
            going = ~holds.all(1) & ~stuck.any(1)
            change[active] = corrected
            active, faces = active[going], faces[torch.from_numpy(going)]
        warp = faces.changed(attempts.names, change[active])
        return warps | {int(k): warp[row : row + 1] for row, k in enumerate(active)}

    def _read_turned(self, attempts: _Attempts, active: NDArray[np.int64], warp: Warp) -> Floats:
        """Return view and light [M, 6] as they are measured on photographs `active`, warped on their canvases."""
        pick = torch.from_numpy(active)
        whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(len(active), -1)  # canvases lie on themselves
        windows = attempts.before.faces.windows[pick]
        turned = apply_warp(attempts.canvases[pick], warp, whole, windows, in_place=True)
        return measured_near(self._estimator, turned, attempts.shorter[pick], windows, aligned=self._aligned)

    def _rerender(self, attempts: _Attempts, k: int, warp: Warp) -> _Rerendered:
        """Render attempt k, and look for what refuses it before it is measured."""
        photograph = attempts.photographs[k]
        decoded, _ = self._decoded(photograph.row, photograph.data)
        pixels = as_tensor(decoded)[None]
        extent = torch.tensor([canvas_extent(*photograph.size)])
        turned = apply_warp(pixels, warp, extent, attempts.before.faces.windows[k : k + 1], in_place=True)
        image, stored = stored_image(to_uint8(turned[0]), self._codec, photograph.quality)
        clipped = [float(((part + 1) / 2 > CLIPPED).float().mean()) for part in (pixels, turned)]
        thresholds = self._config.thresholds
        reasons = (
            (COVERED, float(warp.holes[0]) > thresholds.uncovered),
            (DISTORTED, float(warp.folds[0]) > thresholds.distorted),
            (EXPOSED, clipped[1] - clipped[0] > MORE_CLIPPED),
        )
        return _Rerendered(k, image, stored, next((reason for reason, refused in reasons if refused), ""))

    def _fault(self, attempts: _Attempts, k: int, after: Measurements, row: int) -> str:
        """Return why attempt k is refused by what was measured on it, in a row of `after`, or an empty text."""
        if after.refusals[row]:
            return FACE
        values, rows = after.values[row : row + 1], attempts.rows[k : k + 1]
        inside = all(bool(goal.holds(values[:, goal.column], rows).all()) for goal in attempts.goals)
        return "" if inside else REACHED

    def _candidate(
        self,
        cell: PlannedCell,
        attempts: _Attempts,
        rerendered: _Rerendered,
        read: tuple[dict[str, float], dict[str, float]],
        hash_: np.uint64,
    ) -> Candidate:
        """Return attempt k as a candidate, from view and light that were `read` off it and the confidence of each."""
        photograph, number = attempts.photographs[rerendered.k], attempts.numbers[rerendered.k]
        semantic, confidence = read
        names = [goal.name for goal in attempts.goals if goal.name in cell.levels]
        return Candidate(
            attempt=number,
            seed=seed_number(self._seed(cell, number)),
            engine=self.names[0],
            image=rerendered.image,
            quality=photograph.quality,
            harmonize={},
            w=None,
            origin_w=None,
            attr={**self._labels.of(photograph.row), **{name: semantic[name] for name in names}},
            confidence={name: confidence[name] for name in names},
            semantic=semantic,
            plausibility=float("nan"),
            realism=float("nan"),
            hash=hash_,
            source=SourceImage(hashlib.sha256(photograph.data).digest(), self._real[photograph.row]),
        )

    def _seed(self, cell: PlannedCell, number: int) -> np.random.SeedSequence:
        return np.random.SeedSequence(self._config.seed, spawn_key=(cell.index, number, _SEED_KEY))

    def _hashes(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint64]:
        small = np.stack([thumbnail(image, self._aspect, THUMBNAIL_SIDE) for image in images])
        return hashes(as_tensor(small))


def _as_fine_as_read(canvases: Tensor, windows: Tensor) -> Tensor:
    """Return canvases [N, 3, C, C] halved, where the faces of a block, in windows [N, 4], are all read from halves."""
    reduction = windows[:, 2].exp() * canvases.shape[-1] / CROP_SIDE
    return F.avg_pool2d(canvases, 2) if bool((reduction >= math.sqrt(2)).all()) else canvases
