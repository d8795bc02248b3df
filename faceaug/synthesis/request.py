"""The request of a run, checked before anything is read or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceaug.analysis.axes import Axis, AxisSpec, attribute, build_axis, cell_codes
from faceaug.classifiers.classifier import Task
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import DatasetError, UsageError
from faceaug.planning.plan import Plan
from faceaug.shards.columns import RESERVED_NAMES
from faceaug.shards.description.licence import is_research_only
from faceaug.shards.manifest import GeneratorRecord
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.editing.readout import SCENE
from faceaug.synthesis.sample_columns import INVERSION_ERROR
from faceaug.utils.text import nearest, shown
from faceaug.utils.typing import Floats

KEPT_QUANTILES = 4  # bins of a kept number; they are for its training split alone


@dataclass(frozen=True, eq=False)
class RunRequest:
    """A data set, a plan that was made from it, and how the run is done.

    Attributes
    ----------
    dataset : FaceDataset
    plan : Plan
    config : RunConfig
    kept : tuple of Axis
        Attributes that edits must leave unchanged (`RunConfig.keep`).
    resume : bool
        Whether an interrupted run is continued.
    """

    dataset: FaceDataset
    plan: Plan
    config: RunConfig
    kept: tuple[Axis, ...]
    resume: bool = False

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The plan's axes, followed by those that are only kept."""
        return (*self.plan.axes, *self.kept)

    @property
    def aligned(self) -> bool:
        """Whether faces are measured without a search for them: as the data set's table was, where it was measured."""
        measured = self.dataset.measured
        return measured.aligned if measured else self.config.aligned

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What a classifier would learn of each axis, without its scale."""
        return tuple(Task(a.name, "value" if a.edges else "classes", () if a.edges else a.levels) for a in self.axes)


def check_request(dataset: FaceDataset, plan: Plan, config: RunConfig, resume: bool = False) -> RunRequest:
    """Return a request whose attributes can be kept and named in an output folder.

    Raises
    ------
    UsageError, DatasetError
        When an attribute to be kept is unknown or is planned for, or a name has another meaning in outputs.
    """
    kept = tuple(_kept_axis(dataset, name) for name in _known(dataset, plan, config.keep))
    _check_names([axis.name for axis in (*plan.axes, *kept)])
    return RunRequest(dataset, plan, config, kept, resume)


def check_licences(request: RunRequest, generator: GeneratorRecord | None) -> None:
    """Ask that research alone is confirmed where a stated licence allows no more.

    Raises
    ------
    UsageError
        When that of the data set or of the weights does, and `RunConfig.allow_research_only` is not set.
    """
    if request.config.allow_research_only:
        return
    stated = [(f"the images of {request.dataset.name}", request.config.licence or "")]
    stated += [(f"the generator {generator.name!r}", generator.licence)] if generator else []
    for what, licence in stated:
        if is_research_only(licence):
            raise UsageError(
                f"the licence of {what} allows research or non-commercial use alone ({shown(licence)}): give "
                "--allow-research-only if the samples are for nothing else, or choose another source"
            )


def _known(dataset: FaceDataset, plan: Plan, keep: Sequence[str]) -> Sequence[str]:
    known = [name for name in dataset.attributes if name not in {axis.name for axis in plan.axes}]
    for name in keep:
        if name not in known:
            raise UsageError(f"the attribute {name!r} cannot be kept: {nearest(name, known)}")
    return keep


def _kept_axis(dataset: FaceDataset, name: str) -> Axis:
    try:
        return build_axis(dataset.table, AxisSpec(name))
    except (UsageError, DatasetError):  # too many distinct numbers to be classes
        return build_axis(dataset.table, AxisSpec(name, ("quantile", KEPT_QUANTILES)))


def _check_names(names: list[str]) -> None:
    """Refuse attributes whose names mean something else in an output folder."""
    for name in names:
        if name in (*RESERVED_NAMES, *SCENE, INVERSION_ERROR):
            raise UsageError(f"an attribute is called {name!r}, a name that faceaug uses itself: rename the column")
        if names.count(name) > 1:
            raise UsageError(f"the attribute {name!r} is named twice: name it once")


def cells_of(dataset: FaceDataset, axes: Sequence[Axis]) -> NDArray[np.int64]:
    """Return the cell [N] of each image of the data set, -1 where a label is missing."""
    return cell_codes([axis.assign(attribute(dataset.table, axis.name)) for axis in axes], axes)


def cell_weights(dataset: FaceDataset, axes: Sequence[Axis]) -> Floats:
    """Return a weight [N] for each image, the inverse of its cell's count, so that cells weigh alike."""
    codes = cells_of(dataset, axes)
    counts = np.bincount(codes[codes >= 0], minlength=1)
    return np.asarray(np.where(codes >= 0, 1 / np.maximum(counts[np.maximum(codes, 0)], 1), 0.0), np.float64)
