"""A face moved along a change of labels: its shape displaced and its colour changed, in its own photograph.

The change is given in the shape of the mean face (`faceaug.morphing.label_lines`) and carried to the face by its own
registration. What makes one person differ from another of the same labels, hair, background, pose and light stay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from faceaug.morphing.blend import (
    DARKEST,
    feathered,
    folded,
    look_up,
    maps_of,
    mixed_part,
    share_of,
    visible_part,
)
from faceaug.morphing.canonical import read_places
from faceaug.morphing.face import CanonicalFace, canonical_picture, window_and_extent
from faceaug.morphing.label_lines import LabelChange
from faceaug.morphing.pixels import as_unit, from_unit, pixel_positions
from faceaug.morphing.registration import normalize_contrast, register
from faceaug.reconstruction.warp import WIDE
from faceaug.utils.images import Rgb

_GREY = 0.01  # mean distance of the channels from their mean, below which a photograph has no colour to change


@dataclass(frozen=True, eq=False)
class MovedFace:
    """A face after a change of labels.

    Attributes
    ----------
    face : CanonicalFace
        The same frame, with the details of the moved picture.
    image : uint8 [H, W, 3]
        Of the size of the photograph, and unchanged away from the face.
    folds : float
        Share of the face where the moved shape folds over.
    unregistered : float
        Share of the face where it could not be registered with the mean face.
    """

    face: CanonicalFace
    image: Rgb
    folds: float
    unregistered: float


def move_face(
    face: CanonicalFace, photograph: Rgb, template: NDArray[np.uint8], change: LabelChange, strength: float
) -> MovedFace:
    """Move a face along a change of labels.

    Parameters
    ----------
    face : CanonicalFace
    photograph : uint8 [H, W, 3]
    template : uint8 [P, P]
        The mean face in whose shape the change is given.
    change : LabelChange
    strength : float
        Factor on the change: 1 is what the labels differ by on average, more is a caricature.
    """
    registration = register(face.detail, template)
    place, inside = mixed_part(face)
    there = place + look_up(maps_of(registration.flow), place).permute(0, 2, 3, 1)
    flow = strength * look_up(maps_of(change.shape), there).permute(0, 2, 3, 1) * inside.permute(0, 2, 3, 1)
    sources = maps_of(face.sources)
    offset = look_up(sources, place - flow) - look_up(sources, place)
    seen = visible_part(face, place)
    mask = feathered(inside * seen) * inside
    texture = strength * look_up(maps_of(change.texture), there - flow)
    pixels = as_unit(photograph)
    if float((pixels - pixels.mean(1, keepdim=True)).abs().mean()) < _GREY:
        texture = texture.mean(1, keepdim=True).expand_as(texture)
    positions = pixel_positions(face, *pixels.shape[2:])
    maps = torch.cat([offset, mask, texture], 1)
    fine = F.grid_sample(maps, positions / WIDE, mode="bilinear", padding_mode="zeros", align_corners=False)
    own = read_places(pixels, positions + fine[:, :2].permute(0, 2, 3, 1), *window_and_extent(face)).clamp(0, 1)
    moved = (own + DARKEST) * fine[:, 3:].exp() - DARKEST
    share = fine[:, 2:3].clamp(0, 1)
    image = from_unit(pixels * (1 - share) + moved * share)
    core = (inside > 0.5).float() * seen
    parts = (folded(flow), (look_up(maps_of(registration.confidence), place) < 0.5).float())
    folds, unregistered = (share_of(part, core) for part in parts)
    detail = normalize_contrast(canonical_picture(face, image))
    return MovedFace(replace(face, detail=detail), image, folds, unregistered)


def change_outside(before: Rgb, after: Rgb, face: CanonicalFace) -> float:
    """Return the mean change of pixels outside the face over that inside, 0 where nothing changes.

    Parameters
    ----------
    before, after : uint8 [H, W, 3]
        A photograph and a sample of the same frame.
    face : CanonicalFace
        Of the photograph.
    """
    _, inside = mixed_part(face)
    positions = pixel_positions(face, *before.shape[:2])
    within = F.grid_sample(inside, positions / WIDE, mode="bilinear", padding_mode="zeros", align_corners=False)[0, 0]
    change = np.abs(after.astype(np.float64) - before.astype(np.float64)).mean(-1)
    core, outer = (within > 0.5).numpy(), (within == 0).numpy()
    if not core.any() or not outer.any():
        return 0.0
    return float(change[outer].mean() / max(change[core].mean(), 1.0))
