"""Which engines there are: built in, chained, or of other packages; and which settings each of them uses.

Another package adds an engine through the entry point group ``faceaug.engines``: an `EngineSpec`, or a callable that
returns one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from faceaug.errors import FaceaugError, UsageError
from faceaug.synthesis.config import RunConfig
from faceaug.utils.text import nearest, shown

if TYPE_CHECKING:
    from faceaug.synthesis.engines.base import Engine
    from faceaug.synthesis.request import RunRequest

ENGINE_ENTRY_POINTS = "faceaug.engines"
_GENERATION = frozenset({"generator", "directions", "device", "batch_size", "harmonize", "survey_samples"})
_EDITING = frozenset({"truncation_psi", "candidates", "corrections"})


def _none(config: RunConfig) -> frozenset[str]:
    return frozenset()


@dataclass(frozen=True)
class EngineSpec:
    """An engine by its name.

    Attributes
    ----------
    name : str
        As ``--engine`` and the samples' column `engine` name it.
    create : str or callable (RunRequest) -> Engine
        What makes it; "module:function" for one that is imported when it is needed.
    ignored : callable (RunConfig) -> frozenset of str
        The settings that it does not use; one that is given although no engine of the run uses it is an error.
    """

    name: str
    create: str | Callable[[RunRequest], Engine]
    ignored: Callable[[RunConfig], frozenset[str]] = _none

    def __call__(self, request: RunRequest) -> Engine:
        """Create the engine for a request."""
        if isinstance(self.create, str):
            module, _, function = self.create.partition(":")
            engine: Engine = getattr(importlib.import_module(module), function)(request)
            return engine
        return self.create(request)


BUILT_IN = {
    "generator": EngineSpec(
        "generator",
        "faceaug.synthesis.engines.latent_edit:create_engine",
        lambda config: frozenset({"truncation_psi", "candidates"} if config.from_real else {"max_uses"}),
    ),
    "rerender": EngineSpec(
        "rerender",
        "faceaug.synthesis.engines.rerender:create_engine",
        lambda config: _GENERATION | _EDITING | {"from_real"},
    ),
}
CHAINS = {"both": ("rerender", "generator")}
"""Names of several engines in turn: what one leaves short, the next fills."""


def engine_names() -> list[str]:
    """Return the names that ``--engine`` may have."""
    return [*BUILT_IN, *CHAINS, *sorted(_plugged_in())]


def engine_specs(config: RunConfig) -> list[EngineSpec]:
    """Return the engines of a run in their order, once their settings are checked. Nothing is loaded.

    Raises
    ------
    UsageError
        When there is no such engine, or a setting was given that none of the engines uses.
    """
    known = {**BUILT_IN, **(_plugged_in() if config.engine not in (*BUILT_IN, *CHAINS) else {})}
    names = CHAINS.get(config.engine, (config.engine,))
    for name in names:
        if name not in known:
            raise UsageError(f"there is no engine {name!r}: {nearest(name, engine_names())}")
    specs = [known[name] for name in names]
    ignored = frozenset.intersection(*(spec.ignored(config) for spec in specs))
    for name in config.changed(ignored):
        with_real = config.from_real and name != "from_real"
        raise UsageError(
            f"{name} is {shown(getattr(config, name))}, which does nothing with the engine {config.engine}"
            f"{' and from_real' if with_real else ''}: leave it out"
            + ("" if config.engine in CHAINS or with_real else ", or use the engine both")
        )
    if len(specs) > 1 and config.layout == "raw" and not config.harmonize:
        raise UsageError(
            "generated faces have the generator's size and re-rendered ones that of their photographs, and the layout "
            "raw holds images of one size: harmonize them, or use the layout blob"
        )
    return specs


def create_engine(request: RunRequest) -> Engine:
    """Return the engine that a request names; it is not prepared yet."""
    specs = engine_specs(request.config)
    if len(specs) == 1:
        return specs[0](request)
    from faceaug.synthesis.engines.chained import ChainedEngine

    return ChainedEngine([spec(request) for spec in specs])


def _plugged_in() -> dict[str, EngineSpec]:
    specs = {}
    for point in entry_points(group=ENGINE_ENTRY_POINTS):
        if point.name in (*BUILT_IN, *CHAINS):
            raise UsageError(f"a plug-in brings an engine called {point.name!r}, which faceaug has; it must be renamed")
        try:
            loaded = point.load()
            spec = loaded if isinstance(loaded, EngineSpec) else loaded()
        except Exception as error:
            raise FaceaugError(f"the engine {point.name!r} of a plug-in failed to load: {error}") from error
        if not isinstance(spec, EngineSpec):
            raise FaceaugError(
                f"the engine {point.name!r} of a plug-in is a {type(spec).__name__}: it must be an EngineSpec"
            )
        specs[point.name] = spec
    return specs
