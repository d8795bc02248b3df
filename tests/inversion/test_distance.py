"""The distance of pictures: 0 for the same, 1 for two people, and what decides it."""

import pytest
import torch
from fakes import ToyFaces

from faceaug.errors import DatasetError
from faceaug.inversion.distance import ImageDistance, bands


@pytest.fixture(scope="module")
def faces():
    generator = ToyFaces()
    return generator.synthesize(torch.from_numpy(generator.draw(64)))


def test_the_same_is_at_nothing_and_two_people_are_at_one(faces):
    likeness = ImageDistance.among(faces)
    assert (likeness(faces, faces) == 0).all()
    assert likeness(faces, faces.roll(7, 0)).mean() == pytest.approx(1, abs=0.1)
    assert (likeness(faces[:8], faces[:8] + 0.01) < likeness(faces[:8], faces[:8] + 0.1)).all()


def test_bands_add_up_to_the_picture(faces):
    *fine, rest = bands(faces[:4])
    assert [part.shape[-1] for part in (*fine, rest)] == [64, 32, 16, 8]
    for part in reversed(fine):
        rest = part + torch.nn.functional.interpolate(rest, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(rest, faces[:4])


def test_the_face_counts_more_than_the_corners(faces):
    likeness = ImageDistance.among(faces)
    corner, middle = faces[:1].clone(), faces[:1].clone()
    corner[:, :, :16, :16] += 0.3
    middle[:, :, 24:40, 24:40] += 0.3
    assert likeness(faces[:1], corner) < 0.7 * likeness(faces[:1], middle)


def test_what_tells_nothing_is_refused(faces):
    with pytest.raises(DatasetError, match="3 photographs are too few"):
        ImageDistance.among(faces[:3])
    with pytest.raises(DatasetError, match="all the same"):
        ImageDistance.among(faces[:1].expand(12, -1, -1, -1))
