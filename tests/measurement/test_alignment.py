"""Alignment: photographs on canvases, a trained network, and the search that it guides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fake_estimator import PlainFaces
from fake_estimator import taught_aligner as taught_aligner
from torch import nn

from faceaug.errors import IntegrityError
from faceaug.generators.pool import sample_pool
from faceaug.measurement.alignment import ALIGNMENT_OUTPUTS, AlignedFaces, Aligner, lay_on_canvas, train_alignment
from faceaug.measurement.alignment_data import crop_with_surroundings, scramble_phases, shuffle_tiles
from faceaug.measurement.crop_network import CropNetwork
from faceaug.measurement.crops import undo_steps
from faceaug.measurement.measure import load_estimator


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


class ScriptedNet(nn.Module):
    """Reads 10 log-odds off red and green, and the length of a step that enlarges the window off blue.

    In batches of fewer than four, all numbers are rounded otherwise, as by a real network.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))  # has the device

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red, green, blue = x.mean((2, 3)).unbind(1)
        none = torch.zeros_like(red)
        return torch.stack([none, none, blue, none, 10 * (red + green)], 1) * (1 if len(x) >= 4 else 1.001)


def scripted_search(*photographs: tuple[float, float, float]) -> AlignedFaces:
    """Return what is found in photographs (gain, bias, length of a step).

    In windows that are 0.75, 1.05 and 1.5 times as large as the photograph, the log-odds of a face are 3.8, 5.2 and 6.7
    times the gain, plus the bias.
    """
    far = (torch.linspace(-1, 1, 96)).abs().expand(96, 96)
    canvases = [
        torch.stack([gain * far, torch.full_like(far, bias / 10), torch.full_like(far, step)])
        for gain, bias, step in photographs
    ]
    return Aligner(ScriptedNet()).align(torch.stack(canvases), torch.ones(len(canvases)))  # type: ignore[arg-type]


def test_a_search_begins_again_only_where_no_face_is_sure_and_the_best_is_kept():
    found = scripted_search(
        (1, -1.9, 0),  # sure at once, though the larger window would look more like a face
        (1, -2.6, 0),  # sure in the larger one
        (1, -6, 0),  # never sure, most in the larger one
        (-1, 0, 0),  # most in the smaller one
        (0, 0, 0),  # the same in all
    )
    assert found.windows[:, 2].exp().tolist() == pytest.approx([1.05, 1.5, 1.5, 0.75, 1.05])
    assert found.face.tolist() == pytest.approx([3.3, 4.1, 0.7, -3.8, 0], abs=0.15)


def test_no_step_follows_a_short_one():
    found = scripted_search(*((0, 9, step) for step in (0.0, 0.5, 0.58, 0.62, 0.7)))
    steps = (found.windows[:, 2] - np.log(1.05)) / (0.1 * found.residual_step.clamp(min=0.1))
    assert steps.tolist() == pytest.approx([0, 1, 1, 4, 4], abs=1e-3)


@pytest.mark.parametrize("row", [0, 2, 5])
def test_a_face_is_found_as_well_where_others_are_found_earlier(row):
    long, soon = (1, -6, 0.9), (0, 9, 0)
    together = scripted_search(*[long] * 6)
    alone = scripted_search(*[long if k == row else soon for k in range(6)])
    for name in together.__dataclass_fields__:
        assert torch.equal(getattr(together, name)[row], getattr(alone, name)[row])


def test_the_network_reads_the_same_in_batches_of_any_size():
    """Last bits may differ where a processor multiplies smaller matrices otherwise, as many do those of few rows."""
    images = torch.rand(64, 3, 64, 64, generator=rng()) * 2 - 1
    aligner = load_estimator().aligner
    whole = aligner.predict(images)
    for size in (1, 3, 4, 7, 33):
        for some, of_all in zip(aligner.predict(images[-size:]), whole, strict=True):
            torch.testing.assert_close(some, of_all[-size:], rtol=0, atol=1e-4)


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
