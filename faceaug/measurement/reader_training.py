"""Training of the reader on faces of a generator that were turned and relit by known angles; no labels are used.

The reconstruction reads a face well that looks nearly straight ahead. The warp that re-renders photographs turns it by
a known angle, however far. So the reader learns far turns, which the generator hardly shows and the reconstruction
reads as smaller than they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.appearance.augmentations import photometric_jitter
from faceaug.measurement.alignment import Aligner
from faceaug.measurement.alignment_data import Jitter, crop_with_surroundings
from faceaug.measurement.crop_network import CropNetwork, frozen, train_crop_network
from faceaug.measurement.crops import CROP_SIDE
from faceaug.measurement.reader import MIRROR_SIGN, FactorReader
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.networks import Reconstructor, mirror_averaged_factors
from faceaug.reconstruction.semantics import ESTIMATOR_BATCH_SIZE, FACTOR_NAMES, semantics_of
from faceaug.reconstruction.warp import apply_warp, compute_warp, turn_light
from faceaug.utils.tensors import normalize_pixels, quantize_pixels, resize_tensor

MAX_TURN = (22.0, 42.0, 12.0)
"""Largest turn in pitch, yaw and roll, in degrees; farther, the warp squeezes half of the face beyond recognition."""
MAX_RELIGHT = 30.0
"""Largest turn of the light, in degrees."""
FRONTAL = 10.0
"""Largest yaw, in degrees, of a face that is turned: up to it the reconstruction reads yaw at its scale."""
_MAX_UNKNOWN = 0.35  # share of the face that is uncovered or folded beyond which a turned face is left out
_FRAME_SPREAD = (0.04, 0.04, 0.05, 0.0)  # of the windows in which turned faces are seen: what alignments leave
_YAW, _ROLL = FACTOR_NAMES.index("yaw"), FACTOR_NAMES.index("roll")


@dataclass(frozen=True, eq=False)
class TurnedFaces:
    """Faces whose view and light are known.

    Attributes
    ----------
    images : uint8 [N, 3, 64, 64]
        Framed by an alignment.
    values : float32 [N, 6]
        In the order and the units of `FACTOR_NAMES`.
    """

    images: Tensor
    values: Tensor


def turn_faces(
    faces: Tensor,
    network: Reconstructor,
    aligner: Aligner,
    count: int,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> TurnedFaces:
    """Turn and relight faces of a generator.

    Parameters
    ----------
    faces : uint8 [M, 3, S, S]
        Samples of the generator; those that do not look straight ahead are left out.
    network : Reconstructor
        What estimates their depth, and the view and light from which they are turned.
    aligner : Aligner
        Frames the turned faces anew, as it frames those of photographs.
    count : int
        Faces to turn, in order, from the first again where there are fewer.
    seed : int
    progress : callable (faces done, faces), optional

    Returns
    -------
    TurnedFaces
        Fewer than `count`: also left out are those that cannot be framed, or of which too much is uncovered.
    """
    rng = torch.Generator().manual_seed(seed)
    turned = []
    for start in range(0, count, ESTIMATOR_BATCH_SIZE):
        rows = torch.arange(start, min(start + ESTIMATOR_BATCH_SIZE, count)) % len(faces)
        turned.append(_turn(resize_tensor(normalize_pixels(faces[rows]), CROP_SIDE), network, aligner, rng))
        if progress:
            progress(min(start + ESTIMATOR_BATCH_SIZE, count), count)
    return TurnedFaces(*(torch.cat([getattr(batch, name) for batch in turned]) for name in ("images", "values")))


def _turn(faces: Tensor, network: Reconstructor, aligner: Aligner, rng: torch.Generator) -> TurnedFaces:
    """Turn faces [N, 3, 64, 64] in [-1, 1] once."""
    factors = mirror_averaged_factors(network, faces.to(aligner.device)).map(Tensor.cpu)
    frontal = semantics_of(factors)[:, _YAW].abs() <= FRONTAL
    faces, factors = faces[frontal], factors[frontal]
    n, view, light = len(faces), factors.view.clone(), factors.light.clone()
    if not n:
        return TurnedFaces(
            torch.empty(0, 3, CROP_SIDE, CROP_SIDE, dtype=torch.uint8), torch.empty(0, len(FACTOR_NAMES))
        )
    view[:, :3] += (torch.rand(n, 3, generator=rng) * 2 - 1) * torch.deg2rad(torch.tensor(MAX_TURN))
    relit = (torch.rand(n, 2, generator=rng) * 2 - 1) * math.radians(MAX_RELIGHT)
    relit = relit * (torch.rand(n, 1, generator=rng) < 0.5)
    light[:, 2:] = turn_light(light[:, 2:], relit)
    warp = compute_warp(factors, view, light)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(n, -1)
    windows = torch.zeros(n, 4)
    framed = aligner.refine(apply_warp(faces, warp, whole, windows), windows)
    values = semantics_of(FaceFactors(factors.depth, factors.albedo, light, view))
    values[:, _ROLL] -= torch.rad2deg(framed.windows[:, 3].cpu())  # what the new frame has turned back
    usable = (warp.holes <= _MAX_UNKNOWN) & (warp.folds <= _MAX_UNKNOWN) & (framed.face.cpu() > 0)
    return TurnedFaces(quantize_pixels(framed.images.cpu()[usable]), values[usable])


def train_reader(
    faces: TurnedFaces,
    *,
    steps: int = 4000,
    batch_size: int = 64,
    seed: int = 0,
    device: str | torch.device = "cpu",
    jitter: Jitter = photometric_jitter,
    progress: Callable[[int, int, float], None] | None = None,
) -> FactorReader:
    """Train a reader; a few minutes on a CPU.

    Parameters
    ----------
    faces : TurnedFaces
    steps, batch_size
        Length of the training, and images of a step.
    seed
        Seed of the training and of the initial weights.
    device
        Device to train on.
    jitter : callable
        Photometric change of the training images.
    progress : callable (steps done, steps, loss), optional

    Returns
    -------
    FactorReader
        On the CPU.
    """
    centre, scale = faces.values.mean(0), faces.values.std(0).clamp(min=1e-6)
    sign = torch.from_numpy(MIRROR_SIGN).float()

    def batch_loss(net: CropNetwork, rng: torch.Generator) -> Tensor:
        rows = torch.randint(0, len(faces.images), (batch_size,), generator=rng)
        mirrored = torch.rand(batch_size, generator=rng) < 0.5
        images, values = normalize_pixels(faces.images[rows]), faces.values[rows]
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        values = torch.where(mirrored[:, None], values * sign, values)
        windows = torch.randn(batch_size, 4, generator=rng) * torch.tensor(_FRAME_SPREAD)
        images = jitter(crop_with_surroundings(images, windows, rng, CROP_SIDE), rng)
        expected = ((values - centre) / scale).to(device)
        return F.smooth_l1_loss(net(images.to(device)), expected, beta=0.3)

    network = train_crop_network(
        len(FACTOR_NAMES), batch_loss, steps=steps, seed=seed, device=device, progress=progress
    )
    return FactorReader(frozen(network), centre, scale)
