"""How a run is done."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

from faceaug.errors import UsageError
from faceaug.shards.writer import Codec, Layout
from faceaug.synthesis.acceptance.gates import AcceptanceThresholds

EngineName = Literal["generator", "rerender", "both"]
_DRAWING = ("device", "batch_size", "candidates", "truncation", "corrections", "finish", "draws")
_TURNING = ("uses",)
_MIXING = ("candidates", "truncation")  # of draws, to begin edits with


@dataclass(frozen=True)
class RunConfig:
    """How a run is done; the defaults are those of the command line.

    Attributes
    ----------
    seed : int
        Everything random comes from it.
    device : str
        For the training of probes, and for the generator where it is given by name; one that is passed stays where it
        is.
    workers : int, optional
        Threads that make blocks; as many as there are processors when None, and one where `device` is a GPU. They do
        not change the samples.
    batch_size : int
        Pictures that go through a network at once.
    thresholds : AcceptanceThresholds
        What gates refuse.
    tries : int
        Attempts allowed for each planned sample before a cell ends short.
    candidates : int
        Draws among which an attempt takes the one nearest to its cell.
    truncation_psi : float
        1 takes draws as they are, less pulls them towards the mean face.
    corrections : int
        Corrections of an edit after its first step.
    harmonize : bool
        Give samples the dataset's size, colour, sharpness, noise and codec quality.
    image_format : "jpeg", "png", "webp" or None
        Codec of the samples; the dataset's own when None.
    layout : "blob" or "raw"
        Encoded images, or plain pixels (formats.md).
    survey_samples : int
        Generated faces on which directions are fitted.
    keep : tuple of str
        Labelled attributes that edits must leave alone.
    report : bool
        Write report.html at the end.
    engine : "generator", "rerender" or "both"
        Edited draws; real faces turned and relit (bins of pose and light only); or these first, and draws for what
        they leave short.
    max_uses : int
        Samples that one real face may give when it is turned or relit, or an edit begins with it.
    from_real : bool
        Edits of the generator begin with real faces of the cell's labels, inverted, which keep their labels; a cell of
        labels alone has them turned and relit.
    aligned : bool
        Real faces are framed as the generator's faces are (where their columns were measured, this is known).
    """

    seed: int = 0
    device: str = "cpu"
    workers: int | None = None
    batch_size: int = 64
    thresholds: AcceptanceThresholds = field(default_factory=AcceptanceThresholds)
    tries: int = 8
    candidates: int = 16
    truncation_psi: float = 0.9
    corrections: int = 5
    harmonize: bool = True
    image_format: Codec | None = None
    layout: Layout = "blob"
    survey_samples: int = 8192
    keep: tuple[str, ...] = ()
    report: bool = True
    engine: EngineName = "generator"
    max_uses: int = 3
    from_real: bool = False
    aligned: bool = False

    def __post_init__(self) -> None:
        least = dict(seed=0, batch_size=1, tries=1, candidates=1, corrections=0, survey_samples=256, max_uses=1)
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {bound}")
        if self.from_real and self.engine == "rerender":
            raise UsageError(
                "--from-real inverts real faces into the latent of a generator, and --engine rerender has none: leave "
                "out one of the two, or use --engine both"
            )
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers is {self.workers}; it must be at least 1")
        if not 0 < self.truncation_psi <= 1:
            raise UsageError(f"truncation is {self.truncation_psi}; it must be above 0 and at most 1")
        if self.seed >= 2**32:
            raise UsageError(f"seed is {self.seed}; it must be below 2^32")
        for name, known in (
            ("image_format", (None, *get_args(Codec))), ("layout", get_args(Layout)), ("engine", get_args(EngineName)),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise UsageError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(map(str, known))}")
        idle = _MIXING if self.from_real else {"rerender": _DRAWING, "generator": _TURNING}.get(self.engine, ())
        where = "with from_real" if self.from_real else f"with the engine {self.engine}"
        for goal in (goal for goal in fields(self) if goal.name in idle):
            if getattr(self, goal.name) != goal.default:
                raise UsageError(
                    f"{goal.name} is {getattr(self, goal.name)!r}, which does nothing {where}: leave it out"
                    + ("" if self.from_real else ", or use the engine both")
                )
        if self.engine == "both" and self.layout == "raw" and not self.harmonize:
            raise UsageError(
                "drawn faces have the generator's size and re-rendered ones that of their photographs, and --layout "
                "raw holds pictures of one size: finish them, or use the layout blob"
            )


def workers_of(config: RunConfig) -> int:
    """Return how many threads make blocks."""
    if config.device != "cpu":
        return 1  # one queue is what a GPU has; blocks still overlap with writing
    return config.workers or os.cpu_count() or 1
