"""The distance of images: 0 for equal images, 1 for two people, and the weights of pixels."""

import pytest
import torch
from fakes import ToyFaces

from faceaug.errors import DatasetError
from faceaug.inversion.distance import ImageDistance, laplacian_bands


@pytest.fixture(scope="module")
def faces():
    generator = ToyFaces()
    return generator.synthesize(torch.from_numpy(generator.draw(64)))


def test_equal_images_are_at_0_and_two_people_at_1(faces):
    distance = ImageDistance.from_photographs(faces)
    assert (distance(faces, faces) == 0).all()
    assert distance(faces, faces.roll(7, 0)).mean() == pytest.approx(1, abs=0.1)
    assert (distance(faces[:8], faces[:8] + 0.01) < distance(faces[:8], faces[:8] + 0.1)).all()


def test_bands_add_up_to_the_image(faces):
    *fine, rest = laplacian_bands(faces[:4])
    assert [band.shape[-1] for band in (*fine, rest)] == [64, 32, 16, 8]
    for band in reversed(fine):
        rest = band + torch.nn.functional.interpolate(rest, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(rest, faces[:4])


def test_the_face_counts_more_than_the_corners(faces):
    distance = ImageDistance.from_photographs(faces)
    corner, middle = faces[:1].clone(), faces[:1].clone()
    corner[:, :, :16, :16] += 0.3
    middle[:, :, 24:40, 24:40] += 0.3
    assert distance(faces[:1], corner) < 0.7 * distance(faces[:1], middle)


def test_photographs_without_a_unit_are_refused(faces):
    with pytest.raises(DatasetError, match="3 photographs are too few"):
        ImageDistance.from_photographs(faces[:3])
    with pytest.raises(DatasetError, match="all the same"):
        ImageDistance.from_photographs(faces[:1].expand(12, -1, -1, -1))
