"""Directions found without labels in toy faces, without any discovery: what reads and measures them is exact."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from fakes import ToyFaces

from faceaug.reconstruction.semantics import FACTOR_NAMES, FACTOR_UNITS


class ToyPoseLightReader:
    """Reads coordinates of toy faces exactly, as a `PoseLightReader` would: yaw is the spot, light_x coordinate 4."""

    names, units = FACTOR_NAMES, tuple(FACTOR_UNITS.values())
    sigma = np.full(len(FACTOR_NAMES), 0.1)
    slope, offset = np.ones(len(FACTOR_NAMES)), np.zeros(len(FACTOR_NAMES))

    def __init__(self) -> None:
        faces = ToyFaces()
        self._plain = faces._plain.double().numpy().ravel()
        self._exact = np.linalg.pinv(faces._parts.double().numpy())

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        w = (images.double().numpy().reshape(len(images), -1) - self._plain) @ self._exact
        values = np.zeros((len(images), len(FACTOR_NAMES)))
        values[:, FACTOR_NAMES.index("yaw")], values[:, FACTOR_NAMES.index("light_x")] = w[:, ToyFaces.SPOT], w[:, 4]
        return values

    def in_terms_of(self, read: np.ndarray, measured: np.ndarray) -> ToyPoseLightReader:
        assert np.abs(read - measured).max() < 0.5  # the same images were read and measured
        return self

    def state(self) -> dict[str, list[float]]:
        return {"slope": [1.0], "offset": [0.0], "sigma": [0.1]}

    def with_state(self, state: dict[str, list[float]]) -> ToyPoseLightReader:
        assert state == self.state()
        return self


class ToyDirections(SimpleNamespace):
    """Stands in for `LearnedDirections`; it measures samples by the same coordinates, but yaw too large by `off`."""

    def measure(self, images: list[np.ndarray]) -> np.ndarray:
        values = self.pose_light(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1)
        values[:, FACTOR_NAMES.index("yaw")] += self.off
        return values

    @property
    def instrument(self) -> SimpleNamespace:
        """Finds toy faces in photographs as they are; an image of one grey shows no face."""

        def read(canvases: torch.Tensor, shorter: torch.Tensor, *, aligned: bool) -> SimpleNamespace:
            images = torch.nn.functional.interpolate(canvases, size=(64, 64), mode="area")
            refusals = tuple("no face" if image.std() < 0.05 else "" for image in images)
            return SimpleNamespace(
                faces=SimpleNamespace(images=images), values=self.pose_light(images), refusals=refusals
            )

        return SimpleNamespace(read=read)


def toy_directions(off: float = 0.0) -> ToyDirections:
    """Return directions of which yaw was measured on the data set, off by `off` on samples."""
    bundle = SimpleNamespace(
        atoms=(),
        reconstruction="r" * 64,
        made_by="a test",
        directions=SimpleNamespace(generator="g", sha256=lambda: "d" * 64),
    )
    return ToyDirections(bundle=bundle, pose_light=ToyPoseLightReader(), measured=("yaw",), aligned=False, off=off)
