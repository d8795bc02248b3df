"""What a morph will look like, from the canonical pictures alone: cheaper than to render it, and enough to choose by.

The canonical pictures of host and donors are mixed as their photographs would be (docs/method.md, section 9), in one
band and at 128 pixels. The descriptor of the result tells most morphs that would be near-copies of a face in them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from faceaug.morphing.blend import MorphPlan, mixed_at
from faceaug.morphing.canonical import PICTURE_SIDE
from faceaug.morphing.face import descriptor_of
from faceaug.morphing.registration import moved_picture
from faceaug.reconstruction.geometry import pixel_grid
from faceaug.utils.typing import Floats32


def predicted_descriptor(plan: MorphPlan) -> Floats32:
    """Return about the descriptor [D] that `face.descriptor_in_place` will give of the rendered morph."""
    part = _mixed_part()
    flows = [registration.flow * part for registration in plan.registrations]
    mean = np.sum([weight * flow for weight, flow in zip(plan.weights, flows, strict=True)], 0)
    host = moved_picture(plan.host.detail, -mean)
    mixed = host.copy()
    for donor, weight, flow, alike in zip(plan.donors, plan.weights, flows, plan.alike, strict=True):
        share = weight * alike * part[..., 0]
        mixed += share * (moved_picture(donor.detail, flow - mean) - host)
    return descriptor_of(mixed)


@lru_cache(maxsize=1)
def _mixed_part() -> NDArray[np.float32]:
    """Return how much of each place of a canonical picture is mixed at most, [P, P, 1]."""
    return np.asarray(mixed_at(pixel_grid(PICTURE_SIDE)[None])[0, ..., None].numpy(), np.float32)
