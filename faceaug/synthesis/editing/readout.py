"""Measurements of an image that guide edits: attributes, view and light, and the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from faceaug.appearance import scene
from faceaug.appearance.framing import Framing, apply_framing
from faceaug.appearance.harmonize import ColourMatch
from faceaug.classifiers.classifier import Classifier, Task
from faceaug.utils.typing import Floats

VIEW = ("yaw", "pitch", "roll")
OUTSIDE = tuple(name for name in scene.NAMES if name != "light_side")
SCENE = (*scene.NAMES, scene.FACE_QUALITY, scene.EXPOSURE)
LIGHT = ("light_x", "light_y", "light")
LIKE_SKIN = ("light_y", "light")
"""Light that a reconstruction does not separate from skin: darker skin reads as dimmer light from below. An edit of an
attribute that kept this light would leave the skin as it is (benchmarks/skin.py)."""


class PoseLightReading(Protocol):
    """Reads view and light from generated images."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the semantics that are read."""

    @property
    def units(self) -> tuple[str, ...]:
        """Their units."""

    @property
    def sigma(self) -> Floats:
        """Standard deviation of their errors, float64 [S]."""

    def __call__(self, images: Tensor) -> Floats:
        """Read images [N, 3, R, R] in [-1, 1] in the generator's framing: float64 [N, S]."""


@dataclass(frozen=True)
class FaceReader:
    """Reads images in the generator's own framing; classifiers see them in the framing of the data set.

    Attributes
    ----------
    classifier : Classifier or None
        The guidance classifier; None where every attribute was measured and is read by `pose_light`.
    framing : Framing
        The window that gives the framing of the data set.
    ellipse : FaceEllipse
        Where the generator's faces are.
    face_quality : Classifier
        Distinguishes whole faces from distorted ones.
    colour : ColourMatch, optional
        The fixed mapping toward the data set's overall colour, where samples are harmonized.
    pose_light : PoseLightReading, optional
        Reads view and light, where there are directions found without labels. A label of the same name wins.
    """

    classifier: Classifier | None
    framing: Framing
    ellipse: scene.FaceEllipse
    face_quality: Classifier
    colour: ColourMatch | None = None
    pose_light: PoseLightReading | None = None

    @property
    def semantics(self) -> tuple[str, ...]:
        """Names of the S columns."""
        return (*self._attributes, *self.pose_light_names, *SCENE)

    @property
    def pose_light_names(self) -> tuple[str, ...]:
        """Names of the view and light semantics that `pose_light` reads and that are not labelled."""
        return tuple(name for name in self.pose_light.names if name not in self._attributes) if self.pose_light else ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each column: "attribute", "view", "light" or "scene"."""
        tasks = self.classifier.tasks if self.classifier else ()
        return (
            *(kind_of(task.name) for task in tasks for _ in task.semantics),
            *map(kind_of, self.pose_light_names),
            *("scene" for _ in SCENE),
        )

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each column."""
        tasks = self.classifier.tasks if self.classifier else ()
        units = ["log-odds" if t.kind == "classes" else "as labelled" for t in tasks for _ in t.semantics]
        if self.pose_light:
            known = dict(zip(self.pose_light.names, self.pose_light.units, strict=True))
            units += [known[name] for name in self.pose_light_names]
        return (*units, *("log-odds" if name == scene.FACE_QUALITY else "[-1, 1]" for name in SCENE))

    @property
    def _attributes(self) -> tuple[str, ...]:
        return self.classifier.semantics if self.classifier else ()

    def sigma(self, attribute: str) -> float:
        """Return the standard deviation of the error of an attribute that is a value, in its unit."""
        if self.pose_light and attribute in self.pose_light_names:
            return float(self.pose_light.sigma[self.pose_light.names.index(attribute)])
        assert self.classifier is not None
        return self.classifier.sigma(attribute)

    def view(self, images: Tensor) -> Tensor:
        """Return images [N, 3, R, R] in the framing and the overall colour of the data set."""
        framed = apply_framing(images, self.framing)
        return framed if self.colour is None else self.colour.apply(framed)

    def __call__(self, images: Tensor) -> Floats:
        """Read images [N, 3, R, R] in [-1, 1]: float64 [N, S]."""
        views = self.view(images)
        columns = [self.classifier.read(views)[0]] if self.classifier else []
        if self.pose_light:
            rows = [self.pose_light.names.index(name) for name in self.pose_light_names]
            columns.append(self.pose_light(images)[:, rows])
        around = scene.measure_scene(images, self.ellipse).double().numpy()
        face_quality = self.face_quality.read(views)[0][:, 1:]
        return np.concatenate(
            [*columns, around, face_quality, scene.measure_exposure(views)[:, :1].double().numpy()], 1
        )


def kind_of(name: str) -> str:
    """Return the kind of an attribute by its name: "view", "light" (these change the scene, too) or "attribute"."""
    return "view" if name.lower() in VIEW else "light" if name.lower() in LIGHT else "attribute"


def kept_scene(tasks: Sequence[Task], pose_light_names: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the semantics that an edit of these attributes keeps.

    Where view and light are read (`pose_light_names`), an edit of some of them keeps the others; an edit of an
    attribute keeps all of them but `LIKE_SKIN`, and the colour outside the face. Elsewhere an edit keeps the scene as
    it is measured on the image; an edit of the light from the side does not keep the side of the light.
    """
    names, kinds = {task.name for task in tasks}, {kind_of(task.name) for task in tasks}
    if pose_light_names:
        others = [name for name in pose_light_names if name not in names]
        if "attribute" not in kinds:
            return tuple(others)
        return (*(name for name in others if name not in LIKE_SKIN), *OUTSIDE)
    return tuple(name for name in scene.NAMES if not (kinds & {"light"} and name == "light_side"))
