"""Linear regression of light and view on the latent, refitted while the network trains.

The fit also gives the neutral latent of a face: the nearest one at which the fitted view is frontal and the fitted
light is that of the mean latent (docs/method.md, sections 2 and 5). One face is then known under two views and lights.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from faceaug.latents.regression import StreamingRegression
from faceaug.reconstruction.factors import LIGHT_NAMES, VIEW_NAMES, FaceFactors
from faceaug.utils.typing import Floats

LIGHT_VIEW_NAMES = (*LIGHT_NAMES, *VIEW_NAMES)
SMOOTHING = 0.5
"""Weight of the newest fit in the exponential smoothing of fits."""
RIDGE = 1e-3
"""Ridge penalty on the slopes, per sample."""
_ANGLES = slice(len(LIGHT_NAMES), len(LIGHT_NAMES) + 3)  # pitch, yaw, roll


class LatentRegressor(nn.Module):
    """The current fit, and the samples collected for the next one; both are part of a checkpoint.

    Parameters
    ----------
    width
        White coordinates K.
    samples
        Number of samples of a fit.
    """

    slopes: Tensor
    offset: Tensor
    fits: Tensor
    collected: Tensor
    u: Tensor
    values: Tensor

    def __init__(self, width: int, samples: int) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.zeros(len(LIGHT_VIEW_NAMES), width, dtype=torch.float64))
        self.register_buffer("offset", torch.zeros(len(LIGHT_VIEW_NAMES), dtype=torch.float64))
        self.register_buffer("fits", torch.zeros((), dtype=torch.int64))
        self.register_buffer("collected", torch.zeros((), dtype=torch.int64))
        self.register_buffer("u", torch.zeros(samples, width))
        self.register_buffer("values", torch.zeros(samples, len(LIGHT_VIEW_NAMES)))

    @property
    def ready(self) -> bool:
        """Whether there is a fit."""
        return bool(self.fits.item())

    def update(self, u: Tensor, factors: FaceFactors) -> Floats | None:
        """Collect samples, and refit once there are enough.

        Parameters
        ----------
        u : float32 [N, K]
            White coordinates of the latents.
        factors : FaceFactors
            Of their images.

        Returns
        -------
        float64 [10] or None
            R² of the previous fit on the new samples, which it has not seen, in the order of `LIGHT_VIEW_NAMES`. None
            without a refit or without a previous fit.
        """
        start = int(self.collected)
        n = min(len(u), len(self.u) - start)
        self.u[start : start + n] = u[:n].detach().cpu()
        self.values[start : start + n] = torch.cat([factors.light, factors.view], 1)[:n].detach().cpu()
        self.collected += n
        if int(self.collected) < len(self.u):
            return None
        self.collected.zero_()
        return self.fit(self.u, self.values)

    def fit(self, u: Tensor, values: Tensor) -> Floats | None:
        """Fit values [N, 10] on u [N, K] and smooth with the previous fits; return R² as `update` does."""
        r2 = None
        if self.ready:
            error = values.double() - self.predict(u.double())
            r2 = 1 - (error.square().mean(0) / values.double().var(0, correction=0).clamp(min=1e-12)).numpy()
        regression = StreamingRegression(u.shape[1], len(LIGHT_VIEW_NAMES), ridge=RIDGE * len(u))
        regression.update(u, values)
        solution = regression.solve()
        slopes = torch.from_numpy(solution.B)
        offset = torch.from_numpy(solution.c - solution.B @ solution.w_mean)  # at u = 0
        weight = SMOOTHING if self.ready else 1.0
        self.slopes.lerp_(slopes, weight)
        self.offset.lerp_(offset, weight)
        self.fits += 1
        return r2

    def predict(self, u: Tensor) -> Tensor:
        """Return light and view, float64 [N, 10], of u [N, K]."""
        return self.offset + u.double() @ self.slopes.T

    def neutral_values(self) -> Tensor:
        """Return the neutral light and view, float64 [10]: angles 0, all others as at the mean latent."""
        values = self.offset.clone()
        values[_ANGLES] = 0
        return values

    def neutralize(self, u: Tensor) -> Tensor:
        """Return for each u [N, K] the nearest white coordinates [N, K] with the neutral light and view."""
        scale = self.slopes.norm(dim=1).clamp(min=1e-9)  # so that units have no influence
        rows = (self.slopes / scale[:, None]).numpy()
        change = ((self.neutral_values() - self.predict(u.cpu())) / scale).numpy()
        step = torch.from_numpy(change @ np.linalg.pinv(rows, rcond=0.05).T)
        return (u.cpu().double() + step).to(u)
