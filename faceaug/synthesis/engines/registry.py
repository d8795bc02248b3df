"""The engines: built in, chained, or of other packages; and the settings that each of them uses.

Another package adds an engine through the entry point group ``faceaug.engines``: an `EngineSpec`, or a callable that
returns one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from faceaug.errors import FaceaugError, UsageError
from faceaug.synthesis.config import RunConfig
from faceaug.utils.text import nearest, one_line, shown

if TYPE_CHECKING:
    from faceaug.synthesis.engines.base import Engine
    from faceaug.synthesis.request import RunRequest

ENGINE_ENTRY_POINTS = "faceaug.engines"
_GENERATION = frozenset({"generator", "directions", "device", "batch_size", "harmonize", "survey_samples"})
_EDITING = frozenset({"truncation_psi", "origins", "corrections"})
_MORPHING = frozenset({"donors", "extrapolate", "embedder", "allow_same_identity"})
_CANDIDATES = frozenset({"candidates", "candidate_labels"})
_UNGUIDED = _MORPHING | _CANDIDATES | {"origins", "corrections", "from_real", "keep", "max_uses"}


def _none(config: RunConfig) -> frozenset[str]:
    return frozenset()


@dataclass(frozen=True)
class EngineSpec:
    """How an engine is created, and what it does not use.

    Attributes
    ----------
    create : str or callable (RunRequest) -> Engine
        The function that creates it; "module:function" for one that is imported when it is needed.
    ignored : callable (RunConfig) -> frozenset of str
        The settings that it does not use; one that is given although no engine of the run uses it is an error.
    """

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
        "faceaug.synthesis.engines.latent.latent_edit:create_engine",
        lambda config: _MORPHING | _CANDIDATES | ({"truncation_psi", "origins"} if config.from_real else {"max_uses"}),
    ),
    "rerender": EngineSpec(
        "faceaug.synthesis.engines.rerendering.rerender:create_engine",
        lambda config: _GENERATION | _EDITING | _MORPHING | _CANDIDATES | {"from_real"},
    ),
    "auto": EngineSpec(
        "faceaug.synthesis.engines.auto:create_engine",
        lambda config: _CANDIDATES | {"from_real"},
    ),
    "morph": EngineSpec(
        "faceaug.synthesis.engines.morphs.morph:create_engine",
        lambda config: _GENERATION | _EDITING | _CANDIDATES | {"from_real", "keep"},
    ),
    "external": EngineSpec(
        "faceaug.synthesis.engines.external.external:create_engine",
        lambda config: (
            _EDITING
            | (_GENERATION - {"device", "harmonize"})
            | (_MORPHING - {"embedder"})
            | {"from_real", "keep", "tries", "max_uses"}
        ),
    ),
    "unguided": EngineSpec("faceaug.synthesis.engines.latent.baselines:create_unguided", lambda config: _UNGUIDED),
    "mirrored": EngineSpec("faceaug.synthesis.engines.latent.baselines:create_mirrored", lambda config: _UNGUIDED),
}
CHAINS = {"both": ("rerender", "generator")}
"""Names of several engines in turn: what one leaves short, the next fills."""


def engine_names() -> list[str]:
    """Return the names that ``--engine`` may have, alone or several of them with commas between."""
    return [*BUILT_IN, *CHAINS, *sorted(_entry_points())]


def engine_specs(config: RunConfig) -> dict[str, EngineSpec]:
    """Return the engines of a run by their names, in their order, once their settings are checked.

    Raises
    ------
    UsageError
        When there is no such engine, or a setting was given that none of the engines uses.
    FaceaugError
        When the engine of another package cannot be loaded.
    """
    names = CHAINS.get(config.engine, config.engines)
    specs = {name: _spec(name) for name in names}
    if len(specs) < len(names):
        raise UsageError(f"the engine is {shown(config.engine)}, which names one engine twice: name each once")
    ignored = frozenset.intersection(*(spec.ignored(config) for spec in specs.values()))
    for name in config.changed(ignored):
        with_real = config.from_real and name != "from_real"
        in_chain = (
            config.engine not in CHAINS and not with_real and any(config.engine in names for names in CHAINS.values())
        )
        value = getattr(config, name)
        given = shown(str(value) if isinstance(value, Path) else value)
        raise UsageError(
            f"{name} is {given}, which does nothing with the engine {config.engine}"
            f"{' and from_real' if with_real else ''}: leave it out{', or use the engine both' if in_chain else ''}"
        )
    if (len(specs) > 1 or {"auto", "external"} & specs.keys()) and config.layout == "raw" and not config.harmonize:
        raise UsageError(
            "generated faces have the generator's size, re-rendered ones that of their photographs and candidates any, "
            "and the layout raw holds images of one size: harmonize them, or use the layout blob"
        )
    return specs


def create_engine(request: RunRequest) -> Engine:
    """Return the engine that a request names; it is not prepared yet.

    Raises
    ------
    UsageError
        When there is no such engine, or it cannot do what is requested.
    FaceaugError
        When the engine of another package fails.
    """
    engines = [_create(name, spec, request) for name, spec in engine_specs(request.config).items()]
    if request.config.extrapolate and "auto" not in request.config.engines:
        from faceaug.synthesis.engines.morphs.extrapolate import followed_by_extrapolation

        engines = followed_by_extrapolation(engines, request)
    if len(engines) == 1:
        return engines[0]
    from faceaug.synthesis.engines.chained import ChainedEngine

    return ChainedEngine(engines)


def _create(name: str, spec: EngineSpec, request: RunRequest) -> Engine:
    if name in BUILT_IN:
        return spec(request)
    from faceaug.synthesis.engines.plugin import PluginEngine

    return PluginEngine(name, lambda: spec(request))


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENGINE_ENTRY_POINTS)}


def _spec(name: str) -> EngineSpec:
    """Return an engine by its name; of other packages only the one that is named is loaded."""
    points = _entry_points()
    twice = next((known for known in points if known in (*BUILT_IN, *CHAINS)), None)
    if twice is not None:
        raise UsageError(f"a plug-in brings an engine called {twice!r}, which faceaug has; it must be renamed")
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name not in points:
        raise UsageError(f"there is no engine {shown(name)}: {nearest(name, engine_names())}")
    try:
        loaded = points[name].load()
        spec = loaded if isinstance(loaded, EngineSpec) else loaded()
    except Exception as error:
        raise FaceaugError(f"the engine {name!r} of a plug-in failed to load: {one_line(error)}") from error
    if not isinstance(spec, EngineSpec):
        raise FaceaugError(f"the engine {name!r} of a plug-in is a {type(spec).__name__}: it must be an EngineSpec")
    return spec
