"""One reading of a picture for everything that edits steer by: the attributes' probe and the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from faceaug.finishing import ColourMatch
from faceaug.framing import Framing, apply_framing
from faceaug.semantics import scene
from faceaug.semantics.probes import Probe, Task

Floats = NDArray[np.float64]

VIEW = ("yaw", "pitch", "roll")
SCENE = (*scene.NAMES, scene.SOUNDNESS, scene.EXPOSURE)
LIGHT = ("light_x", "light_y", "light")


@dataclass(frozen=True)
class Reader:
    """Reads pictures in the generator's own framing: the probe sees them as the target would.

    Attributes
    ----------
    probe : Probe
    framing : Framing
        The window that gives the target's framing.
    ellipse : FaceEllipse
        Where the generator's faces are.
    soundness : Probe
        Tells sound faces from melted ones.
    colour : ColourMatch, optional
        The fixed mapping toward the target's overall colour, where samples are to be finished: what is written is read.
    """

    probe: Probe
    framing: Framing
    ellipse: scene.FaceEllipse
    soundness: Probe
    colour: ColourMatch | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the S columns."""
        return (*self.probe.semantics, *SCENE)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each column: "attribute", "view", "light" or "scene"."""
        return (*(kind_of(task) for task in self.probe.tasks for _ in task.semantics), *("scene" for _ in SCENE))

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each column."""
        units = ["log-odds" if t.kind == "classes" else "as labelled" for t in self.probe.tasks for _ in t.semantics]
        return (*units, *("log-odds" if name == scene.SOUNDNESS else "[-1, 1]" for name in SCENE))

    def view(self, images: Tensor) -> Tensor:
        """Return pictures [N, 3, R, R] in the target's framing and overall colour."""
        framed = apply_framing(images, self.framing)
        return framed if self.colour is None else self.colour.apply(framed)

    def __call__(self, images: Tensor) -> Floats:
        """Read pictures [N, 3, R, R] in [-1, 1]: float64 [N, S]."""
        views = self.view(images)
        values, _ = self.probe.read(views)
        around = scene.measure(images, self.ellipse).double().numpy()
        sound = self.soundness.read(views)[0][:, 1:]
        return np.concatenate([values, around, sound, scene.exposure(views)[:, :1].double().numpy()], 1)


def kind_of(task: Task) -> str:
    """Return what kind of semantic a task reads, by its name: pose and light change the picture's rest by nature."""
    name = task.name.lower()
    return "view" if name in VIEW else "light" if name in LIGHT else "attribute"


def kept_scene(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Return the scene's axes that an edit of these attributes keeps.

    Light from one side changes what is measured as the light's side, so such an edit does not keep it.
    """
    kinds = {kind_of(task) for task in tasks}
    return tuple(name for name in scene.NAMES if not (kinds & {"light"} and name == "light_side"))
