"""How a classifier is trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faceaug.classifiers.networks import DEFAULT_INPUT_SIZE
from faceaug.pretrained.efficientnet import efficientnet_weights_installed


@dataclass(frozen=True)
class ClassifierConfig:
    """How a classifier is trained (AdamW with a one-cycle learning rate).

    Attributes
    ----------
    steps : int
    batch_size : int
        Images per step; a smaller training set is one batch.
    lr : float
        The largest learning rate of the cycle.
    weight_power : float
        A class of n images has weight n^-weight_power: 0 leaves classes as frequent as they are, 1 balances them. 0.7
        learns rare classes without losing frequent ones.
    input_size : int
        Side in pixels of the images that the network reads.
    device : str
        Of the training; the trained classifier is on the CPU.
    pretrained : bool
        Learn two layers on frozen features of a pretrained network instead of whole networks. `lr` is then fixed.
    """

    steps: int
    batch_size: int = 64
    lr: float = 4e-3
    weight_power: float = 0.7
    input_size: int = DEFAULT_INPUT_SIZE
    device: str = "cpu"
    pretrained: bool = False

    @classmethod
    def for_size(cls, n: int, device: str = "cpu") -> ClassifierConfig:
        """Return the configuration for n training images.

        Where the pretrained network is installed: 12 epochs of batches of 128 on its features, at least 200 and at most
        4,000 steps. Else 16 epochs of batches of 64 from nothing, within the same bounds.
        """
        if efficientnet_weights_installed():
            steps = int(np.clip(12 * n // 128, 200, 4000))
            return cls(steps, batch_size=128, device=device, pretrained=True)
        return cls(steps=int(np.clip(16 * n // 64, 200, 4000)), device=device)

    @classmethod
    def for_face_quality(cls, n: int, device: str = "cpu") -> ClassifierConfig:
        """Return that of the face quality for n real images.

        On features 12 epochs of batches of 128, at least 250 and at most 500 steps; from nothing 8 epochs of batches of
        64, at least 120 and at most 500 steps.
        """
        if efficientnet_weights_installed():
            steps = int(np.clip(12 * n // 128, 250, 500))
            return cls(steps, batch_size=128, device=device, pretrained=True)
        return cls(steps=int(np.clip(8 * n // 64, 120, 500)), device=device)
