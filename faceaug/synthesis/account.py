"""What a run tells of itself: the columns of its samples, and why a cell ended short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from faceaug.axes import Axis
from faceaug.finishing import PARAMETERS
from faceaug.semantics import scene
from faceaug.semantics.probes import Task
from faceaug.semantics.reading import SCENE
from faceaug.shards.columns import Column


def columns_of(axes: Sequence[Axis], tasks: Sequence[Task], finish: bool) -> tuple[Column, ...]:
    """Return the columns of a run's samples: its attributes, all that was read, and how each was finished."""
    columns = []
    for axis in axes:
        if axis.edges is None:
            columns.append(
                Column(group="attr", name=axis.name, type="category", levels=axis.levels, meaning="label given")
            )
        else:
            meaning = "label given: mean of both probes' readings, within the cell's bin"
            columns.append(Column(group="attr", name=axis.name, type="float64", unit="as labelled", meaning=meaning))
    for task in tasks:
        for name in task.semantics:
            unit = "log-odds" if task.kind == "classes" else "as labelled"
            meaning = "reading of the steering probe after the edit"
            columns.append(Column(group="semantic", name=name, type="float32", unit=unit, meaning=meaning))
    for name in SCENE:
        columns.append(Column(group="semantic", name=name, type="float32", meaning=scene.MEANINGS[name]))
    for name in PARAMETERS if finish else ():
        columns.append(Column(group="finish", name=name, type="float32", meaning="finishing parameter of the sample"))
    return tuple(columns)


def note_for(short: int, refused: Mapping[str, int], nearest: Mapping[str, float]) -> str:
    """Return in a sentence why a cell ended short, and the nearest that was reached."""
    reasons = ", ".join(
        f"{name} {count}" for name, count in sorted(refused.items(), key=lambda kv: (-kv[1], kv[0]))[:3]
    )
    reached = ", ".join(f"{name} {value:.2f}" for name, value in nearest.items())
    why = f"most attempts were refused by: {reasons}" if reasons else "nothing was refused, and tries ran out"
    return f"{short} short when its tries were used up; {why}; the judge gave at most: {reached or 'nothing'}"
