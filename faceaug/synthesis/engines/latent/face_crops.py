"""Photographs of a data set, cropped for inversion: found, straightened, and framed as generated faces are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from faceaug.appearance.framing import Framing, apply_framing
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.thumbnails import thumbnail
from faceaug.errors import FaceaugError
from faceaug.inversion.encoder import ENCODER_SIDE
from faceaug.measurement.alignment import CANVAS_SIDE, lay_on_canvases
from faceaug.measurement.estimator import FaceEstimator
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.utils.images import Rgb, decode
from faceaug.utils.tensors import as_tensor
from faceaug.utils.typing import Floats

CROP_BATCH = 8
"""Photographs that are measured together; the last batch is filled with grey ones, so that its size is fixed."""
UNREADABLE, FACELESS = "source readable", "face found in the source"


@dataclass(frozen=True, eq=False)
class FaceCrops:
    """N photographs, ready to be inverted.

    Attributes
    ----------
    images : Tensor [N, 3, 64, 64] in [-1, 1]
        Framed as a run frames generated images; grey where `refused` says why there is nothing.
    sha256 : tuple of 32 bytes, length N
    refused : tuple of str, length N
        Why a photograph cannot be used, or an empty text.
    measured : float64 [N, 6]
        View and light where they were measured, else NaN.
    """

    images: Tensor
    sha256: tuple[bytes, ...]
    refused: tuple[str, ...]
    measured: Floats


@dataclass(frozen=True, eq=False)
class FaceCropper:
    """Crops the photographs of a data set.

    Attributes
    ----------
    dataset : FaceDataset
    framing : Framing
        The window of generated images that gives the framing of the data set.
    aspect : float
        Proportions of the photographs.
    instrument : FaceEstimator, optional
        Finds faces in the generator's own framing and measures them; without, photographs are taken as they are.
    aligned : bool
        The photographs are framed as generated faces are.
    """

    dataset: FaceDataset
    framing: Framing
    aspect: float
    instrument: FaceEstimator | None = None
    aligned: bool = False

    def take(self, rows: Sequence[int]) -> FaceCrops:
        """Return the photographs of these rows of the data set, cropped."""
        photographs, sha256, refused = [], [], []
        for row in rows:
            try:
                data = self.dataset.encoded(row)
                photographs.append(decode(data, name=self.dataset.keys[row], max_pixels=self.dataset.max_pixels))
                sha256.append(hashlib.sha256(data).digest())
                refused.append("")
            except (FaceaugError, OSError):
                photographs.append(np.zeros((ENCODER_SIDE, ENCODER_SIDE, 3), np.uint8))
                sha256.append(bytes(32))
                refused.append(UNREADABLE)
        images = torch.empty(0, 3, ENCODER_SIDE, ENCODER_SIDE)
        measured = np.full((len(rows), len(FACTOR_NAMES)), np.nan)
        if self.instrument is None:
            small = [thumbnail(photograph, self.aspect, ENCODER_SIDE) for photograph in photographs]
            images = as_tensor(np.stack(small)) if small else images
        for start in range(0, len(rows) if self.instrument else 0, CROP_BATCH):
            crops, values, reasons = self._crop(photographs[start : start + CROP_BATCH])
            images = torch.cat([images, crops])
            for k, reason in enumerate(reasons, start):
                refused[k] = refused[k] or (FACELESS if reason else "")
                measured[k] = values[k - start]
        images[torch.tensor([bool(reason) for reason in refused], dtype=torch.bool)] = 0
        return FaceCrops(images, tuple(sha256), tuple(refused), measured)

    def _crop(self, photographs: Sequence[Rgb]) -> tuple[Tensor, Floats, tuple[str, ...]]:
        """Return faces in the run's framing, what is measured on them, and why there is none in a photograph."""
        assert self.instrument is not None
        canvases, shorter = lay_on_canvases(photographs)
        n, missing = len(photographs), CROP_BATCH - len(photographs)
        canvases = torch.cat([canvases, canvases.new_zeros(missing, 3, CANVAS_SIDE, CANVAS_SIDE)])
        shorter = torch.cat([shorter, shorter.new_ones(missing)])
        read = self.instrument.read(canvases, shorter, aligned=self.aligned)
        framed = apply_framing(read.faces.images.cpu(), self.framing)
        return framed[:n], read.values[:n, : len(FACTOR_NAMES)], read.refusals[:n]
