"""Where in a photograph the face is, so that it can be cut as the generator frames its faces.

The reconstruction reads faces in the framing in which the generator draws them, and photographs come in any other. A
small network looks at a square cut from a picture and says how the square must be moved, enlarged and turned until it
frames the face as generated ones are framed, and whether a face is there at all; a few rounds of cutting and looking
again bring the window home. No landmarks and no labels: the network learns from generated pictures that were shifted,
scaled and turned on purpose, and from pictures without a face that were made of them by scrambling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceaug.classifiers.networks import ResidualBlock
from faceaug.errors import IntegrityError
from faceaug.measurement.alignment_data import alignment_batch
from faceaug.measurement.crops import CROP_SIDE, cut, stepped
from faceaug.utils.images import Rgb, resize
from faceaug.utils.tensors import at_side

CANVAS_SIDE = 192
"""Pixels of the canvas on which a photograph is laid: enough for a face that takes a third of it."""
WIDEST = 2.0
"""Proportions beyond which a photograph is cut in its middle."""
ROUNDS = 3
STARTS = (1.5, 1.05, 0.75)
"""Half sides of the windows from which the search begins, in those of the photograph's shorter side."""
_COUNTER = "num_batches_tracked"  # of use while training only
_UNITS = (0.1, 0.1, 0.1, 0.1)  # of the network's outputs: shift in half windows, log of scale, radians


class AlignmentNet(nn.Module):
    """Pictures [N, 3, 64, 64] in [-1, 1] into steps [N, 4] and the log-odds of a face [N]; 0.4 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 24, 5, 2, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True),
            ResidualBlock(24, 48, 2), ResidualBlock(48, 80, 2), ResidualBlock(80, 96, 2),
        )  # fmt: skip
        # Not pooled: where a feature is, is the question.
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(96 * (CROP_SIDE // 16) ** 2, 64), nn.ReLU(), nn.Linear(64, 5))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.head(self.trunk(x))
        return out[:, :4] * out.new_tensor(_UNITS), out[:, 4]


@dataclass(frozen=True, eq=False)
class AlignedFaces:
    """Faces that were brought into the generator's framing.

    Attributes
    ----------
    images : Tensor [N, 3, 64, 64] in [-1, 1]
        Cut from the canvases.
    windows : Tensor [N, 4]
        Where, on the canvas; the angle is how far the face was turned clockwise against these pictures.
    face : Tensor [N]
        Log-odds that there is a face.
    residual_step : Tensor [N]
        Length of the step that the network would take next, in `_UNITS`: large where it never came to rest.
    """

    images: Tensor
    windows: Tensor
    face: Tensor
    residual_step: Tensor


class Aligner:
    """A trained network and the search that it guides; see `train_alignment`."""

    def __init__(self, net: AlignmentNet) -> None:
        self.net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        found: torch.device = next(self.net.parameters()).device
        return found

    def to(self, device: str | torch.device) -> Aligner:
        """Move the weights and return the aligner itself."""
        self.net.to(device)
        return self

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return step [N, 4] and log-odds of a face [N], the mean over pictures [N, 3, 64, 64] and their mirrors."""
        with torch.no_grad():
            (step, face), (other, again) = (
                self.net(part.contiguous(memory_format=torch.channels_last)) for part in (x, x.flip(-1))
            )
        return (step + other * other.new_tensor([-1, 1, 1, -1])) / 2, (face + again) / 2

    def align(self, canvases: Tensor, shorter: Tensor, rounds: int = ROUNDS) -> AlignedFaces:
        """Find the faces.

        Parameters
        ----------
        canvases : Tensor [N, 3, C, C] in [-1, 1]
        shorter : Tensor [N]
            Half of the photograph's shorter side, in halves of the canvas.
        rounds
            Steps after the best start was chosen.
        """
        canvases, shorter = canvases.to(self.device), shorter.to(self.device)
        best, score = canvases.new_zeros(len(canvases), 4), canvases.new_full((len(canvases),), -math.inf)
        for start in STARTS:
            begun = torch.zeros_like(best)
            begun[:, 2] = torch.log(shorter * start)
            moved = stepped(begun, self.look(cut(canvases, begun))[0])
            _, face = self.look(cut(canvases, moved))
            best = torch.where((face > score)[:, None], moved, best)
            score = torch.maximum(face, score)
        for _ in range(rounds):
            best = stepped(best, self.look(cut(canvases, best))[0])
        return self._at(canvases, best)

    def framed(self, canvases: Tensor, shorter: Tensor) -> AlignedFaces:
        """Take the square of the shorter side as it is: for pictures that are framed like the generator's."""
        canvases, shorter = canvases.to(self.device), shorter.to(self.device)
        windows = canvases.new_zeros(len(canvases), 4)
        windows[:, 2] = torch.log(shorter)
        return self._at(canvases, windows)

    def _at(self, canvases: Tensor, windows: Tensor) -> AlignedFaces:
        images = cut(canvases, windows)
        step, face = self.look(images)
        return AlignedFaces(images, windows, face, (step / step.new_tensor(_UNITS)).norm(dim=1))

    def state(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        found = self.net.state_dict()
        return {name: found[name].cpu().contiguous() for name in found if not name.endswith(_COUNTER)}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Aligner:
        """Return the aligner whose weights `state` returned; IntegrityError when they are not its own."""
        net = AlignmentNet()
        counters = {name: value for name, value in net.state_dict().items() if name.endswith(_COUNTER)}
        try:
            net.load_state_dict({**state, **counters})
        except (RuntimeError, TypeError, AttributeError) as error:
            why = " ".join(str(error).split())[:200]
            raise IntegrityError(f"the weights of the alignment do not fit ({why}): get the file again") from error
        if not all(torch.isfinite(value).all() for value in state.values()):
            raise IntegrityError("the weights of the alignment hold numbers that are not finite: get the file again")
        return cls(net)


def canvas_extent(height: int, width: int, side: int = CANVAS_SIDE) -> tuple[float, float, float, float]:
    """Return where `lay_on_canvas` lays a photograph of this size: centre (x, y) and half width and height, [-1, 1]."""
    most = max(1, round(min(height, width) * WIDEST))
    top, left = max(0, (height - most) // 2), max(0, (width - most) // 2)
    rows, columns = min(height, most), min(width, most)
    scale = side / max(rows, columns)
    high, wide = max(1, round(rows * scale)), max(1, round(columns * scale))
    # What was cut off lies beyond the canvas, in the same proportion.
    y = 2 * ((side - high) // 2 + (height / 2 - top) * high / rows) / side - 1
    x = 2 * ((side - wide) // 2 + (width / 2 - left) * wide / columns) / side - 1
    return x, y, wide / columns * width / side, high / rows * height / side


def lay_on_canvases(photographs: Sequence[Rgb]) -> tuple[Tensor, Tensor]:
    """Lay photographs on canvases, as `align` takes them: [N, 3, C, C] in [-1, 1], half of their shorter sides [N]."""
    return stack_canvases([lay_on_canvas(photograph) for photograph in photographs])


def stack_canvases(laid: Sequence[tuple[Rgb, float]]) -> tuple[Tensor, Tensor]:
    """Return what `lay_on_canvas` returned of several photographs as `lay_on_canvases` would."""
    canvases = torch.from_numpy(np.stack([canvas for canvas, _ in laid])).permute(0, 3, 1, 2).float() / 127.5 - 1
    return canvases, torch.tensor([share for _, share in laid], dtype=torch.float32)


def lay_on_canvas(photograph: Rgb, side: int = CANVAS_SIDE) -> tuple[Rgb, float]:
    """Lay a photograph on a square canvas; what it does not cover repeats its border.

    Parameters
    ----------
    photograph : uint8 [H, W, 3]

    Returns
    -------
    uint8 [side, side, 3]
    float
        Half of its shorter side, in halves of the canvas.
    """
    height, width = photograph.shape[:2]
    most = max(1, round(min(height, width) * WIDEST))
    top, left = max(0, (height - most) // 2), max(0, (width - most) // 2)
    photograph = photograph[top : top + most, left : left + most]
    height, width = photograph.shape[:2]
    scale = side / max(height, width)
    small = resize(photograph, (max(1, round(height * scale)), max(1, round(width * scale))))
    up, across = side - small.shape[0], side - small.shape[1]
    padded = np.pad(small, ((up // 2, up - up // 2), (across // 2, across - across // 2), (0, 0)), mode="edge")
    return padded, min(small.shape[:2]) / side


def train_alignment(
    faces: Tensor,
    *,
    steps: int = 1500,
    batch: int = 64,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int, float], None] | None = None,
) -> Aligner:
    """Train an alignment on a generator's pictures alone; a few minutes on a CPU.

    Parameters
    ----------
    faces : uint8 [N, 3, S, S]
        Draws that the lessons are made of, a few thousand; their framing is what faces are brought into.
    steps, batch
        Length of the training, and pictures a step.
    seed
        Of the lessons and the first weights.
    progress : callable (steps done, steps, loss), optional

    Returns
    -------
    Aligner
        On the CPU.
    """
    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = AlignmentNet().to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    adam = torch.optim.AdamW(net.parameters(), weight_decay=0.02)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, 4e-3, total_steps=steps, pct_start=0.15)
    for step in range(steps):
        chosen = faces[torch.randint(0, len(faces), (batch,), generator=rng)]
        taught = alignment_batch(at_side(chosen.float() / 127.5 - 1, CROP_SIDE), rng)
        way, face = net(taught.images.to(device).contiguous(memory_format=torch.channels_last))
        there, home = taught.face.to(device), taught.steps.to(device)
        off = F.smooth_l1_loss(way / way.new_tensor(_UNITS), home / home.new_tensor(_UNITS), reduction="none", beta=0.3)
        loss = (off.mean(1) * there).mean() + F.binary_cross_entropy_with_logits(face, there)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        rate.step()
        if progress:
            progress(step + 1, steps, float(loss.detach()))
    return Aligner(net.cpu())
