"""Where and how an experiment is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from faceaug.cluster.placement import Placement
from faceaug.utils.threads import StageProgress


@dataclass(frozen=True)
class ExperimentRun:
    """Where an experiment is done, and who asked for it.

    Attributes
    ----------
    out : Path
        Output folder: absent, empty, or of this very experiment, which is continued.
    folder : Path
        From which relative paths of the recipe are meant.
    command : str
        For the record.
    progress : callable (stage, done, total)
    placement : Placement
        Where arms are trained and samples computed.
    """

    out: Path
    folder: Path
    command: str
    progress: StageProgress
    placement: Placement = field(default_factory=Placement)
