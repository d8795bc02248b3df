"""The morph of a host photograph with donors: their shapes and details mixed, in the host's light, colour and pose.

For every position of the host's photograph its place in the canonical frame is known, and where the photographs of the
donors show that place. Both are read there at full resolution. What is broader than a feature of the face, such as
light and complexion, is the host's; what is finer is mixed in the logarithm of brightness, so that it is relative to
the light. The finest details come from one donor: a mean of several is blurred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from faceaug.morphing.canonical import CANONICAL_REACH, read_places
from faceaug.morphing.face import CanonicalFace, window_and_extent
from faceaug.morphing.pixels import PixelBox, as_unit, from_unit, pixel_positions
from faceaug.morphing.registration import Registration, register
from faceaug.reconstruction.warp import WIDE, smooth_bump
from faceaug.utils.images import Rgb
from faceaug.utils.typing import Floats32

_CENTRE, _FACE = (0.0, 0.06), (0.52, 0.74)  # of the mixed part of the canonical square: centre and half axes
_FULL_UNTIL, _NONE_FROM = 0.72, 1.1  # of these half axes
_VISIBLE = 0.3  # least visibility of a place in a photograph from which it is read
_BROAD, _FINE = 0.3, 0.03
"""Standard deviations of the Gaussians that part broad from finer and fine from finest, in half sides of the window."""
_SAME, _DIFFERENT = 0.8, 1.3
"""Residual of the registration, in local standard deviations, up to which features are mixed, and from which not."""
_ALIKE_SIGMA, _WORST = 3.0, 9  # pixels of the canonical picture
DARKEST = 0.06
"""Added to brightness in [0, 1] before the logarithm, so that noise in shadows is not enlarged."""
_CONTRAST = (0.6, 1.6)  # limits of the factor by which a donor's contrast is matched to the host's
_SHARPNESS = (0.3, 1.3)  # limits of that factor for the finest details
_MOST_COLOUR = 0.15
"""Largest difference of a channel's detail from that of grey, in logarithms: lips and eyes are within it."""
_WITHIN, _BRIGHTEST = 0.5, 0.98  # of the mask; the share of the host's pixels there that are darker than the brightest
_MARGIN = 4  # standard deviations of the finest smoothing around the mixed part of the photograph
_LEAST_SIGMA = 5.0  # pixels of a Gaussian; larger ones are computed on a reduced picture


@dataclass(frozen=True)
class MorphFaults:
    """What gates decide on before a morph is rendered.

    Attributes
    ----------
    holes : float
        Share of the face that a donor's photograph does not show.
    folds : float
        Share of the face where the mixed shape folds over.
    unregistered : float
        Share of the face where the registration of a donor failed.
    residual : float
        Mean difference of host and donor after registration, in local standard deviations; the largest of all donors.
    mixed : float
        Share of the face's features that is the donors'. Where features differ too much, the host's are kept.
    """

    holes: float
    folds: float
    unregistered: float
    residual: float
    mixed: float


@dataclass(frozen=True, eq=False)
class MorphPlan:
    """How a host and K donors are mixed, before any photograph is read.

    Attributes
    ----------
    host : CanonicalFace
    donors : tuple of CanonicalFace, length K
    weights : tuple of float, length K
        Share of each donor where its features are mixed in; what is missing to 1 is the host's.
    shares : tuple of float, length K
        Share of each donor in the features of the whole face.
    registrations : tuple of Registration, length K
        From the host to each donor.
    alike : tuple of float32 [P, P], length K
        Where the canonical pictures of the host and of each donor show the same features (`where_alike`).
    maps : MorphMaps
    faults : MorphFaults
    """

    host: CanonicalFace
    donors: tuple[CanonicalFace, ...]
    weights: tuple[float, ...]
    shares: tuple[float, ...]
    registrations: tuple[Registration, ...]
    alike: tuple[Floats32, ...]
    maps: MorphMaps
    faults: MorphFaults


@dataclass(frozen=True, eq=False)
class MorphMaps:
    """Where each position of the host's window is read, on its grid G x G.

    Attributes
    ----------
    offset : float32 [1, 2, G, G]
        From a position to where the host is read.
    places : K times float32 [1, 2, G, G]
        Where the donors are read.
    alike : K times float32 [1, 1, G, G] in [0, 1]
        Where the features of a donor are those of the host.
    mask : float32 [1, 1, G, G] in [0, 1]
        How much is mixed.
    """

    offset: Tensor
    places: list[Tensor]
    alike: list[Tensor]
    mask: Tensor


def plan_morph(
    host: CanonicalFace,
    donors: Sequence[CanonicalFace],
    weights: Sequence[float],
    registrations: Sequence[Registration] | None = None,
) -> MorphPlan:
    """Register donors with a host, where they are not yet, and return how they are mixed."""
    if registrations is None:
        registrations = [register(host.detail, donor.detail) for donor in donors]
    place, inside = mixed_part(host)
    flows = [look_up(maps_of(r.flow), place).permute(0, 2, 3, 1) * inside.permute(0, 2, 3, 1) for r in registrations]
    mean = sum((weight * flow for weight, flow in zip(weights, flows, strict=True)), torch.zeros_like(place))
    sources = maps_of(host.sources)
    offset = look_up(sources, place - mean) - look_up(sources, place)
    seen = visible_part(host, place)
    pictures = tuple(where_alike(r, host, donor) for r, donor in zip(registrations, donors, strict=True))
    alike = [look_up(maps_of(picture), place) for picture in pictures]
    places, holes = [], torch.zeros_like(inside)
    for donor, flow in zip(donors, flows, strict=True):
        there = place - mean + flow
        places.append(look_up(maps_of(donor.sources), there))
        holes = torch.maximum(holes, (look_up(maps_of(donor.visible / 255.0), there) < _VISIBLE).float())
    mask = feathered(inside * (1 - holes) * seen) * inside
    core = (inside > 0.5).float() * seen
    unregistered, residual = registration_faults(host, registrations)

    def share(part: Tensor) -> float:
        return share_of(part, core)

    shares = tuple(weight * share(part * mask) for weight, part in zip(weights, alike, strict=True))
    faults = MorphFaults(
        holes=share(holes),
        folds=share(folded(mean)),
        unregistered=unregistered,
        residual=residual,
        mixed=sum(shares),
    )
    maps = MorphMaps(offset, places, alike, mask)
    return MorphPlan(host, tuple(donors), tuple(weights), shares, tuple(registrations), pictures, maps, faults)


def registration_faults(host: CanonicalFace, registrations: Sequence[Registration]) -> tuple[float, float]:
    """Return `unregistered` and `residual` of `MorphFaults`, which registrations from a host show by themselves."""
    place, inside = mixed_part(host)
    core = (inside > 0.5).float() * visible_part(host, place)
    unregistered = [(look_up(maps_of(r.confidence), place) < 0.5).float() for r in registrations]
    residual = [look_up(maps_of(r.residual), place) for r in registrations]
    return max(share_of(part, core) for part in unregistered), max(share_of(part, core) for part in residual)


def share_of(part: Tensor, core: Tensor) -> float:
    """Return the mean of a part over the core of the face, both [1, 1, G, G] in [0, 1]."""
    return float((part * core).sum() / (core.sum() + 1e-6))


def mixed_part(face: CanonicalFace) -> tuple[Tensor, Tensor]:
    """Return the canonical places [1, G, G, 2] of a window, and how much of each is mixed at most, [1, 1, G, G]."""
    place = torch.from_numpy(face.places.astype(np.float32))[None]
    covered = torch.from_numpy(face.covered.astype(np.float32))[None, None]
    return place, mixed_at(place)[:, None] * covered


def mixed_at(places: Tensor) -> Tensor:
    """Return how much of canonical places [N, G, G, 2] is mixed at most, [N, G, G] in [0, 1]: 0 outside the face."""
    relative = (places - places.new_tensor(_CENTRE)) / places.new_tensor(_FACE)
    return smooth_bump(relative, _FULL_UNTIL, _NONE_FROM)


def visible_part(face: CanonicalFace, place: Tensor) -> Tensor:
    """Return 1 where the photograph of a face shows the places of its window (`mixed_part`), else 0: [1, 1, G, G]."""
    return (look_up(maps_of(face.visible / 255.0), place) >= _VISIBLE).float()


def feathered(mask: Tensor) -> Tensor:
    """Return a mask [1, 1, G, G] with soft edges."""
    return torch.from_numpy(cv2.GaussianBlur(mask[0, 0].numpy(), (0, 0), 1.2))[None, None]


def render_morph(plan: MorphPlan, photographs: Sequence[Rgb]) -> tuple[Rgb, float]:
    """Mix the photographs of the host and of the donors.

    Parameters
    ----------
    plan : MorphPlan
    photographs : sequence of uint8 [H, W, 3], length K + 1

    Returns
    -------
    image : uint8 [H, W, 3]
        Of the size of the host's photograph, and unchanged away from the face.
    light : float
        Difference of light and complexion of host and donors across the face, in logarithms, without its mean.
    """
    height, width = photographs[0].shape[:2]
    unit = _pixels_per_unit(plan.host, photographs[0])
    box = PixelBox.around(plan.host, plan.maps.mask, height, width, _MARGIN * unit * _FINE)
    pixels = [as_unit(photograph) for photograph in photographs]
    own, readings, mask, alike = _read(plan, pixels, box)
    shares = [weight * part for weight, part in zip(plan.weights, alike, strict=True)]
    mixed, light = _mix(own, readings, mask, shares, unit)
    whole = pixels[0][:, :, box.rows, box.columns] * (1 - mask) + mixed * mask
    image = np.array(photographs[0])
    image[box.rows, box.columns] = from_unit(whole)
    return image, light


def where_alike(registration: Registration, host: CanonicalFace, donor: CanonicalFace) -> Floats32:
    """Return where the canonical pictures of two faces show the same features, [P, P] in [0, 1].

    Elsewhere the host is kept. It is the same on both sides of the face where both are shown: two eyes are of one
    person.
    """
    shown = _shown_by_both(host, donor)
    # The worst of the surroundings decides, so that the thin frame of one person's glasses is not mixed in parts.
    residual = cv2.GaussianBlur(cv2.dilate(registration.residual, np.ones((_WORST, _WORST))), (0, 0), _ALIKE_SIGMA)
    t = np.clip((_DIFFERENT - residual) / (_DIFFERENT - _SAME), 0, 1)
    agrees = np.clip((registration.confidence - 0.15) / 0.3, 0, 1)
    alike = t * t * (3 - 2 * t) * agrees
    return np.asarray(np.minimum(alike, np.where(shown[:, ::-1], alike[:, ::-1], 1)), np.float32)


def _shown_by_both(host: CanonicalFace, donor: CanonicalFace) -> NDArray[np.bool_]:
    """Return which places of the canonical picture the photographs of two faces show, [P, P]."""
    both = np.minimum(host.visible, donor.visible)
    return np.asarray(cv2.resize(both, host.detail.shape[::-1], interpolation=cv2.INTER_LINEAR) >= 255 * _VISIBLE)


def folded(flow: Tensor) -> Tensor:
    """Return where a displacement [1, G, G, 2] of the places folds over, [1, 1, G, G]."""
    step = 2.0 / flow.shape[1] / CANONICAL_REACH  # the grid is that of the window, the flow is in canonical units
    across, down = (torch.gradient(flow[0], dim=axis, spacing=step)[0] for axis in (1, 0))
    area = (1 - across[..., 0]) * (1 - down[..., 1]) - across[..., 1] * down[..., 0]
    return (area < 0.2).float()[None, None]


def _read(
    plan: MorphPlan, pixels: Sequence[Tensor], box: PixelBox
) -> tuple[Tensor, list[Tensor], Tensor, list[Tensor]]:
    """Return host and donors [1, 3, H, W] in [0, 1] in the mixed shape, the mask, and where donors are alike.

    H and W are those of the box.
    """
    height, width = pixels[0].shape[2:]
    positions = pixel_positions(plan.host, height, width, box)
    window, extent = window_and_extent(plan.host)
    maps, count = plan.maps, len(plan.donors)
    together = torch.cat([maps.offset, maps.mask, *maps.places, *maps.alike], 1)
    fine = F.grid_sample(together, positions / WIDE, mode="bilinear", padding_mode="zeros", align_corners=False)
    own = read_places(pixels[0], positions + fine[:, :2].permute(0, 2, 3, 1), window, extent).clamp(0, 1)
    readings = []
    for k, donor in enumerate(plan.donors):
        there = fine[:, 3 + 2 * k : 5 + 2 * k].permute(0, 2, 3, 1)
        readings.append(read_places(pixels[k + 1], there, *window_and_extent(donor)).clamp(0, 1))
    alike = [fine[:, k : k + 1].clamp(0, 1) for k in range(3 + 2 * count, fine.shape[1])]
    return own, readings, fine[:, 2:3].clamp(0, 1), alike


def _mix(
    own: Tensor, readings: Sequence[Tensor], mask: Tensor, shares: Sequence[Tensor], unit: float
) -> tuple[Tensor, float]:
    """Return the mixed picture [1, 3, H, W], and by how much the light of host and donors differs.

    `shares` are those of the donors at each pixel, K times [1, 1, H, W].
    """
    broad_sigma, fine_sigma = unit * _BROAD, max(0.8, unit * _FINE)
    logs = [torch.log(picture + DARKEST) for picture in (own, *readings)]
    broads = [_smoothed(log, broad_sigma, mask) for log in logs]
    details = [log - broad for log, broad in zip(logs, broads, strict=True)]
    contrasts = [_contrast(detail, 2 * broad_sigma, mask) for detail in details]
    finest = [detail - _smoothed(detail, fine_sigma) for detail in details]
    sharpness = [_contrast(fine, broad_sigma, mask) for fine in finest]
    mixed, sharp = details[0] - finest[0], finest[0]
    sharpest = int(np.argmax([float(share.mean()) for share in shares]))
    light = 0.0
    for k, (share, detail, fine) in enumerate(zip(shares, details[1:], finest[1:], strict=True), 1):
        gain = (contrasts[0] / (contrasts[k] + 1e-3)).clamp(*_CONTRAST)
        mixed = mixed + share * (_natural(gain * (detail - fine)) - (details[0] - finest[0]))
        if k - 1 == sharpest:
            as_sharp = (sharpness[0] / (sharpness[k] + 1e-3)).clamp(*_SHARPNESS)
            sharp = finest[0] + (2 * share).clamp(max=1) * (_natural(as_sharp * fine) - finest[0])
        light = max(light, _spread(broads[k] - broads[0], mask))
    logarithm = torch.minimum(broads[0] + mixed + sharp, torch.maximum(logs[0], _brightest(logs[0], mask)))
    return logarithm.exp() - DARKEST, light


def _brightest(logarithm: Tensor, mask: Tensor) -> Tensor:
    """Return for each channel how bright a picture [1, 3, H, W] is at most within the mask, [1, 3, 1, 1].

    A donor's highlights on a bright face would else become white spots.
    """
    within = logarithm[0][:, mask[0, 0] > _WITHIN]
    if not within.numel():
        return logarithm.amax((2, 3), keepdim=True)
    values = np.partition(within.numpy(), k := int(_BRIGHTEST * (within.shape[1] - 1)), axis=1)[:, k]
    return torch.from_numpy(values)[None, :, None, None]


def _contrast(details: Tensor, sigma: float, mask: Tensor) -> Tensor:
    """Return the local contrast [1, 1, H, W] of details [1, 3, H, W] in logarithms."""
    return _smoothed(details.mean(1, keepdim=True).square(), sigma, mask).clamp(min=0).sqrt()


def _natural(details: Tensor) -> Tensor:
    """Return details [1, 3, H, W] with their differences of colour bounded softly.

    Where a channel of a photograph is nearly black, the differences between the logarithms of its channels are noise.
    """
    grey = details.mean(1, keepdim=True)
    return grey + _MOST_COLOUR * torch.tanh((details - grey) / _MOST_COLOUR)


def _spread(maps: Tensor, mask: Tensor) -> float:
    """Return the standard deviation of maps [1, C, H, W] across the mask, without their means."""
    total = mask.sum() + 1e-6
    mean = (maps * mask).sum((2, 3), keepdim=True) / total
    return float((((maps - mean).square() * mask).sum((2, 3)) / total).mean().sqrt())


def _smoothed(maps: Tensor, sigma: float, mask: Tensor | None = None) -> Tensor:
    """Return maps [1, C, H, W] smoothed by a Gaussian of `sigma` pixels, within the mask where there is one."""
    weight = None if mask is None else mask + 1e-3
    if weight is not None:
        maps = torch.cat([maps * weight, weight], 1)
    size, reduction = maps.shape[2:], max(1, int(sigma / _LEAST_SIGMA))
    small = [max(1, round(length / reduction)) for length in size]
    reduced = F.interpolate(maps, size=small, mode="area") if reduction > 1 else maps
    array = cv2.GaussianBlur(
        np.ascontiguousarray(reduced[0].permute(1, 2, 0).numpy()),
        (0, 0),
        sigma / reduction,
        borderType=cv2.BORDER_REPLICATE,
    )
    array = array.reshape(*reduced.shape[2:], -1)
    smooth = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))[None]
    if reduction > 1:
        smooth = F.interpolate(smooth, size=size, mode="bilinear", align_corners=False)
    return smooth if weight is None else smooth[:, :-1] / smooth[:, -1:]


def _pixels_per_unit(face: CanonicalFace, photograph: Rgb) -> float:
    """Return the half side of a face's window in pixels of its photograph."""
    return float(np.exp(face.window[2]) / face.extent[3] * photograph.shape[0] / 2)


def maps_of(array: NDArray[np.floating]) -> Tensor:
    """Return an array [M, M] or [M, M, C] as maps [1, C, M, M]."""
    return torch.from_numpy(np.ascontiguousarray(np.atleast_3d(array).transpose(2, 0, 1), np.float32))[None]


def look_up(maps: Tensor, places: Tensor) -> Tensor:
    """Return maps [1, C, M, M] at canonical places [1, G, G, 2]: [1, C, G, G]."""
    return F.grid_sample(maps, places, mode="bilinear", padding_mode="border", align_corners=False)
