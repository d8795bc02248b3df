"""The canonical frame: where photographs show the places of a face, and what is visible at each position."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from demo_faces import estimator, faces

from faceaug.morphing.canonical import PICTURE_SIDE
from faceaug.morphing.face import BYTES_PER_FACE, DESCRIPTOR_SHAPE, canonical_faces, measured_descriptors
from faceaug.reconstruction.geometry import pixel_grid
from faceaug.reconstruction.warp import GRID, WIDE
from faceaug.synthesis.engines.photographs import measured

CORE = 0.35  # of the canonical square around its middle: the face


def test_places_and_sources_are_inverse_to_each_other():
    grid = pixel_grid(GRID) * WIDE  # positions in the window
    for face, _ in faces()[:6]:
        places = torch.from_numpy(face.places.astype(np.float32))[None]
        sources = torch.from_numpy(face.sources.astype(np.float32))[None].permute(0, 3, 1, 2)
        back = F.grid_sample(sources, places, mode="bilinear", padding_mode="border", align_corners=False)[0]
        core = (places[0].abs().amax(-1) < CORE) & torch.from_numpy(face.covered)
        error = (back.permute(1, 2, 0) - grid).norm(dim=-1)[core]
        assert core.sum() > 200
        assert float(error.median()) < 0.02  # half sides of the window: a pixel of 64 is 0.03


def test_the_middle_of_a_face_is_visible():
    for face, _ in faces()[:6]:
        middle = face.visible[24:40, 24:40]
        assert (middle > 127).mean() > 0.9


def test_a_face_takes_the_memory_that_is_stated():
    for face, _ in faces()[:3]:
        arrays = [value for value in vars(face).values() if isinstance(value, np.ndarray)]
        assert sum(array.nbytes for array in arrays) <= BYTES_PER_FACE
        assert face.detail.shape == (PICTURE_SIDE, PICTURE_SIDE)
        assert face.descriptor.size == np.prod(DESCRIPTOR_SHAPE)


def test_a_descriptor_needs_no_frame():
    pictures = [picture for _, picture in faces()[:4]]
    read, extents = measured(estimator(), pictures, aligned=False)
    whole = canonical_faces(range(4), [b""] * 4, pictures, extents, read)
    for face, descriptor in zip(whole, measured_descriptors(pictures, extents, read), strict=True):
        assert face is not None
        np.testing.assert_array_equal(descriptor, face.descriptor)
