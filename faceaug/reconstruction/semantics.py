"""The semantics that every reconstruction gives: their names, units and meanings, and how a reading gives them."""

from __future__ import annotations

import torch
from torch import Tensor

from faceaug.reconstruction.factors import FaceFactors

FACTOR_UNITS = dict(yaw="degrees", pitch="degrees", roll="degrees", light_x="degrees", light_y="degrees", light="share")
"""The semantics that every reconstruction gives, in order, with their units."""
FACTOR_NAMES = tuple(FACTOR_UNITS)
FACTOR_MEANINGS = dict(
    yaw="where the nose points, toward the picture's right",
    pitch="how far the nose is lifted",
    roll="how far the face is turned clockwise in the picture",
    light_x="where the light comes from as the face sees it, toward the picture's right",
    light_y="where the light comes from as the face sees it, upwards",
    light="strength of the directed light, as a share of all light",
)
"""What each of them says, for people."""
ESTIMATOR_BATCH_SIZE = 64
"""Pictures that are measured together; fixed, for another number changes the last bits of a value."""


def semantics_of(reading: FaceFactors) -> Tensor:
    """Return the semantics that a reading holds, [N, 6] in the order of `FACTOR_NAMES` and the units of `FACTOR_UNITS`."""
    degrees = torch.rad2deg(torch.stack([reading.view[:, 1], reading.view[:, 0], reading.view[:, 2]], 1))
    direction = torch.rad2deg(torch.atan(reading.light[:, 2:4]))
    ambient, diffuse = reading.light[:, 0].clamp(min=0), reading.light[:, 1].clamp(min=0)
    return torch.cat([degrees, direction, (diffuse / (ambient + diffuse).clamp(min=1e-6))[:, None]], 1)
