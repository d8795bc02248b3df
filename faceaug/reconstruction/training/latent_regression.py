"""Light and view as straight lines on the latent, fitted again and again while the network learns.

What the fit says of a latent also tells how to neutralise it: move it by the least that makes the face frontal and its
light the usual one (method.md, sections 2 and 5). One face is then seen twice, under two views and lights.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from faceaug.latents.regression import StreamingRegression
from faceaug.reconstruction.factors import LIGHT_NAMES, VIEW_NAMES, FaceFactors
from faceaug.utils.typing import Floats

LIGHT_VIEW_NAMES = (*LIGHT_NAMES, *VIEW_NAMES)
_TURNS = slice(len(LIGHT_NAMES), len(LIGHT_NAMES) + 3)  # pitch, yaw, roll
SHARE = 0.5
"""Share of the newest fit in the one that is used."""
RIDGE = 1e-3
"""Share of the samples by which slopes are drawn toward 0."""


class LatentRegressor(nn.Module):
    """The fit, and the latest samples that wait for the next one; part of a run's checkpoint.

    Parameters
    ----------
    width
        White coordinates K.
    samples
        How many samples make a fit.
    """

    slopes: Tensor
    offset: Tensor
    made: Tensor
    held: Tensor
    u: Tensor
    values: Tensor

    def __init__(self, width: int, samples: int) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.zeros(len(LIGHT_VIEW_NAMES), width, dtype=torch.float64))
        self.register_buffer("offset", torch.zeros(len(LIGHT_VIEW_NAMES), dtype=torch.float64))
        self.register_buffer("made", torch.zeros((), dtype=torch.int64))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))
        self.register_buffer("u", torch.zeros(samples, width))
        self.register_buffer("values", torch.zeros(samples, len(LIGHT_VIEW_NAMES)))

    @property
    def ready(self) -> bool:
        """Whether there has been a fit."""
        return bool(self.made.item())

    def take(self, u: Tensor, reading: FaceFactors) -> Floats | None:
        """Keep samples; once there are enough, fit, and return the share of their variance told before, [10].

        The fit before had not seen these samples, so that is R² on held-out ones. None when there was no fit now, or
        none before.
        """
        start = int(self.held)
        n = min(len(u), len(self.u) - start)
        self.u[start : start + n] = u[:n].detach().cpu()
        self.values[start : start + n] = torch.cat([reading.light, reading.view], 1)[:n].detach().cpu()
        self.held += n
        if int(self.held) < len(self.u):
            return None
        self.held.zero_()
        return self.fit(self.u, self.values)

    def fit(self, u: Tensor, values: Tensor) -> Floats | None:
        """Fit values [N, 10] on u [N, K], smoothed with the fits before; return what those told of these, or None."""
        told = None
        if self.ready:
            error = values.double() - self.predict(u.double())
            told = 1 - (error.square().mean(0) / values.double().var(0, correction=0).clamp(min=1e-12)).numpy()
        regression = StreamingRegression(u.shape[1], len(LIGHT_VIEW_NAMES), ridge=RIDGE * len(u))
        regression.update(u, values)
        found = regression.solve()
        slopes = torch.from_numpy(found.B)
        offset = torch.from_numpy(found.c - found.B @ found.w_mean)  # at u = 0
        share = SHARE if self.ready else 1.0
        self.slopes.lerp_(slopes, share)
        self.offset.lerp_(offset, share)
        self.made += 1
        return told

    def predict(self, u: Tensor) -> Tensor:
        """Return light and view [N, 10], in float64, of u [N, K]."""
        return self.offset + u.double() @ self.slopes.T

    def usual(self) -> Tensor:
        """Return the neutral light and view, float64 [10]: frontal, all else as at the mean latent."""
        usual = self.offset.clone()
        usual[_TURNS] = 0
        return usual

    def neutral(self, u: Tensor) -> Tensor:
        """Return the nearest u [N, K] of which the fit says that light and view are neutral."""
        scale = self.slopes.norm(dim=1).clamp(min=1e-9)  # so that units do not matter
        rows = (self.slopes / scale[:, None]).numpy()
        ask = ((self.usual() - self.predict(u.cpu())) / scale).numpy()
        moved = torch.from_numpy(ask @ np.linalg.pinv(rows, rcond=0.05).T)
        return (u.cpu().double() + moved).to(u)
