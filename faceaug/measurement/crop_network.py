"""The small network that looks at crops of photographs: it frames faces (`alignment`) and reads them (`reader`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from faceaug.classifiers.networks import ResidualBlock
from faceaug.errors import IntegrityError
from faceaug.measurement.crops import CROP_SIDE

_COUNTER = "num_batches_tracked"  # of batch normalization; used in training only


class CropNetwork(nn.Module):
    """From images [N, 3, 64, 64] in [-1, 1] to numbers [N, outputs]; 0.4 million parameters.

    Parameters
    ----------
    outputs : int
    """

    side = CROP_SIDE

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 24, 5, 2, 2, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(inplace=True),
            ResidualBlock(24, 48, 2),
            ResidualBlock(48, 80, 2),
            ResidualBlock(80, 96, 2),
        )
        # Features are not pooled, as what is asked of them depends on their position.
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(96 * (CROP_SIDE // 16) ** 2, 64), nn.ReLU(), nn.Linear(64, outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.trunk(x.contiguous(memory_format=torch.channels_last)))
        return out


def train_crop_network(
    outputs: int,
    batch_loss: Callable[[CropNetwork, torch.Generator], Tensor],
    *,
    steps: int,
    seed: int,
    device: str | torch.device,
    progress: Callable[[int, int, float], None] | None,
) -> CropNetwork:
    """Train a network of so many outputs.

    Parameters
    ----------
    outputs : int
    batch_loss : callable
        From the network and the source of randomness to the loss of a new batch.
    steps : int
    seed : int
        Seed of that source and of the initial weights.
    device
        Device to train on.
    progress : callable (steps done, steps, loss), optional

    Returns
    -------
    CropNetwork
        On the CPU.
    """
    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = CropNetwork(outputs).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    adam = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(adam, 4e-3, total_steps=steps, pct_start=0.15)
    for step in range(steps):
        loss = batch_loss(network, rng)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        scheduler.step()
        if progress:
            progress(step + 1, steps, float(loss.detach()))
    trained: CropNetwork = network.cpu()
    return trained


def frozen(network: CropNetwork) -> CropNetwork:
    """Return the network for reading only, with channels last in memory, the faster layout on a CPU."""
    network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def state_of(network: CropNetwork) -> dict[str, Tensor]:
    """Return the weights by name, on the CPU."""
    weights = network.state_dict()
    return {name: weights[name].cpu().contiguous() for name in weights if not name.endswith(_COUNTER)}


def load_state(network: CropNetwork, state: Mapping[str, Tensor], what: str) -> CropNetwork:
    """Return the network, frozen, with the weights of `state_of`.

    Parameters
    ----------
    network : CropNetwork
    state : mapping of str to Tensor
    what : str
        Whose weights they are, for error messages.

    Raises
    ------
    IntegrityError
        When they do not fit or are not finite.
    """
    counters = {name: value for name, value in network.state_dict().items() if name.endswith(_COUNTER)}
    try:
        network.load_state_dict({**state, **counters})
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise IntegrityError(f"the weights of {what} do not fit ({reason}): get the file again") from error
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise IntegrityError(f"the weights of {what} hold numbers that are not finite: get the file again")
    return frozen(network)
