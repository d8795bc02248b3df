"""A small network that guesses the latent of a picture, taught by a generator's own draws.

Photographs differ from draws in ways that no latent explains: they are cut a little otherwise, softer or sharper,
noisier, of another camera's colours. So half of the draws that it learns from are changed in these ways, and their
latents are asked for all the same. What it guesses is where the search for the latent begins.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from faceaug.appearance.augmentations import jitter
from faceaug.classifiers.networks import ResidualBlock
from faceaug.generators.base import Generator
from faceaug.generators.pool import SamplePool, sample_pool
from faceaug.latents.whitening import Whitening
from faceaug.utils.tensors import at_side

ENCODER_SIDE = 64
POOL, STEPS, BATCH = 4096, 800, 64
RATE = 2e-3
TOGETHER = 256  # draws that are looked at together
COARSE = 16  # pixels at which it is found out what of a latent shows in its picture
UNSEEN = 0.2  # weight of errors that show no more than others, beside those weighed by what shows
_COUNTER = "num_batches_tracked"  # of use while training only

View = Callable[[Tensor], Tensor]
"""Pictures [N, 3, R, R] of a generator, as the data set would show them."""


class EncoderNet(nn.Module):
    """Pictures [N, 3, 64, 64] in [-1, 1] into white latents [N, K]; about a million parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 32, 5, 2, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True),
            ResidualBlock(32, 64, 2), ResidualBlock(64, 96, 2), ResidualBlock(96, 128, 2),
        )  # fmt: skip
        # Not pooled: where a feature is tells of the view.
        hidden = nn.Linear(128 * (ENCODER_SIDE // 16) ** 2, 256)
        self.head = nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(256, width))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.trunk(x))
        return found

    def guess(self, photographs: Tensor) -> Tensor:
        """Return white latents [N, K], with no graph."""
        with torch.no_grad():
            found: Tensor = self(photographs.contiguous(memory_format=torch.channels_last))
        return found

    def state(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        found = self.state_dict()
        return {name: found[name].cpu().contiguous() for name in found if not name.endswith(_COUNTER)}

    def with_state(self, state: dict[str, Tensor]) -> EncoderNet:
        """Take the weights that `state` returned, and return the network itself; RuntimeError when they do not fit."""
        counters = {name: value for name, value in self.state_dict().items() if name.endswith(_COUNTER)}
        self.load_state_dict({**state, **counters})
        return self


def train_encoder(
    generator: Generator,
    white: Whitening,
    view: View,
    *,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> EncoderNet:
    """Teach an encoder; two or three minutes on one core for a generator of 64 pixels.

    Errors of the latent are weighed by what they change in the picture, to first order: a ridge regression of coarse
    pictures on the white latent tells how much.

    Parameters
    ----------
    generator : Generator
    white : Whitening
        Its white coordinates.
    view : callable
        What a photograph of the data set would have been drawn as.
    seed : int
        Of the draws, the changes and the first weights.
    progress : callable (steps done, steps), optional

    Returns
    -------
    EncoderNet
        On the CPU, in evaluation mode.
    """
    rng = torch.Generator().manual_seed(seed)
    pool = sample_pool(generator, max(2, min(POOL, STEPS * BATCH)), seed, ENCODER_SIDE)
    latent = white.white(pool.w)
    shown = _shown(pool, latent, view)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = EncoderNet(white.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = torch.optim.AdamW(net.parameters(), weight_decay=0.02)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=STEPS, pct_start=0.15)
    for step in range(STEPS):
        rows = torch.randint(0, len(pool), (BATCH,), generator=rng)
        pictures = view(pool.float_images(rows))
        changed = jitter(pictures, rng, mirror=False)
        pictures = torch.where((torch.rand(BATCH, generator=rng) < 0.5)[:, None, None, None], changed, pictures)
        off = net(pictures.contiguous(memory_format=torch.channels_last)) - latent[rows]
        loss = (off @ shown).square().mean() + UNSEEN * off.square().mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        rate.step()
        if progress:
            progress(step + 1, STEPS)
    evaluated: EncoderNet = net.eval().requires_grad_(False)
    return evaluated


def _shown(pool: SamplePool, latent: Tensor, view: View) -> Tensor:
    """Return a factor [K, K] of the mean square by which coarse pictures change with the white latent, 1 on average."""
    starts = range(0, len(pool), TOGETHER)
    coarse = [at_side(view(pool.float_images(slice(s, s + TOGETHER))), COARSE).flatten(1) for s in starts]
    pictures, rows = torch.cat(coarse).double(), latent.double()
    pictures, rows = pictures - pictures.mean(0), rows - rows.mean(0)
    ridge = 1e-3 * len(rows) * torch.eye(rows.shape[1], dtype=torch.float64)
    slopes = torch.linalg.solve(rows.T @ rows + ridge, rows.T @ pictures)  # [K, P]
    values, vectors = torch.linalg.eigh(slopes @ slopes.T)
    values = values.clamp(min=0)
    factor: Tensor = vectors * (values / values.mean().clamp(min=1e-12)).sqrt()
    return factor.float()
