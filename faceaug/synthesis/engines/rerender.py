"""Real faces, turned and relit, as samples: no generator, no probes; the labels are those of the photograph.

An attempt takes one photograph. What is measured on it is moved by as little as brings it into the cell's bins: it is
rendered on its canvas, measured again, and corrected by what is missing, a few times. Then it is rendered at its full
size, written as it would be stored, and everything that decides is measured on that.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.analysis.axes import Axis
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import FaceaugError
from faceaug.measurement.alignment import canvas_of, canvases_of, extent_of, stacked
from faceaug.measurement.estimator import FaceEstimator, Measurements
from faceaug.planning.plan import PlannedCell
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.semantics import NAMES
from faceaug.reconstruction.warp import Warp, apply_warp, compute_warp
from faceaug.shards.columns import ENGINES
from faceaug.shards.reader import ShardReader
from faceaug.shards.writer import encoded
from faceaug.synthesis.acceptance.gates import AcceptanceThresholds
from faceaug.synthesis.acceptance.near_duplicates import hashes
from faceaug.synthesis.engines.latent_edit import BlockResult, Candidate, SourceImage
from faceaug.synthesis.engines.source_faces import REACH, SourceFaces, SourceGoal
from faceaug.synthesis.sample_schema import kept_labels
from faceaug.utils.images import Codec, ImageInfo, decode, decode_with_info, resize
from faceaug.utils.tensors import as_tensor, cut_to
from faceaug.utils.typing import Floats

BLOCK = 16
"""Attempts that are computed together, whatever the number of workers."""
CORRECTIONS = 3
GAIN = 1.25  # of a correction: readings follow a turn by a bit less than it was
DIFFERENT = (3.0, 0.04)  # degrees and share by which a table may differ from what is measured on the photograph
BURNT, MORE_BURNT = 0.97, 0.03  # brightness that is burnt out, and by how much its share may grow
UNREADABLE, OTHERWISE, REACHED, COVERED, WHOLE, EXPOSED, FACE = (
    "source readable", "source measured as its table says", "value reached", "nothing left uncovered", "not melted",
    "well exposed", "read as a face again",
)  # fmt: skip
_SEEDS = 2**32 - 3  # third number of the seeds' spawn key: the generator's attempts have two


@dataclass(frozen=True, eq=False)
class _Photograph:
    """A source as its file holds it: decoded, a block of large ones would not fit into memory."""

    row: int
    data: bytes
    size: tuple[int, int]
    canvas: NDArray[np.uint8]
    shorter: float
    quality: int | None


class RerenderEngine:
    """Makes samples of real faces; an `Engine`.

    Parameters
    ----------
    dataset : FaceDataset
        Its rows are the sources, so the training part alone where it has splits.
    axes : sequence of Axis
        Of the plan.
    estimator : FaceEstimator
        What measured the dataset's columns.
    thresholds : AcceptanceThresholds
    real : uint64 [N]
        Perceptual hashes of the dataset's pictures, a row each.
    aspect : float
        Proportions to which pictures were cut for these hashes.
    keep : sequence of str
        Columns to be kept, where they are measured.
    tries, seed : int
    aligned : bool
        How the dataset was measured.
    codec : Codec or None
        In which samples are stored; None where pixels are kept as they are.
    """

    def __init__(
        self, dataset: FaceDataset, axes: Sequence[Axis], estimator: FaceEstimator, thresholds: AcceptanceThresholds, real: NDArray[np.uint64], *,
        aspect: float, keep: Sequence[str] = (), tries: int, seed: int, aligned: bool, codec: Codec | None,
    ) -> None:  # fmt: skip
        self._dataset, self._estimator, self._limits, self._real = dataset, estimator, thresholds, real
        self._sources = SourceFaces(dataset, axes, keep, thresholds.drift, seed)
        self._aspect, self._tries, self._seed, self._aligned, self._codec = aspect, tries, seed, aligned, codec
        self._labels = kept_labels(dataset, axes)
        self._rows: dict[int, NDArray[np.int64]] = {}
        self._lock = threading.Lock()

    @property
    def real(self) -> NDArray[np.uint64]:
        return self._real

    def unreachable(self, cell: PlannedCell) -> str:
        return "" if len(self._sources_of(cell)) else self._sources.none_for(cell.levels)

    def blocks(self, cell: PlannedCell) -> int:
        """Return after how many blocks each source was tried once, or as many tries were made as are allowed."""
        return -(-min(len(self._sources_of(cell)), max(2 * BLOCK, cell.planned * self._tries)) // BLOCK)

    def make(self, cell: PlannedCell, block: int) -> BlockResult:
        """Return block number `block` of attempts at a cell."""
        torch.set_num_threads(1)
        first = block * BLOCK
        rows = self._sources_of(cell)[first : first + BLOCK]
        goals = self._sources.goals(cell.levels)
        refused: dict[int, str] = {}
        photographs: dict[int, _Photograph] = {}
        for attempt, row in enumerate(rows.tolist(), first):
            try:
                photographs[attempt] = self._photograph(row)
            except (FaceaugError, OSError):
                refused[attempt] = UNREADABLE
        candidates = self._attempted(cell, goals, photographs, refused) if photographs else []
        return BlockResult(tuple(candidates), refused, {})

    def stored_hashes(self, reader: ShardReader) -> Iterator[np.uint64]:
        """Yield the hashes of stored pictures."""
        rows = np.flatnonzero(reader.column("engine") == ENGINES.index("rerender")).tolist()
        for start in range(0, len(rows), BLOCK):
            yield from self._hashes(reader.image_many(rows[start : start + BLOCK]))

    def _sources_of(self, cell: PlannedCell) -> NDArray[np.int64]:
        with self._lock:
            if cell.index not in self._rows:
                self._rows[cell.index] = self._sources.rows(cell.index, cell.levels)
            return self._rows[cell.index]

    def _photograph(self, row: int) -> _Photograph:
        data = self._dataset.encoded(row)
        pixels, info = self._decoded(row, data)
        quality = info.quality if self._codec == info.codec else None
        return _Photograph(row, data, pixels.shape[:2], *canvas_of(pixels), quality)

    def _decoded(self, row: int, data: bytes) -> tuple[NDArray[np.uint8], ImageInfo]:
        return decode_with_info(data, name=self._dataset.keys[row], max_pixels=self._dataset.max_pixels)

    def _attempted(
        self, cell: PlannedCell, goals: Sequence[SourceGoal], photographs: dict[int, _Photograph], refused: dict[int, str]
    ) -> list[Candidate]:  # fmt: skip
        attempts = list(photographs)
        rows = np.array([photographs[a].row for a in attempts], np.int64)
        canvases, shorter = stacked([(photographs[a].canvas, photographs[a].shorter) for a in attempts])
        before = self._estimator.read(canvases, shorter, aligned=self._aligned)
        columns = [goal.column for goal in goals]
        values = before.values[:, columns]
        told = np.stack([self._sources.values(goal.name)[rows] for goal in goals], 1)
        context = np.array([DIFFERENT[goal.name == "light"] for goal in goals])
        as_told = (np.abs(values - told) <= context).all(1)  # NaN is not
        for k in np.flatnonzero(~as_told):
            refused[attempts[k]] = OTHERWISE
        extents = torch.tensor([extent_of(*photographs[a].size) for a in attempts])
        whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(len(attempts), -1)  # canvases lie on themselves
        seeds = [np.random.SeedSequence(self._seed, spawn_key=(cell.index, a, _SEEDS)) for a in attempts]
        u = np.stack([np.random.Generator(np.random.PCG64(s)).random(len(goals)) for s in seeds])
        goal_values_for = np.stack(
            [goal.goal_values_for(values[:, k], rows, u[:, k]) for k, goal in enumerate(goals)], 1
        )
        change = self._steered(goals, before, canvases, whole, shorter, rows, goal_values_for, np.flatnonzero(as_told))
        found = []
        for k in np.flatnonzero(as_told):
            photograph = photographs[attempts[k]]
            warp = _warp_for(before.reading[k : k + 1], goals, change[k : k + 1])
            decoded, _ = self._decoded(photograph.row, photograph.data)
            pixels = torch.from_numpy(decoded).permute(2, 0, 1)[None].float() / 127.5 - 1
            generated = apply_warp(pixels, warp, extents[k : k + 1], before.faces.windows[k : k + 1])
            data, stored = self._stored(generated, photograph.quality)
            after = self._estimator.read(*canvases_of([stored]), aligned=self._aligned)
            reason = self._refusal_of(goals, rows[k : k + 1], pixels, generated, warp, after)
            if reason:
                refused[attempts[k]] = reason
                continue
            mark = self._hashes([stored])[0]
            found.append(self._candidate(cell, goals, attempts[k], seeds[k], photograph, data, after, mark))
        return found

    def _steered(
        self, goals: Sequence[SourceGoal], before: Measurements, canvases: Tensor, whole: Tensor, shorter: Tensor,
        rows: NDArray[np.int64], goal_values_for: Floats, active: NDArray[np.int64],
    ) -> Floats:  # fmt: skip
        """Return by how much each semantic [N, A] is moved so that it is measured in its bin."""
        columns = [goal.column for goal in goals]
        reach = np.array([REACH[goal.name] for goal in goals])
        change = np.where(np.isfinite(goal_values_for), goal_values_for - before.values[:, columns], 0.0).clip(
            -reach, reach
        )
        for _ in range(CORRECTIONS):
            if not len(active):
                break
            pick = torch.from_numpy(active)
            warp = _warp_for(before.reading[pick], goals, change[active])
            generated = apply_warp(canvases[pick], warp, whole[pick], before.faces.windows[pick])
            values = self._estimator.read(generated, shorter[pick], aligned=self._aligned).values[:, columns]
            held = np.stack([goal.holds(values[:, k], rows[active]) for k, goal in enumerate(goals)], 1)
            inside = np.asarray(held.all(1))
            missing = np.nan_to_num(goal_values_for[active] - values)
            change[active] = np.where(
                inside[:, None], change[active], (change[active] + GAIN * missing).clip(-reach, reach)
            )
            active = active[~inside & np.isfinite(values).all(1)]
        return change

    def _stored(self, generated: Tensor, quality: int | None) -> tuple[NDArray[np.uint8] | bytes, NDArray[np.uint8]]:
        """Return what of a picture [1, 3, H, W] is kept, and what a reader of the shard will see: uint8 [H, W, 3]."""
        image = ((generated[0] + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous().numpy()
        if self._codec is None:
            return image, image
        data = encoded(image, self._codec, quality)
        return data, image if self._codec == "png" else decode(data)

    def _refusal_of(
        self, goals: Sequence[SourceGoal], row: NDArray[np.int64], photograph: Tensor, generated: Tensor, warp: Warp,
        after: Measurements,
    ) -> str:  # fmt: skip
        """Return why a picture is refused, "" where it is not."""
        burnt = [float(((goal + 1) / 2 > BURNT).float().mean()) for goal in (photograph, generated)]
        reasons = (
            (COVERED, float(warp.holes[0]) > self._limits.uncovered),
            (WHOLE, float(warp.folds[0]) > self._limits.distorted),
            (EXPOSED, burnt[1] - burnt[0] > MORE_BURNT),
            (FACE, bool(after.refusals[0])),
            (REACHED, not all(bool(goal.holds(after.values[:, goal.column], row).all()) for goal in goals)),
        )
        return next((why for why, bad in reasons if bad), "")

    def _candidate(
        self, cell: PlannedCell, goals: Sequence[SourceGoal], attempt: int, seed: np.random.SeedSequence,
        photograph: _Photograph, image: NDArray[np.uint8] | bytes, after: Measurements, mark: np.uint64,
    ) -> Candidate:  # fmt: skip
        semantic = dict(zip(NAMES, after.values[0, : len(NAMES)].tolist(), strict=True))
        sure = dict(zip(NAMES, after.confidence[0, : len(NAMES)].tolist(), strict=True))
        names = [goal.name for goal in goals if goal.name in cell.levels]
        return Candidate(
            attempt=attempt, seed=int(seed.generate_state(1, np.uint64)[0]), image=image, quality=photograph.quality,
            harmonize={}, w=None, origin_w=None,
            attr={**self._labels.of(photograph.row), **{name: semantic[name] for name in names}},
            confidence={name: sure[name] for name in names}, semantic=semantic,
            plausibility=float("nan"), realism=float("nan"),
            hash=mark,
            source=SourceImage(hashlib.sha256(photograph.data).digest(), self._real[photograph.row]),
        )  # fmt: skip

    def _hashes(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint64]:
        small = np.stack([resize(cut_to(image, self._aspect), (64, 64)) for image in images])
        return hashes(as_tensor(small))


def _warp_for(reading: FaceFactors, goals: Sequence[SourceGoal], change: Floats) -> Warp:
    """Return how pictures are to be bent for their semantics to move by `change` [N, A]."""
    view, light = reading.view.clone(), reading.light.clone()
    for k, goal in enumerate(goals):
        step = torch.from_numpy(change[:, k]).to(view)
        if goal.name in _TURNS:
            view[:, _TURNS[goal.name]] += torch.deg2rad(step)
        elif goal.name in _SLANTS:
            column = _SLANTS[goal.name]
            angle = torch.atan(light[:, column]) + torch.deg2rad(step)
            light[:, column] = torch.tan(angle.clamp(-_SLANTEST, _SLANTEST))
        else:  # the share of directed light; all of it stays as much
            total = light[:, :2].sum(1)
            share = (light[:, 1] / total + step).clamp(0.05, 0.95)
            light[:, 0], light[:, 1] = total * (1 - share), total * share
    return compute_warp(reading, view, light)


_TURNS, _SLANTS, _SLANTEST = {"pitch": 0, "yaw": 1, "roll": 2}, {"light_x": 2, "light_y": 3}, 1.1
