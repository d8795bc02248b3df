"""Training in steps over batches, whatever they are: the loop knows neither model nor data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from faceaug.errors import UsageError

MIXED_SHARE = 0.7
"""Share of the steps on the balanced set that `fit_two_stage` takes unless another is given."""
_Model = TypeVar("_Model")
_Batch = TypeVar("_Batch")


class StepOptimizer(Protocol):
    """What a step needs of an optimizer; those of torch have it."""

    def zero_grad(self) -> object:
        """Forget the gradients of the last step."""
        ...

    def step(self) -> object:
        """Change the parameters by their gradients."""
        ...


def fit_steps(
    model: _Model,
    optimizer: StepOptimizer,
    loss: Callable[[_Model, _Batch], Any],
    batches: Iterable[_Batch],
    steps: int,
    after_step: Callable[[int], object] | None = None,
) -> None:
    """Take some steps: the loss of a batch, its gradients, the optimizer's change.

    Parameters
    ----------
    model
        Handed to `loss`; whether it is in training mode is the caller's concern.
    optimizer : StepOptimizer
        Of torch, for example.
    loss : callable (model, batch)
        Returns a scalar with the method `backward()`.
    batches : iterable
        Begun anew whenever it ends.
    steps : int
    after_step : callable (steps done), optional
        Called after each step, with 1 after the first: for schedules, checkpoints, progress.

    Raises
    ------
    UsageError
        When `steps` is negative, or there is no batch.
    """
    if steps < 0:
        raise UsageError(f"a training of {steps} steps was asked for; give 0 or more")
    source = _endless(batches)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss(model, next(source)).backward()
        optimizer.step()
        if after_step is not None:
            after_step(step)


def fit_two_stage(
    model: _Model,
    optimizer: StepOptimizer,
    loss: Callable[[_Model, _Batch], Any],
    real: Iterable[_Batch],
    synthetic: Iterable[_Batch],
    *,
    steps: int,
    **options: Any,
) -> None:
    """Train on a balanced set with synthetic faces first, and finish on real faces alone.

    Parameters
    ----------
    model, optimizer, loss
        See `fit_steps`.
    real : iterable of batches
        Of real faces.
    synthetic : iterable of batches
        Of synthetic faces, or better of synthetic and real ones, in the same share for every group (`GroupSampler`).
    steps : int
        Of both stages together.
    options
        `mixed_share`, the share of the steps that the first stage takes, `MIXED_SHARE` by default; and `after_step`,
        called with the number of steps done, which go on counting in the second stage.

    Raises
    ------
    UsageError
        When the share is outside of 0 to 1, an option is unknown, or there is no batch.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Linear(2, 1)
    >>> batches = [torch.ones(4, 2)]
    >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
    >>> fit_two_stage(model, optimizer, lambda net, x: net(x).pow(2).mean(), batches, batches, steps=10)
    """
    share = options.pop("mixed_share", MIXED_SHARE)
    after_step = options.pop("after_step", None)
    if options:
        raise UsageError(f"fit_two_stage has no option {next(iter(options))!r}; there are mixed_share and after_step")
    if not 0 <= share <= 1:
        raise UsageError(f"mixed_share is {share}; give the share of the steps on the balanced set, 0 to 1")
    first = round(share * steps)
    fit_steps(model, optimizer, loss, synthetic, first, after_step)
    count_on = None if after_step is None else (lambda step: after_step(first + step))
    fit_steps(model, optimizer, loss, real, steps - first, count_on)


def _endless(batches: Iterable[_Batch]) -> Iterator[_Batch]:
    """Yield batches for ever, from the beginning whenever they end."""
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise UsageError(
                "there is no batch to train on; give a list or a loader with at least one (an iterator ends after its "
                "first pass)"
            )
