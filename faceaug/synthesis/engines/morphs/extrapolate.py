"""Faces of neighbouring cells, moved to a cell whose own faces are too few to mix (docs/method.md, section 9).

A host of a neighbouring cell, one bin up or down in a number such as age with all other labels the same, is moved along
the change of that number in the canonical frame and then mixed with donors as any morph. Donors are other faces of the
host's cell that are moved likewise, since among these some are near to it. That the number is reached is for the
held-out classifier to say, at its full threshold. Faces are not moved from one class to another: what classes such as
gender or ethnicity mean to a viewer is not in the face alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faceaug.analysis.axes import Axis
from faceaug.errors import UsageError
from faceaug.morphing.blend import plan_morph
from faceaug.morphing.donors import DonorIndex
from faceaug.morphing.extrapolation import MovedFace, change_outside, move_face
from faceaug.morphing.face import CanonicalFace
from faceaug.morphing.label_design import LabelDesign, LabelValue
from faceaug.morphing.label_lines import LabelLines, learn_label_lines
from faceaug.planning.plan import PlannedCell
from faceaug.shards.columns import Column
from faceaug.synthesis.engines.base import Engine, Preparation, PreparationInputs
from faceaug.synthesis.engines.morphs.attempt import (
    ALONE,
    CHANGED,
    FOLDED,
    REGISTERED,
    AcceptableMorph,
    JudgedMorph,
    MeasuredMorph,
    MorphAttempt,
    morph_fault,
)
from faceaug.synthesis.engines.morphs.morph import MorphEngine
from faceaug.synthesis.engines.morphs.morph_faces import LabelDistances, MorphFaces, rows_of_cells
from faceaug.synthesis.engines.morphs.proposals import DONOR_SHARE, NEAREST
from faceaug.synthesis.engines.rerendering.source_faces import is_rendered
from faceaug.synthesis.request import RunRequest
from faceaug.synthesis.sample_columns import extrapolation_columns
from faceaug.utils.images import Rgb

MOVE_STRENGTH = (1.0, 1.5)
"""Range from which the factor on the change of labels is drawn."""
INSIDE = "change inside the face"
_NEAR, _LEAST = 3, 8  # the nearest third, and no fewer than 8, are hosts
_MOVES, _HOSTS = 2**32 - 8, 2**32 - 9  # spawn keys of attempts and of the order of hosts


def followed_by_extrapolation(engines: Sequence[Engine], request: RunRequest) -> list[Engine]:
    """Return engines with extrapolation after the morphs, where the request asks for it.

    Raises
    ------
    UsageError
        When the plan counts by no label with bins, or none of the engines makes morphs.
    """
    if not request.config.extrapolate:
        return list(engines)
    if not any(_is_movable(axis) for axis in request.plan.axes):
        raise UsageError(
            "extrapolate moves faces from one bin of a number to the next, and --by names no label with bins: name "
            "one, as --by gender,age:5"
        )
    if not any(isinstance(engine, MorphEngine) for engine in engines):
        raise UsageError("extrapolate goes on where morphs end short: use it with the engine auto or morph")
    chain: list[Engine] = []
    for engine in engines:
        chain.append(engine)
        if isinstance(engine, MorphEngine):
            chain.append(ExtrapolationEngine(request, engine))
    return chain


@dataclass(frozen=True)
class _Neighbour:
    """A cell that is one bin away from another."""

    axis: Axis
    cell: int


class ExtrapolationEngine(MorphEngine):
    """Moves faces of neighbouring cells; an `Engine`.

    Parameters
    ----------
    request : RunRequest
    morphs : MorphEngine
        The engine before this one, prepared before it; the faces that it has read are not read again.
    """

    names = ("extrapolate",)

    def __init__(self, request: RunRequest, morphs: MorphEngine) -> None:
        super().__init__(request, morphs._estimator)
        self._morphs = morphs
        self._lines: LabelLines | None = None
        self._distances = LabelDistances(self._labels, self._axes, 1.0)
        self._drawn: dict[tuple[int, str, int], DonorIndex] = {}  # hosts by cell, axis and neighbouring cell

    @property
    def columns(self) -> tuple[Column, ...]:
        return extrapolation_columns(self._axes, self._labels, self._identity.embedder if self._identity else None)

    def prepare(self, inputs: PreparationInputs) -> Preparation:
        """Learn the held-out classifier, read the faces of all cells, and learn what labels change.

        Raises
        ------
        DatasetError
            When an attribute cannot be learnt, or no face is found in most photographs.
        """
        preparation = super().prepare(inputs)
        faces = sorted((face for index in self._faces.by_cell.values() for face in index.faces), key=lambda f: f.row)
        numeric = {column.name for column in self._labels.columns if column.type != "category"}
        design = LabelDesign.of(self._labels.values, numeric)
        labels: list[dict[str, LabelValue]] = [self._labels.of(face.row) for face in faces]
        self._lines = learn_label_lines(
            faces,
            labels,
            design,
            self._pixels,
            workers=self._config.worker_threads,
            progress=lambda done, total: inputs.progress("labels in the canonical frame", done, total),
        )
        metrics = dict(preparation.metrics)
        metrics[self.names[0]] |= {"r2": self._lines.r2 if self._lines else {}}
        return replace(preparation, metrics=metrics)

    def unreachable(self, cell: PlannedCell) -> str:
        if self._lines is None:
            return "extrapolation needs 20 faces with labels, and there are fewer"
        if not self._neighbours(cell):
            return "extrapolation needs faces of a neighbouring cell, and no cell that is one bin away has any"
        return ""

    def _rows(self) -> dict[int, NDArray[np.int64]]:
        return rows_of_cells(self._dataset, self._request.plan, self._config.seed, every=True)

    def _read(self, rows: dict[int, NDArray[np.int64]], inputs: PreparationInputs) -> MorphFaces:
        before = self._morphs._faces
        read = super()._read({cell: own for cell, own in rows.items() if cell not in before.skipped}, inputs)
        by_cell = {**before.by_cell, **read.by_cell}
        return MorphFaces({cell: by_cell[cell] for cell in sorted(by_cell)}, {**before.skipped, **read.skipped})

    def _pixels(self, face: CanonicalFace) -> Rgb | None:
        photographs = self._photographs([face])
        return photographs[0].pixels if photographs else None

    def _neighbours(self, cell: PlannedCell) -> list[_Neighbour]:
        """Return the cells with faces that are one bin away in one labelled number."""
        shape = tuple(len(axis.levels) for axis in self._axes)
        own = [axis.levels.index(cell.levels[axis.name]) for axis in self._axes]
        neighbours = []
        for k, axis in enumerate(self._axes):
            if not _is_movable(axis):
                continue
            for level in (level for level in (own[k] - 1, own[k] + 1) if 0 <= level < len(axis.levels)):
                other = int(np.ravel_multi_index((*own[:k], level, *own[k + 1 :]), shape))
                if other in self._faces.by_cell:
                    neighbours.append(_Neighbour(axis, other))
        return neighbours

    def _attempt(self, cell: PlannedCell, number: int) -> MorphAttempt | str:
        """Choose a host of a neighbouring cell and its donors, move what is not of the cell, and register them."""
        neighbours = self._neighbours(cell)
        neighbour, turn = neighbours[number % len(neighbours)], number // len(neighbours)
        seed = np.random.SeedSequence(self._config.seed, spawn_key=(cell.index, number, _MOVES))
        rng = np.random.Generator(np.random.PCG64(seed))
        hosts = self._hosts(cell, neighbour)
        host = hosts.faces[turn % len(hosts)]
        donors = self._donors_of(hosts, turn % len(hosts), rng)
        alone = not donors
        if alone and cell.index in self._faces.by_cell:
            donors = self._donors_of(self._distances.index([host, *self._faces.by_cell[cell.index].faces]), 0, rng)
        if not donors:
            return ALONE
        changed: dict[str, float] = {
            neighbour.axis.name: self._target_value(cell, neighbour.axis, neighbour.cell < cell.index, rng)
        }
        strength = float(rng.uniform(*MOVE_STRENGTH))
        photographs = self._photographs([host, *donors])
        if not photographs:
            return CHANGED
        changes = (changed, *({} if alone else changed for _ in donors))
        moved: list[CanonicalFace] = []
        pictures: list[Rgb] = []
        for face, photograph, labels in zip((host, *donors), photographs, changes, strict=True):
            result = self._moved(face, photograph.pixels, labels, strength)
            if isinstance(result, str):
                return result
            moved.append(result.face)
            pictures.append(result.image)
        share = float(rng.uniform(*DONOR_SHARE))
        weights = (share * rng.dirichlet(np.full(len(donors), 4.0))).tolist() if len(donors) > 1 else [share]
        plan = plan_morph(moved[0], moved[1:], weights)
        reason = morph_fault(plan, self._config.thresholds)
        if reason:
            return reason
        rows = [face.row for face in (host, *donors)]
        attr = self._labels.mixed(rows, (1 - sum(plan.shares), *plan.shares), changes)
        semantic, reached = {"move_strength": strength}, frozenset(changed)
        return MorphAttempt(number, seed, plan, photographs, tuple(pictures), attr, semantic, reached)

    def _moved(
        self, face: CanonicalFace, photograph: Rgb, changed: dict[str, float], strength: float
    ) -> MovedFace | str:
        """Move a face to labels that it does not have; return why it is refused where it is."""
        if not changed:
            return MovedFace(face, photograph, 0.0, 0.0)
        assert self._lines is not None
        labels: dict[str, Any] = self._labels.of(face.row)
        change = self._lines.change(labels, {**labels, **changed})
        moved = move_face(face, photograph, self._lines.template, change, strength)
        if moved.folds > self._config.thresholds.distorted:
            return FOLDED
        return REGISTERED if moved.unregistered > self._config.thresholds.unregistered else moved

    def _donors_of(self, index: DonorIndex, host: int, rng: np.random.Generator) -> list[CanonicalFace]:
        """Return donors for a host among the faces of an index that are nearest to it."""
        nearest, _ = index.nearest(host, NEAREST, rng)
        return [index.faces[int(k)] for k in rng.permutation(nearest)[: self._config.donors]]

    def _hosts(self, cell: PlannedCell, neighbour: _Neighbour) -> DonorIndex:
        """Return the hosts among the faces of a neighbouring cell, in an order drawn by the seed."""
        key = (cell.index, neighbour.axis.name, neighbour.cell)
        with self._lock:
            if key not in self._drawn:
                self._drawn[key] = self._draw_hosts(cell, neighbour)
            return self._drawn[key]

    def _draw_hosts(self, cell: PlannedCell, neighbour: _Neighbour) -> DonorIndex:
        """Draw hosts from the faces that are nearest to the bin, so that they are moved little."""
        faces, axis = self._faces.by_cell[neighbour.cell].faces, neighbour.axis
        seed = np.random.SeedSequence(self._config.seed, spawn_key=(cell.index, neighbour.cell, _HOSTS))
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(faces))
        low, high = _bin_of(axis, cell.levels[axis.name])
        values = np.array([float(self._labels.values[axis.name][face.row] or 0) for face in faces])[order]
        away = np.maximum(low - values, values - high)
        nearest = order[np.sort(np.argsort(away, kind="stable")[: _nearest_part(len(faces))])]
        return self._distances.index([faces[int(k)] for k in nearest])

    def _target_value(self, cell: PlannedCell, axis: Axis, upwards: bool, rng: np.random.Generator) -> float:
        """Return a number within the bin of a cell, one that faces of the data set have if any does.

        It is one of those that are nearest to the host's cell.
        """
        level = cell.levels[axis.name]
        low, high = _bin_of(axis, level)
        known = np.array([float(v) for v in self._labels.values[axis.name] if v is not None])
        within = np.sort(known[axis.assign(pd.Series(known)) == axis.levels.index(level)])
        if not len(within):
            return (low + high) / 2
        part = _nearest_part(len(within))
        return float(rng.choice(within[:part] if upwards else within[-part:]))

    def _accept(self, cell: PlannedCell, judged: JudgedMorph, measured: MeasuredMorph) -> AcceptableMorph | str:
        accepted = super()._accept(cell, judged, measured)
        if isinstance(accepted, str):
            return accepted
        attempt = judged.rendered.attempt
        outside = change_outside(attempt.host.pixels, judged.rendered.stored, attempt.plan.host)
        if outside > self._config.thresholds.spill:
            return INSIDE
        return replace(accepted, semantic={**accepted.semantic, "change_outside": outside})


def _is_movable(axis: Axis) -> bool:
    return axis.edges is not None and not is_rendered(axis)


def _bin_of(axis: Axis, level: str) -> tuple[float, float]:
    assert axis.edges is not None
    k = axis.levels.index(level)
    return axis.edges[k], axis.edges[k + 1]


def _nearest_part(count: int) -> int:
    return min(count, max(_LEAST, count // _NEAR))
