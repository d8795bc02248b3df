"""What an arm is, and how it spends its trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from faceaug.bench.recipe import ExperimentRecipe
from faceaug.bench.trial import Trial, TrialResult

RunTrial = Callable[[Mapping[str, Any]], TrialResult]
"""Trains once with some options, such as {"lr": 1e-3}."""
_LR_FACTORS = (1.0, 1 / 3, 3.0)


def search_learning_rates(run: RunTrial, recipe: ExperimentRecipe) -> list[TrialResult]:
    """Spend the trials on learning rates: that of the recipe, a third, three times it, a ninth, nine times ..."""
    factors = list(_LR_FACTORS)
    while len(factors) < recipe.training.trials:
        factors += [factors[-2] / 3, factors[-1] * 3]
    return [run({"lr": recipe.training.lr * factor}) for factor in factors[: recipe.training.trials]]


def _no_refusal(recipe: ExperimentRecipe) -> str:
    return ""


@dataclass(frozen=True)
class Arm:
    """A way to train; the type of entry points of the group "faceaug.arms".

    Attributes
    ----------
    about : str
        One line.
    fit : callable (Trial)
        Trains `Trial.net` in `Trial.steps` steps.
    engine : str, optional
        The engine whose samples it needs, as of `faceaug balance --engine`.
    search : callable (run, recipe)
        Spends `training.trials` trainings, and returns the results of all.
    refusal : callable (recipe)
        Returns why the arm cannot run with a recipe, as the end of a sentence; an empty text where it can.
    reference : bool
        Whether it has real faces that the others have not, so that it is no way to get along without them.
    options : mapping
        Of every trial, beside what the search adds: those of `ENGINE:USE[share=0.25,most=100,where=yaw>20]`.
    """

    about: str
    fit: Callable[[Trial], None]
    engine: str | None = None
    search: Callable[[RunTrial, ExperimentRecipe], list[TrialResult]] = search_learning_rates
    refusal: Callable[[ExperimentRecipe], str] = _no_refusal
    reference: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
