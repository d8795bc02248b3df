"""Alignment: a search for the window of a photograph that frames the face as the generator frames its faces.

The reconstruction expects faces in the framing of its generator, and photographs are framed in any way. A small network
predicts from a window of a photograph the step (shift, scale, rotation) to that framing, and the log-odds of a face;
repeated crops and steps converge to the window. No landmarks and no labels are used: the network is trained on
generated images that were shifted, scaled and rotated, and on images without a face that were made from them
(docs/method.md, section 2, "Photographs").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.appearance.augmentations import photometric_jitter
from faceaug.measurement.alignment_data import Jitter, alignment_batch
from faceaug.measurement.crop_network import CropNetwork, frozen, load_state, state_of, train_crop_network
from faceaug.measurement.crops import CROP_SIDE, CanvasPyramid, apply_steps
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import as_tensor, normalize_pixels, resize_tensor

CANVAS_SIDE = 192
"""Side of the canvas of a photograph in pixels: enough for a face that takes a third of it."""
MAX_ASPECT = 2.0
"""Ratio of the sides beyond which only the middle of a photograph is used."""
ROUNDS, REFINEMENT_ROUNDS = 4, 2
"""Most steps of a search, from a starting window and from a window near which the face is known to be."""
START_SIZES = (1.05, 1.5, 0.75)
"""Half sides of the windows where searches start, in half sides of the shorter side of the photograph."""
SURE_FACE = 3.0
"""Log-odds of a face in the window that a search has found from which on no search starts elsewhere."""
LAST_STEP = 0.6
"""Length of a step, in units of 0.1, below which no further one is taken: the next would be about half as long."""
ALIGNMENT_OUTPUTS = 5
"""Of the network: a step of four numbers, and the log-odds of a face."""
_STEP_UNITS = (0.1, 0.1, 0.1, 0.1)  # of the network's outputs: shift in half windows, logarithm of scale, radians
_LEAST_ROWS = 4  # looked at together where there are as many: products of smaller matrices are rounded otherwise


@dataclass(frozen=True, eq=False)
class AlignedFaces:
    """Faces in the framing of the generator.

    Attributes
    ----------
    images : float32 [N, 3, 64, 64] in [-1, 1]
        Crops of the canvases.
    windows : float32 [N, 4]
        Their windows (`crops`); the angle is the clockwise rotation of the face in the photograph against the crop.
    face : float32 [N]
        Log-odds of a face.
    residual_step : float32 [N]
        Length of the step that the network predicts for the crop, in units of 0.1; large where the search has not
        converged.
    """

    images: Tensor
    windows: Tensor
    face: Tensor
    residual_step: Tensor

    def __getitem__(self, rows: slice) -> AlignedFaces:
        return AlignedFaces(self.images[rows], self.windows[rows], self.face[rows], self.residual_step[rows])

    def improved(self, rows: Tensor, others: AlignedFaces) -> AlignedFaces:
        """Return the faces with those others [M], found in place of rows [M], that look more like a face."""
        better = others.face > self.face[rows]
        tensors = {field.name: getattr(self, field.name).clone() for field in fields(self)}
        for name, tensor in tensors.items():
            tensor[rows[better]] = getattr(others, name)[better]
        return AlignedFaces(**tensors)


class Aligner:
    """A trained network and the search that it guides; see `train_alignment`.

    Parameters
    ----------
    net : CropNetwork
        Of `ALIGNMENT_OUTPUTS` outputs.
    """

    def __init__(self, net: CropNetwork) -> None:
        self.net = frozen(net)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        device: torch.device = next(self.net.parameters()).device
        return device

    def to(self, device: str | torch.device) -> Aligner:
        """Move the weights and return the aligner itself."""
        self.net.to(device)
        return self

    def predict_steps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return steps [N, 4] and log-odds of a face [N], means over images [N, 3, 64, 64] and their mirror images."""
        (step, face), (mirror_step, mirror_face) = self.predict(x), self.predict(x.flip(-1))
        return (step + _mirrored(mirror_step)) / 2, (face + mirror_face) / 2

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return steps [N, 4] and log-odds of a face [N] of images [N, 3, 64, 64] alone."""
        with torch.no_grad():
            return _step_and_face(self.net(x))

    def align(self, canvases: Tensor, shorter: Tensor) -> AlignedFaces:
        """Search for the windows of faces.

        Where the search from one starting window finds no face for sure, it begins again from the next one, and the
        window that looks most like a face is the result.

        Parameters
        ----------
        canvases : float32 [N, 3, C, C] in [-1, 1]
            From `lay_on_canvases`.
        shorter : float32 [N]
            Half of the photograph's shorter side, in half sides of the canvas.
        """
        canvases, shorter = canvases.to(self.device), shorter.to(self.device)
        search = _Search(self, canvases)
        found = search.run(_central_windows(shorter * START_SIZES[0]), ROUNDS)
        for size in START_SIZES[1:]:
            rows = (found.face < SURE_FACE).nonzero()[:, 0]
            if len(rows):
                found = found.improved(rows, search.run(_central_windows(shorter * size), ROUNDS, rows))
        return found

    def refine(self, canvases: Tensor, windows: Tensor) -> AlignedFaces:
        """Search from windows [N, 4] near which the faces of canvases [N, 3, C, C] are."""
        return _Search(self, canvases.to(self.device)).run(windows.to(self.device), REFINEMENT_ROUNDS)

    def crop_centre(self, canvases: Tensor, shorter: Tensor) -> AlignedFaces:
        """Return the central squares without a search, for images that have the framing of the generator.

        Parameters are those of `align`.
        """
        return _Search(self, canvases.to(self.device)).run(_central_windows(shorter.to(self.device)), 0)

    def state(self) -> dict[str, Tensor]:
        """Return the weights by name, on the CPU."""
        return state_of(self.net)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Aligner:
        """Return the aligner with the weights of `state`; IntegrityError when they do not fit or are not finite."""
        return cls(load_state(CropNetwork(ALIGNMENT_OUTPUTS), state, "the alignment"))


class _Search:
    """The search for the faces of canvases [N, 3, C, C] in [-1, 1].

    For a step, the network looks at the crop or at its mirror image in turns, first at the one that has the darker left
    half in the photograph. So what it reads differently in mirror images nearly cancels out, and the search in a
    mirrored photograph is the mirror of that in the photograph, without two passes for each step.
    """

    def __init__(self, aligner: Aligner, canvases: Tensor) -> None:
        self._aligner, self._pyramid = aligner, CanvasPyramid(canvases)
        half = canvases.shape[-1] // 2
        self._turned: Tensor = canvases[..., :half].mean((1, 2, 3)) > canvases[..., -half:].mean((1, 2, 3))

    def run(self, windows: Tensor, rounds: int, rows: Tensor | None = None) -> AlignedFaces:
        """Return the faces to which steps lead.

        Parameters
        ----------
        windows : float32 [N, 4]
            Where the search starts, for all canvases.
        rounds : int
            Most steps.
        rows : int64 [M], optional
            The canvases to search, whose M faces are returned; all of them when None.
        """
        windows = windows.clone()
        rows = left = torch.arange(len(windows), device=windows.device) if rows is None else rows
        for turn in range(rounds):
            if len(left):
                step = self._step(windows, left, opposite=turn % 2 == 1)
                windows[left] = apply_steps(windows[left], step)
                left = left[_step_length(step) >= LAST_STEP]
        images = self._crop(windows, self._with_others(rows))
        step, face = self._aligner.predict_steps(images)
        faces = AlignedFaces(images, windows[rows], face, _step_length(step))
        return faces[: len(rows)]

    def _step(self, windows: Tensor, rows: Tensor, *, opposite: bool) -> Tensor:
        """Return the steps [M, 4] from the windows of rows [M], in the opposite orientation where that is wanted."""
        looked_at = self._with_others(rows)
        images, turned = self._crop(windows, looked_at), self._turned[looked_at] ^ opposite
        step, _ = self._aligner.predict(torch.where(turned[:, None, None, None], images.flip(-1), images))
        return torch.where(turned[:, None], _mirrored(step), step)[: len(rows)]

    def _crop(self, windows: Tensor, rows: Tensor) -> Tensor:
        return self._pyramid.crop(windows[rows], rows=rows)

    def _with_others(self, rows: Tensor) -> Tensor:
        """Return rows [M], and some others after them where they are too few to be looked at alone."""
        others = max(0, min(_LEAST_ROWS, len(self._turned)) - len(rows))
        return torch.cat([rows, torch.arange(others, device=rows.device)])


def _central_windows(half_sides: Tensor) -> Tensor:
    """Return the windows [N, 4] in the middle of canvases with half sides [N]."""
    windows = half_sides.new_zeros(len(half_sides), 4)
    windows[:, 2] = torch.log(half_sides)
    return windows


def _mirrored(step: Tensor) -> Tensor:
    """Return steps [N, 4] as they are in the mirror image."""
    return step * step.new_tensor([-1, 1, 1, -1])


def _step_length(step: Tensor) -> Tensor:
    """Return the lengths [N] of steps [N, 4] in units of 0.1."""
    lengths: Tensor = (step / step.new_tensor(_STEP_UNITS)).norm(dim=1)
    return lengths


def _step_and_face(out: Tensor) -> tuple[Tensor, Tensor]:
    """Return steps [N, 4] and the log-odds of a face [N] of outputs of the network [N, 5]."""
    return out[:, :4] * out.new_tensor(_STEP_UNITS), out[:, 4]


def canvas_extent(height: int, width: int, side: int = CANVAS_SIDE) -> tuple[float, float, float, float]:
    """Return where `lay_on_canvas` places a photograph of this size.

    Returns
    -------
    tuple of 4 floats
        Centre (x, y), half width and half height in coordinates of the canvas, [-1, 1] edge to edge. What the canvas
        does not show extends beyond it, in the same proportion.
    """
    longest = max(1, round(min(height, width) * MAX_ASPECT))
    top, left = max(0, (height - longest) // 2), max(0, (width - longest) // 2)
    rows, columns = min(height, longest), min(width, longest)
    scale = side / max(rows, columns)
    small_rows, small_columns = max(1, round(rows * scale)), max(1, round(columns * scale))
    y = 2 * ((side - small_rows) // 2 + (height / 2 - top) * small_rows / rows) / side - 1
    x = 2 * ((side - small_columns) // 2 + (width / 2 - left) * small_columns / columns) / side - 1
    return x, y, small_columns / columns * width / side, small_rows / rows * height / side


def lay_on_canvases(photographs: Sequence[Rgb]) -> tuple[Tensor, Tensor]:
    """Return canvases [N, 3, C, C] in [-1, 1] and half shorter sides [N] of photographs, for `Aligner.align`."""
    return stack_canvases([lay_on_canvas(photograph) for photograph in photographs])


def stack_canvases(canvases: Sequence[tuple[Rgb, float]]) -> tuple[Tensor, Tensor]:
    """Return results of `lay_on_canvas` as `lay_on_canvases` does."""
    images = as_tensor(np.stack([canvas for canvas, _ in canvases]))
    return images, torch.tensor([shorter for _, shorter in canvases], dtype=torch.float32)


def lay_on_canvas(photograph: Rgb, side: int = CANVAS_SIDE) -> tuple[Rgb, float]:
    """Resize a photograph onto a square canvas; the border is repeated where it does not reach.

    Parameters
    ----------
    photograph : uint8 [H, W, 3]
    side
        Side of the canvas in pixels.

    Returns
    -------
    uint8 [side, side, 3]
    float
        Half of the photograph's shorter side, in half sides of the canvas.
    """
    height, width = photograph.shape[:2]
    longest = max(1, round(min(height, width) * MAX_ASPECT))
    top, left = max(0, (height - longest) // 2), max(0, (width - longest) // 2)
    photograph = photograph[top : top + longest, left : left + longest]
    height, width = photograph.shape[:2]
    scale = side / max(height, width)
    small = _resized(photograph, scale)
    down, across = side - small.shape[0], side - small.shape[1]
    padding = ((down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0))
    return np.pad(small, padding, mode="edge"), min(small.shape[:2]) / side


def _resized(photograph: Rgb, scale: float) -> Rgb:
    """Return a photograph of `scale` times the size: averaged where that is at most half, else interpolated; fast."""
    import cv2  # only here, since it takes a tenth of a second

    height, width = (max(1, round(pixels * scale)) for pixels in photograph.shape[:2])
    way = cv2.INTER_AREA if scale <= 0.5 else cv2.INTER_LINEAR_EXACT
    return np.asarray(cv2.resize(photograph, (width, height), interpolation=way), np.uint8)


def train_alignment(
    faces: Tensor,
    *,
    steps: int = 1500,
    batch_size: int = 64,
    seed: int = 0,
    device: str | torch.device = "cpu",
    jitter: Jitter = photometric_jitter,
    progress: Callable[[int, int, float], None] | None = None,
) -> Aligner:
    """Train an alignment on images of a generator; a few minutes on a CPU.

    Parameters
    ----------
    faces : uint8 [N, 3, S, S]
        Samples of the generator, a few thousand; their framing is the one to which faces are aligned.
    steps, batch_size
        Length of the training, and images of a step.
    seed
        Seed of the training data and of the initial weights.
    device
        Device to train on.
    jitter : callable
        Photometric change of the training images.
    progress : callable (steps done, steps, loss), optional

    Returns
    -------
    Aligner
        On the CPU.
    """

    def batch_loss(net: CropNetwork, rng: torch.Generator) -> Tensor:
        rows = torch.randint(0, len(faces), (batch_size,), generator=rng)
        batch = alignment_batch(resize_tensor(normalize_pixels(faces[rows]), CROP_SIDE), rng, jitter=jitter)
        predicted, log_odds = _step_and_face(net(batch.images.to(device)))
        face, expected = batch.face.to(device), batch.steps.to(device)
        units = predicted.new_tensor(_STEP_UNITS)
        error = F.smooth_l1_loss(predicted / units, expected / units, reduction="none", beta=0.3)
        return (error.mean(1) * face).mean() + F.binary_cross_entropy_with_logits(log_odds, face)

    return Aligner(
        train_crop_network(ALIGNMENT_OUTPUTS, batch_loss, steps=steps, seed=seed, device=device, progress=progress)
    )
