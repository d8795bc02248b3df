"""One training of an arm: what the arm may use, and the checkpoints among which validation selects."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.appearance.augmentations import jitter
from faceaug.bench.examples import Examples
from faceaug.bench.metrics import GroupsOfFaces, group_accuracies, mean_over_tasks, task_metrics
from faceaug.bench.networks import BenchNet, as_input, new_bench_net, predict, task_probabilities
from faceaug.bench.offsets import class_offsets
from faceaug.bench.recipe import ExperimentRecipe
from faceaug.classifiers.classifier import Task
from faceaug.classifiers.training import augmentations_of
from faceaug.training import GroupSampler, fit_steps
from faceaug.utils.typing import Floats32, Indices

CRITERIA = {"worst_group": "worst_group", "average": "accuracy"}
"""By criterion of model selection, the figure on the validation part that decides."""
_WARM_UP = 0.2  # share of the steps in which the learning rate rises


@dataclass(frozen=True, eq=False)
class Batch:
    """Faces of a step.

    Attributes
    ----------
    inputs : float32 [B, ...]
    targets : tuple of float32 [B, C]
        Probabilities of the classes of each task.
    weights : float32 [B]
    """

    inputs: Tensor
    targets: tuple[Tensor, ...]
    weights: Tensor


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a model that a criterion selected, and its validation.

    Attributes
    ----------
    score : float
        The figure of the criterion.
    step, trial : int
    validation : list of dict
        Metrics of each task.
    state : dict
    offsets : float32 [outputs]
        To be added to the logits.
    """

    score: float
    step: int
    trial: int
    validation: list[dict[str, Any]]
    state: dict[str, Tensor]
    offsets: Floats32


@dataclass(frozen=True, eq=False)
class TrialResult:
    """The result of one training.

    Attributes
    ----------
    best : dict of str to Checkpoint
        By criterion.
    last : list of dict
        Validation metrics of each task at the end.
    cells : list of float or None
        Accuracy of each cell on the validation part at the end, mean of the tasks; None without faces.
    options : dict
        What was tried: "lr", and what the arm was given.
    """

    best: dict[str, Checkpoint]
    last: list[dict[str, Any]]
    cells: list[float | None]
    options: dict[str, Any]


@dataclass(frozen=True, eq=False)
class ArmData:
    """The data of the arms of one seed.

    Attributes
    ----------
    recipe : ExperimentRecipe
    tasks : tuple of Task
    real : Examples
        The real faces of the training part, thinned.
    left_out : Examples
        Those that the training part lost by thinning: for arms that show what they would have given.
    synthetic : Examples
        Made from these alone; empty for arms that use none.
    validation : Examples
        Real faces on which models are selected; arms do not train on them.
    validation_groups : GroupsOfFaces
    cell_count : int
    seed : int
    """

    recipe: ExperimentRecipe
    tasks: tuple[Task, ...]
    real: Examples
    left_out: Examples
    synthetic: Examples
    validation: Examples
    validation_groups: GroupsOfFaces
    cell_count: int
    seed: int


class Trial:
    """What an arm trains with. Everything random comes from the seed.

    Parameters
    ----------
    data : ArmData
    number : int
        Of the trial, from 0.
    options : mapping
        "lr", and what the search of the arm adds.
    advance : callable
        Called with the number of steps done since the last call.

    Attributes
    ----------
    net : BenchNet
        Untrained; it is in training mode.
    real, synthetic : Examples
    steps : int
        To be taken by all stages together.
    """

    def __init__(
        self, data: ArmData, number: int, options: Mapping[str, Any], advance: Callable[[int], object]
    ) -> None:
        self.data, self.number, self.options = data, number, dict(options)
        self.tasks, self.real, self.synthetic = data.tasks, data.real, data.synthetic
        self.training = data.recipe.training
        self.steps = self.training.steps
        self.rng = np.random.default_rng([data.seed, 0xA23])
        self.torch_rng = torch.Generator().manual_seed(data.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(data.seed)
            self.net: BenchNet = new_bench_net(data.recipe.model, data.tasks, data.real)
        self.net.to(self.training.device).train()
        self._varied = augmentations_of(data.tasks)
        self._advance = advance
        self._done, self._best = 0, {criterion: _nothing() for criterion in CRITERIA}

    def fit(self, batches: Iterable[Batch], steps: int | None = None, *, last: bool = True) -> None:
        """Train the whole model for some steps, by default all; `last` says that no stage follows."""
        steps = self.steps if steps is None else steps
        after = self.after_step(0 if last else self.steps)
        fit_steps(self.net, self.optimizer(steps), self.loss, batches, steps, after)

    def fit_head(self, batches: Iterable[Batch], steps: int) -> None:
        """Train the last layer anew for some steps, and leave the body as it is."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.data.seed + 1)
            self.net.head.reset_parameters()
        self.net.body.eval().requires_grad_(False)
        fit_steps(self.net, self.optimizer(steps), self.loss, batches, steps, self.after_step(self.steps - steps))

    def optimizer(self, steps: int) -> ScheduledAdam:
        """Return an optimizer of what is not frozen, whose learning rate rises and falls within some steps."""
        learnt = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        return ScheduledAdam(learnt, float(self.options["lr"]), self.training.weight_decay, steps)

    def loss(self, net: BenchNet, batch: Batch) -> Tensor:
        """Return the weighted cross-entropy, summed over tasks."""
        device = self.training.device
        logits: Tensor = net(batch.inputs.to(device))
        total: Tensor = logits.new_zeros(())
        start = 0
        for target in batch.targets:
            own = logits[:, start : start + target.shape[1]]
            start += target.shape[1]
            losses = F.cross_entropy(own, target.to(device), reduction="none")
            total = total + (losses * batch.weights.to(device)).mean()
        return total

    def after_step(self, begins: int = 0) -> Callable[[int], None]:
        """Return what counts steps, and evaluates on the validation part now and then once `begins` steps are done.

        Every arm is evaluated equally often, as far as its last stage has as many steps, of which all checkpoints are.
        """
        length, times = self.steps - begins, self.training.evaluations
        due = {math.ceil(k * length / times) for k in range(1, times + 1)}

        def count(step: int) -> None:
            self._done += 1
            self._advance(1)
            if self._done - begins in due:
                self._evaluate()

        return count

    def draws(self, examples: Examples, share: float | Mapping[int, float] = 0.0) -> Iterator[Indices]:
        """Yield the rows of batches in which every cell is drawn equally often, with a share of synthetic faces."""
        size, seed = self.training.batch_size, self.data.seed
        return _chunks(GroupSampler(examples.cells, examples.synthetic, share, seed=seed), size)

    def natural_draws(self, count: int) -> Iterator[Indices]:
        """Yield the rows of batches in which each of `count` faces is drawn once before any is again."""
        return _chunks(GroupSampler(np.zeros(count, np.int64), seed=self.data.seed), self.training.batch_size)

    def batches(
        self,
        examples: Examples,
        draws: Iterable[Indices],
        weights: np.ndarray | None = None,
        *,
        varied: bool | None = None,
    ) -> Iterator[Batch]:
        """Yield batches of examples.

        Parameters
        ----------
        examples : Examples
        draws : iterable of int64 [B]
            The rows of each batch.
        weights : float [N], optional
            In the loss, of each example; 1 by default.
        varied : bool, optional
            Vary framing, exposure, colour and sharpness at random, as far as the tasks allow; by default where
            `training.augment` says so.
        """
        varied = self.training.augment if varied is None else varied
        one = np.ones(len(examples)) if weights is None else weights
        for rows in draws:
            inputs = self._inputs(examples, rows, varied)
            labels = torch.from_numpy(examples.labels[rows])
            targets = tuple(F.one_hot(labels[:, k], task.width).float() for k, task in enumerate(self.tasks))
            yield Batch(inputs, targets, torch.from_numpy(one[rows]).float())

    def result(self) -> TrialResult:
        """Return the checkpoints that were selected; the model as it is where none was evaluated."""
        if any(
            not best.state for best in self._best.values()
        ):  # a last stage without steps, or an arm with its own loop
            self._evaluate()
        metrics, cells, _ = self._validation()
        return TrialResult(dict(self._best), metrics, cells, self.options)

    def _inputs(self, examples: Examples, rows: Indices, varied: bool) -> Tensor:
        if not varied:
            return as_input(examples.inputs[rows])
        if examples.varied is None:
            return jitter(as_input(examples.inputs[rows]), self.torch_rng, **self._varied)
        chosen = (self.rng.random(len(rows)) < 0.5)[:, None]
        return as_input(np.where(chosen, examples.varied[rows], examples.inputs[rows]))

    def _evaluate(self) -> None:
        metrics, _, offsets = self._validation()
        for criterion, figure in CRITERIA.items():
            score = mean_over_tasks(metrics, figure)
            if score is not None and score > self._best[criterion].score:
                state = {name: value.detach().clone() for name, value in self.net.state_dict().items()}
                self._best[criterion] = Checkpoint(score, self._done, self.number, metrics, state, offsets)

    def _validation(self) -> tuple[list[dict[str, Any]], list[float | None], Floats32]:
        """Return the metrics of each task, the accuracy of each cell, and the offsets of the logits."""
        own = self.data.validation
        logits = predict(self.net, own, self.training.device)
        offsets = np.zeros(logits.shape[1], np.float32)
        if self.training.offsets:
            offsets = class_offsets(logits, [task.width for task in self.tasks], own.labels)
        logits = logits + offsets
        metrics = evaluate_logits(logits, self.tasks, own, self.data.validation_groups)
        right = [part.argmax(1) == own.labels[:, k] for k, part in enumerate(task_probabilities(logits, self.tasks))]
        return metrics, group_accuracies(np.mean(right, 0), own.cells, self.data.cell_count), offsets


class ScheduledAdam:
    """AdamW whose learning rate rises linearly and falls with a cosine; a `StepOptimizer`.

    Parameters
    ----------
    parameters : list of Tensor
    lr : float
        The largest.
    weight_decay : float
    steps : int
    """

    def __init__(self, parameters: list[Any], lr: float, weight_decay: float, steps: int) -> None:
        self._adam = torch.optim.AdamW(parameters, lr, weight_decay=weight_decay)
        warm = max(1, round(_WARM_UP * steps))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._adam,
            lambda step: (
                (step + 1) / warm if step < warm else (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2
            ),
        )

    def zero_grad(self) -> None:
        """Forget the gradients of the last step."""
        self._adam.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Take a step at the learning rate that is due."""
        self._adam.step()
        self._schedule.step()


def evaluate_logits(
    logits: np.ndarray, tasks: tuple[Task, ...], examples: Examples, groups: GroupsOfFaces
) -> list[dict[str, Any]]:
    """Return the metrics of each task from the logits [N, outputs] of examples."""
    return [
        task_metrics(task, part, examples.labels[:, k], groups, groups.attributes[k])
        for k, (task, part) in enumerate(zip(tasks, task_probabilities(logits, tasks), strict=True))
    ]


def _nothing() -> Checkpoint:
    return Checkpoint(-1.0, 0, 0, [], {}, np.empty(0, np.float32))


def _chunks(sampler: GroupSampler, size: int) -> Iterator[Indices]:
    """Yield the draws of a sampler in batches, for ever."""
    rows: list[int] = []
    while True:
        for row in sampler:
            rows.append(row)
            if len(rows) == size:
                yield np.array(rows, np.int64)
                rows = []
