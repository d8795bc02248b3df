"""The reader: view and light read off a framed face by a small network, without its depth, albedo or a rendering.

The reconstruction has learnt view and light from what it could render, and reads far turns as smaller than they are.
The reader has seen faces that were turned and relit by known angles (`reader_training`), as far as the warp goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from faceaug.errors import IntegrityError
from faceaug.measurement.crop_network import CropNetwork, load_state, state_of
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.utils.tensors import resize_tensor
from faceaug.utils.typing import Floats

_MIRRORED = ("yaw", "roll", "light_x")
MIRROR_SIGN: Floats = np.array([-1.0 if name in _MIRRORED else 1.0 for name in FACTOR_NAMES])
"""Sign of each factor in the mirror image, float64 [6]."""
_NETWORK = "network."


@dataclass(frozen=True, eq=False)
class FactorReader:
    """Reads the factors of framed faces.

    Attributes
    ----------
    network : CropNetwork
        From images to the six factors, each less its centre and divided by its scale.
    centre, scale : float32 [6]
        In the units of the factors.
    """

    network: CropNetwork
    centre: Tensor
    scale: Tensor

    def to(self, device: str | torch.device) -> FactorReader:
        """Return the reader on a device."""
        return FactorReader(self.network.to(device), self.centre.to(device), self.scale.to(device))

    def values(self, images: Tensor) -> Floats:
        """Return the factors, float64 [N, 6], of images [N, 3, S, S] in [-1, 1]: the mean with the mirror image."""
        one, other = self.both(images)
        return (one + other) / 2

    def both(self, images: Tensor) -> tuple[Floats, Floats]:
        """Return the factors [N, 6] read from images and from their mirror images, the latter as of the image."""
        with torch.no_grad():
            one, other = (self._read(views) for views in (images, images.flip(-1)))
        return one, other * MIRROR_SIGN

    def _read(self, images: Tensor) -> Floats:
        device = self.centre.device
        read = self.network(resize_tensor(images.to(device), self.network.side)) * self.scale + self.centre
        return np.asarray(read.double().cpu().numpy())

    def state(self) -> dict[str, Tensor]:
        """Return the weights by name, on the CPU."""
        weights = {_NETWORK + name: value for name, value in state_of(self.network).items()}
        return {**weights, "centre": self.centre.cpu(), "scale": self.scale.cpu()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> FactorReader:
        """Return the reader with the weights of `state`; IntegrityError when they do not fit or are not finite."""
        count = len(FACTOR_NAMES)
        weights = {name.removeprefix(_NETWORK): value for name, value in state.items() if name.startswith(_NETWORK)}
        network = load_state(CropNetwork(count), weights, "the reader")
        numbers = [state.get(name, torch.empty(0)).float() for name in ("centre", "scale")]
        if any(x.shape != (count,) or not x.isfinite().all() for x in numbers) or not (numbers[1] > 0).all():
            raise IntegrityError("the units of the reader do not fit or are not finite: get the file again")
        return cls(network, *numbers)
