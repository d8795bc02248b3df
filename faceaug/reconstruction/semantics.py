"""The semantic factors that are measured on a face: names, units, meanings, and how they follow from `FaceFactors`."""

from __future__ import annotations

import torch
from torch import Tensor

from faceaug.reconstruction.factors import FaceFactors

FACTOR_UNITS = dict(yaw="degrees", pitch="degrees", roll="degrees", light_x="degrees", light_y="degrees", light="share")
"""Unit of each semantic factor, in order."""
FACTOR_NAMES = tuple(FACTOR_UNITS)
FACTOR_MEANINGS = dict(
    yaw="where the nose points, toward the picture's right",
    pitch="how far the nose is lifted",
    roll="how far the face is turned clockwise in the picture",
    light_x="where the light comes from as the face sees it, toward the picture's right",
    light_y="where the light comes from as the face sees it, upwards",
    light="strength of the directed light, as a share of all light",
)
"""One sentence on each, for tables and help."""
ESTIMATOR_BATCH_SIZE = 64
"""Images that go through the network together; fixed, since another batch size changes the last bits of a value."""


def semantics_of(factors: FaceFactors) -> Tensor:
    """Return the semantic factors.

    Parameters
    ----------
    factors : FaceFactors
        Of N images.

    Returns
    -------
    float32 [N, 6]
        In the order of `FACTOR_NAMES` and in their units.
    """
    view, light = factors.view, factors.light
    angles = torch.rad2deg(torch.stack([view[:, 1], view[:, 0], view[:, 2]], 1))
    direction = torch.rad2deg(torch.atan(light[:, 2:4]))
    ambient, diffuse = light[:, 0].clamp(min=0), light[:, 1].clamp(min=0)
    return torch.cat([angles, direction, (diffuse / (ambient + diffuse).clamp(min=1e-6))[:, None]], 1)
