"""Directions found without labels in toy faces, without finding anything: what reads and measures them is exact."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from fakes import ToyFaces

from faceaug.reconstruction.semantics import NAMES, UNITS


class ToyEnvironment:
    """Reads coordinates of toy faces exactly: yaw is the spot's, light from the side its own."""

    names, units = NAMES, tuple(UNITS.values())
    sigma = np.full(len(NAMES), 0.1)
    slope, offset = np.ones(len(NAMES)), np.zeros(len(NAMES))

    def __init__(self) -> None:
        faces = ToyFaces()
        self._plain = faces._plain.double().numpy().ravel()
        self._exact = np.linalg.pinv(faces._parts.double().numpy())

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        w = (images.double().numpy().reshape(len(images), -1) - self._plain) @ self._exact
        values = np.zeros((len(images), len(NAMES)))
        values[:, NAMES.index("yaw")], values[:, NAMES.index("light_x")] = w[:, ToyFaces.SPOT], w[:, 4]
        return values

    def in_terms_of(self, read: np.ndarray, measured: np.ndarray) -> ToyEnvironment:
        assert np.abs(read - measured).max() < 0.5  # the same pictures were read and measured
        return self

    def state(self) -> dict[str, list[float]]:
        return {"slope": [1.0], "offset": [0.0], "sigma": [0.1]}

    def with_state(self, state: dict[str, list[float]]) -> ToyEnvironment:
        assert state == self.state()
        return self


class ToyFound(SimpleNamespace):
    """Measures finished toy faces by the same coordinates, `off` by so much."""

    def measure(self, pictures: list[np.ndarray]) -> np.ndarray:
        images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        values = self.environment(images)
        values[:, NAMES.index("yaw")] += self.off
        return values

    @property
    def instrument(self) -> SimpleNamespace:
        """Sees toy faces in photographs as they are; what is all of one grey is none."""

        def read(canvases: torch.Tensor, shorter: torch.Tensor, *, aligned: bool) -> SimpleNamespace:
            images = torch.nn.functional.interpolate(canvases, size=(64, 64), mode="area")
            refusals = tuple("no face" if image.std() < 0.05 else "" for image in images)
            return SimpleNamespace(
                faces=SimpleNamespace(images=images), values=self.environment(images), refusals=refusals
            )

        return SimpleNamespace(read=read)


def toy_found(off: float = 0.0) -> ToyFound:
    nothing = SimpleNamespace(atoms=(), reconstruction="r" * 64, made_by="a test",
                              directions=SimpleNamespace(generator="g", sha256=lambda: "d" * 64))  # fmt: skip
    return ToyFound(bundle=nothing, environment=ToyEnvironment(), measured=("yaw",), aligned=False, off=off)
