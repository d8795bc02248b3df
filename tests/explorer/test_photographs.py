"""Photographs of the user's own: turned, lit and mixed by their own pixels."""

from __future__ import annotations

import numpy as np
import pytest

from faceaug.errors import ImageError, UsageError
from faceaug.explorer.photographs import LONGEST_SIDE, LoadedPhotograph, PhotographEdit
from faceaug.utils.images import encode


@pytest.fixture(scope="module")
def pair(editor, demo_files) -> tuple[LoadedPhotograph, LoadedPhotograph]:
    """Two faces that can be measured."""
    found = []
    for file in demo_files:
        try:
            found.append(editor.load(file.read_bytes(), file.name))
        except ImageError:
            continue
        if len(found) == 2:
            return found[0], found[1]
    raise AssertionError("the demo data set has faces")


def test_a_turn_is_measured_as_one(editor, pair):
    for photograph in pair:
        side = -15.0 if photograph.values["yaw"] > 0 else 15.0
        turned = editor.edit(photograph, PhotographEdit({"yaw": side}, measure=True))
        assert turned.engine == "rerender"
        assert (turned.measured["yaw"] - photograph.values["yaw"]) * np.sign(side) > 4
        assert turned.image.shape == photograph.pixels.shape


def test_nothing_asked_changes_nothing(editor, pair):
    same = editor.edit(pair[0], PhotographEdit({"yaw": 0.0}, donor=pair[1], share=0.0))
    assert np.array_equal(same.image, pair[0].pixels)
    assert same.engine == ""


def test_a_mixture_shows_more_of_the_other_with_its_share(editor, pair):
    host, donor = pair

    def difference(share: float) -> float:
        mixed = editor.edit(host, PhotographEdit({}, donor, share)).image
        return float(np.abs(mixed.astype(float) - host.pixels).mean())

    assert 0 < difference(0.2) < difference(0.9)
    assert editor.edit(host, PhotographEdit({"roll": 5.0}, donor, 0.5)).engine == "morph"


@pytest.mark.parametrize(
    "edit", [PhotographEdit({"yaw": 60.0}), PhotographEdit({"age": 1.0}), PhotographEdit({}, share=2)]
)
def test_what_photographs_cannot_be_made_to_show_is_refused(editor, pair, edit):
    with pytest.raises(UsageError):
        editor.edit(pair[0], edit)


def test_a_picture_without_a_face_is_refused(editor):
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    with pytest.raises(ImageError, match="no face"):
        editor.load(encode(noise, "png"), "noise.png")
    with pytest.raises(ImageError, match="24 pixels"):
        editor.load(encode(noise[:20, :20], "png"), "small.png")


def test_a_large_photograph_is_reduced(editor, demo_files, pair):
    large = np.repeat(np.repeat(pair[0].pixels, 16, 0), 16, 1)
    assert max(editor.load(encode(large, "jpeg"), "large.jpg").pixels.shape) == LONGEST_SIDE
