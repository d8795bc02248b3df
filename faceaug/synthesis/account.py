"""What a run tells of itself: the columns of its samples, and why a cell ended short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from faceaug.axes import Axis
from faceaug.finishing import PARAMETERS
from faceaug.reconstruction.measurer import MEANINGS, UNITS
from faceaug.semantics import scene
from faceaug.semantics.probes import Task
from faceaug.semantics.reading import SCENE
from faceaug.shards.columns import Column
from faceaug.synthesis.environment import Found


def columns_of(
    axes: Sequence[Axis], tasks: Sequence[Task], finish: bool, found: Found | None = None
) -> tuple[Column, ...]:
    """Return the columns of a run's samples: its attributes, all that was read, and how each was finished."""
    measured = found.measured if found else ()
    columns = []
    for axis in axes:
        if axis.edges is None:
            columns.append(
                Column(group="attr", name=axis.name, type="category", levels=axis.levels, meaning="label given")
            )
        else:
            meaning = "label given: mean of both readings, within the cell's bin"
            if axis.name in measured:
                meaning = "measured on the finished picture, as on the target's"
            unit = UNITS[axis.name] if axis.name in measured else "as labelled"
            columns.append(Column(group="attr", name=axis.name, type="float64", unit=unit, meaning=meaning))
    probed = [task for task in tasks if task.name not in measured]
    for task in probed:
        for name in task.semantics:
            unit = "log-odds" if task.kind == "classes" else "as labelled"
            meaning = "reading of the steering probe after the edit"
            columns.append(Column(group="semantic", name=name, type="float32", unit=unit, meaning=meaning))
    read = {name for task in probed for name in task.semantics}
    for name, unit in UNITS.items() if found else ():
        if name not in read:
            meaning = f"after the edit, read off the generator's picture: {MEANINGS[name]}"
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
