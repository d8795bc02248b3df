"""Alignment: photographs on canvases, a trained network, and the search that it guides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fake_estimator import PlainFaces
from fake_estimator import taught_aligner as taught_aligner

from faceaug.errors import IntegrityError
from faceaug.generators.pool import sample_pool
from faceaug.measurement.alignment import ALIGNMENT_OUTPUTS, Aligner, lay_on_canvas, train_alignment
from faceaug.measurement.alignment_data import crop_with_surroundings, scramble_phases, shuffle_tiles
from faceaug.measurement.crop_network import CropNetwork
from faceaug.measurement.crops import undo_steps


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def aligner(taught_aligner) -> Aligner:
    return taught_aligner


@pytest.fixture(scope="module")
def unseen() -> torch.Tensor:
    generator = PlainFaces()
    return generator.synthesize(torch.from_numpy(generator.draw(48, seed=99)))


def photographs(faces: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return canvases that show the faces off their framing, and the windows that frame them."""
    off = (torch.rand(len(faces), 4, generator=rng(seed)) * 2 - 1) * torch.tensor([0.2, 0.2, 0.35, 0.2])
    return crop_with_surroundings(faces, undo_steps(torch.zeros(len(faces), 4), off), rng(seed + 1), 96), off


@pytest.mark.slow
def test_it_finds_the_windows_of_unseen_faces(aligner, unseen):
    canvases, windows = photographs(unseen, 5)
    faces = aligner.align(canvases, torch.ones(len(canvases)))
    assert faces.images.shape == (48, 3, 64, 64)
    error = (faces.windows - windows).abs().median(0).values
    # Ten trainings with other seeds left at most 0.53 of the angles, 0.021 of the shifts, and 0.25 of the pixels.
    assert (error < 0.75 * windows.abs().median(0).values).all(), error
    assert error[:2].max() < 0.04
    pixels = (faces.images - unseen)[..., 16:48, 16:48].abs().mean((1, 2, 3))
    whole = aligner.crop_centre(canvases, torch.ones(len(canvases)))
    assert pixels.median() < 0.4 * (whole.images - unseen)[..., 16:48, 16:48].abs().mean((1, 2, 3)).median()


@pytest.mark.slow
def test_images_without_a_face_have_low_log_odds(aligner, unseen):
    canvases, _ = photographs(unseen, 6)
    whole = torch.ones(len(canvases))
    faces = aligner.align(canvases, whole)
    assert (faces.face > 0).all()
    # Shuffled tiles still show eyes and a mouth: so short a training ranks them below faces, and no more than that.
    for spoilt, least in (
        (shuffle_tiles(canvases, rng(1)), 0.7),  # 0.86 at least over ten trainings with other seeds
        (scramble_phases(canvases, rng(2)), 0.95),  # 0.997
        (torch.full_like(canvases, -1.0), 0.95),  # 1
    ):
        none = aligner.align(spoilt, whole)
        assert (faces.face[:, None] > none.face).float().mean() > least


@pytest.mark.slow
def test_a_search_from_nearby_ends_where_the_whole_search_does(aligner, unseen):
    canvases, _ = photographs(unseen[:8], 7)
    found = aligner.align(canvases, torch.ones(8))
    near = found.windows + torch.tensor([0.05, -0.04, 0.05, 0.03])
    refined = aligner.refine(canvases, near)
    assert float((refined.windows - found.windows).abs().mean()) < 0.4 * float((near - found.windows).abs().mean())
    assert float((refined.face - found.face).abs().mean()) < 1


@pytest.mark.slow
def test_the_window_in_the_mirror_image_is_the_mirrored_window(aligner, unseen):
    canvases, _ = photographs(unseen[:8], 7)
    one, two = (aligner.align(images, torch.ones(8)) for images in (canvases, canvases.flip(-1)))
    torch.testing.assert_close(two.windows, one.windows * torch.tensor([-1.0, 1, 1, -1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(two.images, one.images.flip(-1), atol=1e-3, rtol=0)
    torch.testing.assert_close(two.face, one.face, atol=1e-3, rtol=0)


@pytest.mark.slow
def test_the_central_square_has_the_shorter_side(aligner):
    picture = np.zeros((60, 120, 3), np.uint8)
    picture[:, 30:90] = 255
    canvas, shorter = lay_on_canvas(picture, 96)
    x = torch.from_numpy(canvas).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert shorter == 0.5
    faces = aligner.crop_centre(x, torch.tensor([shorter]))
    assert faces.images[..., 3:-3].min() > 0.99
    assert faces.windows[0].tolist() == pytest.approx([0, 0, np.log(0.5), 0])


@pytest.mark.slow
def test_training_is_repeatable_and_reports_progress():
    calls, faces = [], sample_pool(PlainFaces(), 8, 0).images
    one, two, other = (
        train_alignment(faces, steps=2, batch_size=4, seed=seed, progress=lambda *call: calls.append(call))
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(one.state()[name], two.state()[name]) for name in one.state())
    assert any(not torch.equal(one.state()[name], other.state()[name]) for name in one.state())
    assert [call[:2] for call in calls[:2]] == [(1, 2), (2, 2)]
    assert all(np.isfinite(call[2]) for call in calls)


def test_the_network_is_small():
    assert sum(p.numel() for p in CropNetwork(ALIGNMENT_OUTPUTS).parameters()) <= 500_000


@pytest.mark.slow
def test_its_state_restores_it(aligner, unseen):
    again = Aligner.from_state(aligner.state())
    for one, two in zip(aligner.predict_steps(unseen), again.predict_steps(unseen), strict=True):
        assert torch.equal(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "nan"])
def test_damaged_weights_are_refused(aligner, damage):
    state = aligner.state()
    name = next(iter(state))
    if damage == "missing":
        del state[name]
    elif damage == "extra":
        state["more"] = torch.zeros(1)
    else:
        state[name] = state[name][:1] if damage == "shape" else torch.full_like(state[name], float("nan"))
    with pytest.raises(IntegrityError, match="get the file again"):
        Aligner.from_state(state)


@pytest.mark.parametrize(
    ("height", "width", "shorter"),
    [(100, 100, 1.0), (50, 100, 0.5), (100, 80, 0.8), (10, 400, 0.5), (400, 10, 0.5), (1, 1, 1.0), (3000, 2000, 2 / 3)],
)
def test_photographs_of_any_shape_fit_the_canvas(height, width, shorter):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    canvas, half = lay_on_canvas(picture, 96)
    assert canvas.shape == (96, 96, 3)
    assert canvas.dtype == np.uint8
    assert half == pytest.approx(shorter, abs=0.02)


def test_the_border_is_repeated_outside_the_photograph():
    canvas, _ = lay_on_canvas(np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8), 96)
    assert (canvas[:24] == canvas[24]).all()
    assert (canvas[72:] == canvas[71]).all()
    assert not (canvas[25] == canvas[24]).all()
