"""Photographs of a data set as an inversion takes them: found, straightened, and cut as generated faces are shown."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from faceaug.appearance.framing import Framing, apply_framing
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import FaceaugError
from faceaug.inversion.encoder import SIDE
from faceaug.measurement.alignment import CANVAS, canvases_of
from faceaug.measurement.estimator import FaceEstimator
from faceaug.reconstruction.semantics import NAMES
from faceaug.utils.images import Rgb, decode, resize
from faceaug.utils.tensors import as_tensor, cut_to
from faceaug.utils.typing import Floats

TOGETHER = 8
"""Photographs that are looked at together, filled up with grey ones: what is seen does not depend on the company."""
UNREADABLE, FACELESS = "source readable", "face found in the source"


@dataclass(frozen=True, eq=False)
class FaceCrops:
    """N photographs, ready to be inverted.

    Attributes
    ----------
    images : Tensor [N, 3, 64, 64] in [-1, 1]
        Framed as a run shows its generator's pictures; grey where `refused` says why there is nothing.
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
    """Takes a dataset's photographs.

    Attributes
    ----------
    dataset : FaceDataset
    framing : Framing
        The window of the generator's pictures that a run shows.
    aspect : float
        Proportions of the dataset's photographs.
    instrument : FaceEstimator, optional
        Finds faces in the generator's own framing and measures them; without, photographs are taken as they are.
    aligned : bool
        They are framed as the generator's pictures are.
    """

    dataset: FaceDataset
    framing: Framing
    aspect: float
    instrument: FaceEstimator | None = None
    aligned: bool = False

    def take(self, rows: Sequence[int]) -> FaceCrops:
        """Return the photographs of these rows of the dataset."""
        photographs, stored_hashes, refused = [], [], []
        for row in rows:
            try:
                data = self.dataset.encoded(row)
                photographs.append(decode(data, name=self.dataset.keys[row], max_pixels=self.dataset.max_pixels))
                stored_hashes.append(hashlib.sha256(data).digest())
                refused.append("")
            except (FaceaugError, OSError):
                photographs.append(np.zeros((SIDE, SIDE, 3), np.uint8))
                stored_hashes.append(bytes(32))
                refused.append(UNREADABLE)
        images = torch.empty(0, 3, SIDE, SIDE)
        measured = np.full((len(rows), len(NAMES)), np.nan)
        if self.instrument is None:
            small = [resize(cut_to(photograph, self.aspect), (SIDE, SIDE)) for photograph in photographs]
            images = as_tensor(np.stack(small)) if small else images
        for start in range(0, len(rows) if self.instrument else 0, TOGETHER):
            found, values, reasons = self._found(photographs[start : start + TOGETHER])
            images = torch.cat([images, found])
            for k, why in enumerate(reasons, start):
                refused[k] = refused[k] or (FACELESS if why else "")
                measured[k] = values[k - start]
        images[torch.tensor([bool(why) for why in refused], dtype=torch.bool)] = 0
        return FaceCrops(images, tuple(stored_hashes), tuple(refused), measured)

    def _found(self, photographs: Sequence[Rgb]) -> tuple[Tensor, Floats, tuple[str, ...]]:
        """Return faces in the run's framing, what is measured on them, and why there is none."""
        assert self.instrument is not None
        canvases, shorter = canvases_of(photographs)
        n, missing = len(photographs), TOGETHER - len(photographs)
        canvases = torch.cat([canvases, canvases.new_zeros(missing, 3, CANVAS, CANVAS)])
        shorter = torch.cat([shorter, shorter.new_ones(missing)])
        read = self.instrument.read(canvases, shorter, aligned=self.aligned)
        framed = apply_framing(read.faces.images.cpu(), self.framing)
        return framed[:n], read.values[:n, : len(NAMES)], read.refusals[:n]
