"""Is it one whole face? A network that tells sound faces from melted ones, without any label.

Far out in its latent space a generator melts faces: eyes run, two faces overlap, a cheek dissolves. The network learns
the difference from pictures whose state is known by construction: sound are the dataset's faces and moderate draws of
the generator; unsound are draws from far beyond the generator's range, and faces warped or blended on purpose.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from faceaug.classifiers.calibration import calibrate
from faceaug.classifiers.classifier import Classifier, ClassifierSchedule, Task, new_net, train_net
from faceaug.utils.tensors import as_tensor

TASK = Task("face", "classes", ("melted", "sound"))
MODERATE, FAR = 0.7, 1.7  # truncation of the sound draws, and how far beyond the generator's range the others lie


def steps_for(n: int) -> int:
    """Return the steps of training for a dataset of n pictures."""
    return int(np.clip(8 * n // 64, 120, 500))


def train_face_quality(
    real: NDArray[np.uint8],
    moderate: NDArray[np.uint8],
    far: NDArray[np.uint8],
    seed: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Classifier:
    """Train the network.

    Parameters
    ----------
    real : uint8 [N, 64, 64, 3]
        Faces of the dataset.
    moderate, far : uint8 [M, 64, 64, 3]
        Draws at `MODERATE` and at `FAR` times the distance from the mean, in the dataset's framing and colour.

    Returns
    -------
    Classifier
        Its second reading, `face=sound`, is the log-odds of a sound face.
    """
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(seed + 0x534F)
    rows = np.linspace(0, len(real) - 1, min(len(real), len(moderate))).astype(int)  # spread: a dataset may be sorted
    sound = as_tensor(np.concatenate([real[rows], moderate]))
    order = torch.randperm(len(sound), generator=rng)
    half = len(sound) // 2
    spoilt = torch.cat([warped(sound[order[:half]], rng), blended(sound[order[half:]], rng)])
    pictures = torch.cat([sound, spoilt, as_tensor(far)])
    labels = torch.cat([torch.ones(len(sound)), torch.zeros(len(spoilt) + len(far))]).double()
    shuffle = torch.randperm(len(pictures), generator=rng)
    images = ((pictures[shuffle] + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    known = labels[shuffle].numpy()
    tenth, schedule = max(1, len(images) // 10), ClassifierSchedule(steps=steps_for(len(real)))
    net = new_net("plain", [TASK], seed + 2)
    told = (lambda step, loss: progress(step, schedule.steps)) if progress else None
    train_net(net, [TASK], images[tenth:], [known[tenth:]], schedule, seed + 2, device, told)
    return calibrate(net.to("cpu"), "plain", [TASK], [known[tenth:]], images[:tenth], [known[:tenth]], schedule)


def warped(x: Tensor, rng: torch.Generator) -> Tensor:
    """Return pictures [N, 3, S, S] bent by a smooth random displacement of several pixels."""
    strength = 0.08 + 0.14 * torch.rand(len(x), 1, 1, 1, generator=rng)
    coarse = torch.randn(len(x), 2, 6, 6, generator=rng) * strength
    bend = F.interpolate(coarse, size=x.shape[-2:], mode="bicubic", align_corners=False).permute(0, 2, 3, 1)
    straight = F.affine_grid(torch.eye(2, 3).expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, straight + bend, padding_mode="reflection", align_corners=False).clamp(-1, 1)


def blended(x: Tensor, rng: torch.Generator) -> Tensor:
    """Return pictures [N, 3, S, S] that run into one another under a smooth random mask."""
    other = torch.roll(x.flip(3) if x.shape[0] < 2 else torch.roll(x, 1, 0), 6, 2)
    mask = F.interpolate(
        torch.randn(len(x), 1, 5, 5, generator=rng) * 2, size=x.shape[-2:], mode="bicubic", align_corners=False
    )
    share = 0.25 + 0.5 * torch.sigmoid(mask)  # everywhere some of both: a ghost, not a collage
    return x * (1 - share) + other * share
