"""What a row of the table of speed is, and how its contenders are measured in turns.

A row is a module with `TITLE` and `cases(size, folder)`, which yields one `Case` after the other. In a case faceaug and
its opponents do the same work. First it is checked that they give the same answer. Then every round measures each of
them once, in an order that turns round from one round to the next, so that other work of the machine and its clock
affect all alike. Ratios are taken within rounds.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from tqdm import tqdm

Work = Callable[[], object]
Size = Literal["full", "tiny"]
OURS = "faceaug"
_RESAMPLES, _INTERVAL = 2000, (0.025, 0.975)


class OwnSeconds(float):
    """What a work returns that states the seconds of the part of it that counts."""


class Disagreement(Exception):
    """The contenders of a case do not give the same answer, so their times are not comparable."""


@dataclass(frozen=True)
class Case:
    """The same work done by faceaug and by its opponents.

    Attributes
    ----------
    name : str
    unit : str
        What a repetition does `count` of: images, rows, queries.
    count : int
    contenders : dict of str to callable
        One repetition each; the first is faceaug.
    agree : callable
        Returns in words how the answers agree; Disagreement where they do not.
    aim : float, optional
        How many times as fast as the fastest opponent faceaug shall be.
    aim_seconds : float, optional
        How long a repetition of faceaug may take.
    missing : dict of str to str
        Opponents that cannot take part, and why.
    rounds : int, optional
        Most rounds, where a repetition is long.
    figures : dict
        Further measurements of the case.
    """

    name: str
    unit: str
    count: int
    contenders: Mapping[str, Work]
    agree: Callable[[], str]
    aim: float | None = None
    aim_seconds: float | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    rounds: int | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)


class Row(Protocol):
    """A module of this package that holds a row."""

    TITLE: str

    def cases(self, size: Size, folder: Path) -> Iterator[Case]:
        """Yield the cases, each ready to be measured; `folder` is empty and removed afterwards."""
        ...


@dataclass(frozen=True)
class Opponents:
    """Packages that were asked for: modules by the name of the package, and why others are missing."""

    modules: Mapping[str, Any]
    missing: Mapping[str, str]

    def of(self, works: Mapping[str, Work]) -> dict[str, Work]:
        """Return the contenders whose package (the first word of their names) is not missing."""
        return {name: work for name, work in works.items() if name.split(" ")[0] not in self.missing}


def find_opponents(**modules: str) -> Opponents:
    """Import opponents, given as name of the package = module, with "_" for "-" in names.

    >>> find_opponents(pip="pip", no_such="no_such_module").missing
    {'no-such': 'not installed'}
    """
    found, missing = {}, {}
    for name, module in modules.items():
        package = name.replace("_", "-")
        try:
            found[package] = importlib.import_module(module)
        except ModuleNotFoundError as error:
            missing[package] = "not installed" if error.name == module.split(".")[0] else f"not importable: {error}"
        except (ImportError, RuntimeError, OSError) as error:  # as a torchvision that was built for another torch
            missing[package] = f"not importable: {error}"
    return Opponents(found, missing)


def measure(case: Case, rounds: int, seconds: float) -> dict[str, Any]:
    """Return what a case gives as JSON values.

    Parameters
    ----------
    case : Case
    rounds : int
    seconds : float
        Least time of one measurement: quick work is repeated until then.
    """
    agreement = case.agree()
    repeats = {name: max(1, round(seconds / max(_seconds(work), 1e-9))) for name, work in case.contenders.items()}
    names = list(case.contenders)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in tqdm(range(min(rounds, case.rounds or rounds)), case.name, disable=not sys.stderr.isatty()):
        for name in names if number % 2 == 0 else reversed(names):
            times[name].append(_seconds(case.contenders[name], repeats[name]))
    ratios = {name: _ratio(times[OURS], times[name]) for name in names if name != OURS}
    result = {
        "name": case.name,
        "unit": case.unit,
        "count": case.count,
        "agreement": agreement,
        "contenders": {name: _summary(values, case.count) for name, values in times.items()},
        "times_as_fast_as": ratios,
        "missing": dict(case.missing),
        **case.figures,
    }
    fastest = min(ratios, key=lambda name: ratios[name]["ratio"], default=None)
    result |= {"fastest_opponent": fastest, "aim": case.aim, "aim_seconds": case.aim_seconds}
    met = [result["contenders"][OURS]["median_seconds"] <= case.aim_seconds] if case.aim_seconds else []
    met += [ratios[fastest]["ratio"] >= case.aim] if case.aim and fastest else []
    return {**result, "met": all(met) if met else None}


def _seconds(work: Work, repeats: int = 1) -> float:
    """Return the seconds of a repetition."""
    start, stated = time.perf_counter(), 0.0
    for _ in range(repeats):
        result = work()
        stated += result if isinstance(result, OwnSeconds) else 0.0
    return (stated or time.perf_counter() - start) / repeats


def _summary(times: list[float], count: int) -> dict[str, Any]:
    middle = statistics.median(times)
    low, high = (float(np.quantile(times, q)) for q in (0.25, 0.75))
    return {
        "median_seconds": _rounded(middle),
        "quartiles": [_rounded(low), _rounded(high)],
        "per_second": _rounded(count / middle),
        "rounds": len(times),
    }


def _ratio(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """Return how many times as fast `ours` is: the median of the rounds, and its bootstrap interval of 95%."""
    ratios = np.array(theirs) / np.array(ours)
    drawn = np.random.default_rng(0).integers(0, len(ratios), (_RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), _INTERVAL)
    return {"ratio": _rounded(float(np.median(ratios))), "interval": [_rounded(float(low)), _rounded(float(high))]}


def _rounded(value: float) -> float:
    """Return a number with four significant digits."""
    return float(f"{value:.4g}")
