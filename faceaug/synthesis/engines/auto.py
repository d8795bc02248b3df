"""The engine `auto`: whatever keeps a data set's world first, and a generator only if its faces are of that world.

Labels are filled by morphs of the cell's own faces, view and light by turning and relighting them, and cells of both by
the one and then the other. What stays short goes to the generator if a classifier can hardly tell its faces from the
photographs; otherwise it stays short, and the run says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from faceaug.errors import MissingWeightsError
from faceaug.generators.base import Generator
from faceaug.synthesis.acceptance.domain import check_domain
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.base import Engine, Preparation, PreparationInputs
from faceaug.synthesis.engines.chained import ChainedEngine
from faceaug.synthesis.engines.latent import latent_edit
from faceaug.synthesis.engines.morphs import morph
from faceaug.synthesis.engines.morphs.extrapolate import followed_by_extrapolation
from faceaug.synthesis.engines.rerendering import rerender
from faceaug.synthesis.engines.rerendering.source_faces import is_rendered
from faceaug.synthesis.request import RunRequest

DOMAIN_METRIC = "domain"
"""Key of the domain check among the metrics of a run."""


def create_engine(request: RunRequest) -> Engine:
    """Return the engines that fill the cells of a plan, one after the other.

    Raises
    ------
    UsageError, DatasetError, GeneratorError, IntegrityError
        When one of the engines cannot be created. Without the weights of the default generator the others go on.
    """
    config, axes = request.config, request.plan.axes
    engines: list[Engine] = []
    if any(not is_rendered(axis) for axis in axes):
        engines.append(morph.create_engine(request))
    if any(is_rendered(axis) for axis in axes):
        engines.append(rerender.create_engine(request))
    generator = _generator(config)
    if isinstance(generator, MissingWeightsError):
        return AutoEngine(followed_by_extrapolation(engines, request), {"missing": str(generator)})
    domain = check_domain(request.dataset, generator, limit=config.thresholds.domain, seed=config.seed)
    if domain is not None and domain.is_same:
        engines.append(latent_edit.engine_of(request, generator))
    return AutoEngine(followed_by_extrapolation(engines, request), domain.to_dict() if domain else {})


def _generator(config: RunConfig) -> Generator | MissingWeightsError:
    """Return the generator; or the error, where it is the default one and its weights are not installed.

    What other engines fill does not need it.
    """
    try:
        return latent_edit.loaded_generator(config)
    except MissingWeightsError as error:
        if config.generator != RunConfig().generator:
            raise
        return error


class AutoEngine(ChainedEngine):
    """The engines of `auto` in turn; an `Engine`.

    Parameters
    ----------
    engines : sequence of Engine
        At least one.
    domain : dict
        Of the generator, as JSON values: its `DomainCheck`, or why it is missing; empty where there were too few faces
        to check it.
    """

    def __init__(self, engines: Sequence[Engine], domain: Mapping[str, Any]) -> None:
        super().__init__(engines)
        self._domain = domain

    @property
    def identity(self) -> Mapping[str, Any]:
        return {**super().identity, "engines": list(self.names)}

    def prepare(self, inputs: PreparationInputs) -> Preparation:
        """Prepare all engines, and state the domain check among the metrics."""
        preparation = super().prepare(inputs)
        if not self._domain:
            return preparation
        return replace(preparation, metrics={**preparation.metrics, DOMAIN_METRIC: dict(self._domain)})
