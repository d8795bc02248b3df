"""A face as morphs need it: where its photograph shows the canonical places, and what it is compared by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.measurement.estimator import Measurements
from faceaug.morphing.canonical import CanonicalFrame, canonical_frame, canonical_pictures, canonical_sources
from faceaug.morphing.registration import normalize_contrast
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import as_tensor
from faceaug.utils.typing import Floats, Floats32

BYTES_PER_FACE = 98_000
"""Memory of a `CanonicalFace`."""
_TOP, _BOTTOM, _LEFT, _RIGHT = 0.22, 0.9, 0.25, 0.75
"""The part of the canonical square that holds eyes, nose and mouth of any face, by which faces are compared."""
DESCRIPTOR_SHAPE = (32, 24)
"""Rows and columns of a descriptor."""
_COMPARED_SIGMA = 2.0  # pixels: faces differ in shape, and registration comes later
_FINE_SIGMA, _BROAD_SIGMA = 1.0, 8.0  # pixels of the canonical picture, for the sharpness


@dataclass(frozen=True, eq=False)
class CanonicalFace:
    """One face of a data set in the canonical frame.

    Attributes
    ----------
    row : int
        Of the data set.
    sha256 : bytes
        Of the file of the photograph when it was read.
    window, extent : float32 [4]
        The window of the face on the canvas, and where the photograph lies on it.
    places : float16 [G, G, 2]
        Canonical places that the positions of the window show (`canonical.CanonicalFrame`).
    covered : bool [G, G]
    sources : float16 [M, M, 2]
    visible : uint8 [M, M]
    detail : uint8 [P, P]
        The canonical picture with normalized contrast (`registration.normalize_contrast`).
    descriptor : float32 [D]
        Its part around eyes, nose and mouth, reduced: faces of like expression and features are near.
    sharpness : float
        Contrast of the finest details relative to that of all.
    measured : float64 [6]
        View and light (`FACTOR_NAMES`).
    """

    row: int
    sha256: bytes
    window: Floats32
    extent: Floats32
    places: NDArray[np.float16]
    covered: NDArray[np.bool_]
    sources: NDArray[np.float16]
    visible: NDArray[np.uint8]
    detail: NDArray[np.uint8]
    descriptor: Floats32
    sharpness: float
    measured: Floats


def canonical_faces(
    rows: Sequence[int], digests: Sequence[bytes], photographs: Sequence[Rgb], extents: Floats32, read: Measurements
) -> list[CanonicalFace | None]:
    """Return the faces of photographs that were measured, None where no face was found.

    Parameters
    ----------
    rows, digests, photographs : sequences of length N
        Rows of the data set, hashes of their files and their pixels.
    extents : float32 [N, 4]
        Where the photographs lie on their canvases.
    read : Measurements
        Of these N photographs.
    """
    frame = canonical_frame(read.factors)
    faces: list[CanonicalFace | None] = []
    for k, photograph in enumerate(photographs):
        if read.refusals[k]:
            faces.append(None)
            continue
        one = CanonicalFrame(*(maps[k : k + 1] for maps in (frame.places, frame.covered, frame.sources, frame.visible)))
        picture = _picture_of(k, photograph, frame.sources, extents, read)
        window = read.faces.windows[k : k + 1]
        faces.append(_face(rows[k], digests[k], one, picture, window, extents[k], read.values[k]))
    return faces


def measured_descriptors(photographs: Sequence[Rgb], extents: Floats32, read: Measurements) -> list[Floats32 | None]:
    """Return the descriptors [D] of faces in photographs that were measured, None where no face was found.

    They are those of `canonical_faces`, whose parameters these are, without what only mixing needs.
    """
    sources = canonical_sources(read.factors)
    pictures = (
        None if read.refusals[k] else _picture_of(k, photograph, sources, extents, read)
        for k, photograph in enumerate(photographs)
    )
    return [None if one is None else descriptor_of(normalize_contrast(_as_pixels(one))) for one in pictures]


def _picture_of(k: int, photograph: Rgb, sources: Tensor, extents: Floats32, read: Measurements) -> Tensor:
    """Return the canonical picture of photograph k, [1, 3, P, P] in [-1, 1]; `sources` as in `CanonicalFrame`."""
    row = slice(k, k + 1)
    extent = torch.from_numpy(extents[row])
    return canonical_pictures(as_tensor(photograph[None]), sources[row], read.faces.windows[row], extent)


def window_and_extent(face: CanonicalFace) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the window of a face and the extent of its photograph, each [1, 4]."""
    return torch.from_numpy(face.window)[None], torch.from_numpy(face.extent)[None]


def canonical_picture(face: CanonicalFace, picture: Rgb) -> Rgb:
    """Return the canonical picture uint8 [P, P, 3] of a photograph [H, W, 3], or of a sample of the same frame."""
    sources = torch.from_numpy(face.sources.astype(np.float32))[None]
    return _as_pixels(canonical_pictures(as_tensor(np.array(picture)[None]), sources, *window_and_extent(face)))


def descriptor_in_place(face: CanonicalFace, picture: Rgb) -> Floats32:
    """Return the descriptor of the face in a picture that shows it where the photograph of `face` shows that one.

    Such a picture is a morph of which it is the host.
    """
    return descriptor_of(normalize_contrast(canonical_picture(face, picture)))


def descriptor_of(detail: NDArray[Any]) -> Floats32:
    """Return the descriptor [D] of a canonical picture with normalized contrast, [P, P]."""
    smooth = cv2.GaussianBlur(detail.astype(np.float32), (0, 0), _COMPARED_SIGMA)
    reduced = cv2.resize(_compared(smooth), DESCRIPTOR_SHAPE[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(reduced.ravel() / 48, np.float32)


def _as_pixels(picture: torch.Tensor) -> NDArray[np.uint8]:
    return np.asarray(((picture[0].permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8))


def _face(
    row: int,
    digest: bytes,
    frame: CanonicalFrame,
    picture: torch.Tensor,
    window: torch.Tensor,
    extent: Floats32,
    values: Floats,
) -> CanonicalFace:
    pixels = _as_pixels(picture)
    detail, part = normalize_contrast(pixels), _compared(pixels)
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine, broad = (float((grey - cv2.GaussianBlur(grey, (0, 0), s)).std()) for s in (_FINE_SIGMA, _BROAD_SIGMA))
    return CanonicalFace(
        row=row,
        sha256=digest,
        window=window[0].numpy().copy(),
        extent=extent,
        places=frame.places[0].half().numpy(),
        covered=frame.covered[0, 0].numpy() > 0,
        sources=frame.sources[0].half().numpy(),
        visible=(frame.visible[0, 0] * 255).byte().numpy(),
        detail=detail,
        descriptor=descriptor_of(detail),
        sharpness=fine / (broad + 2),
        measured=values[: len(FACTOR_NAMES)].copy(),
    )


def _compared(picture: NDArray[Any]) -> NDArray[Any]:
    side = len(picture)
    return picture[round(_TOP * side) : round(_BOTTOM * side), round(_LEFT * side) : round(_RIGHT * side)]
