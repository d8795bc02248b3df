"""The results of an experiment: results.json, the table, and what the report shows."""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from faceaug._version import __version__
from faceaug.bench.arms.base import Arm
from faceaug.bench.data import ExperimentData
from faceaug.bench.results.page import render_bench_page
from faceaug.bench.results.statistics import (
    BASELINES,
    arm_summaries,
    best_real_arm,
    difference_cell,
    paired_differences,
)
from faceaug.bench.run_files import BENCH_FORMAT, BENCH_REPORT, BENCH_VERSION, RESULTS_FILE
from faceaug.bench.trial import CRITERIA
from faceaug.errors import IntegrityError
from faceaug.utils.device import machine_class
from faceaug.utils.files import read_json, write_bytes, write_json
from faceaug.utils.text_table import render_table

_PACKAGES = ("torch", "numpy", "scikit-learn", "imbalanced-learn", "timm")
_TABLE = ("accuracy", "mean_of_groups", "worst_group", "thinned_groups", "calibration_error")
_LONGEST_ARM = 26  # characters, so that the table fits into a terminal
_RUN_KEYS = ("selected", "trials", "faces", "synthetic", "seconds")


@dataclass(frozen=True)
class ExperimentResults:
    """The content of results.json.

    Attributes
    ----------
    content : dict
        JSON values; docs/bench.md describes them.
    """

    content: dict[str, Any]

    @property
    def selection(self) -> str:
        """The criterion of the table."""
        return str(self.content["recipe"]["selection"])

    def to_text(self) -> str:
        """Return the table: an arm a line, figures in percent as mean over seeds, and differences to the baselines."""
        own = self.content["by_selection"][self.selection]
        seeds = len(self.content["seeds"])
        rows = [[name, *(_cell(figures[figure]) for figure in _TABLE)] for name, figures in own["arms"].items()]
        lines = [
            f"Test faces, in percent, mean of {seeds} seed{'s' if seeds != 1 else ''}; models selected by "
            f"{self.selection.replace('_', ' ')} accuracy on validation",
            *arm_table(["arm", *(name.replace("_", " ") for name in _TABLE)], rows),
        ]
        for baseline, arms in own["paired"].items():
            rows = [
                [name, *(difference_cell(figures[figure]) for figure in _TABLE[:4])] for name, figures in arms.items()
            ]
            lines += ["", f"Difference to {baseline}, points [95% interval over seeds]"]
            lines += arm_table(["arm", *(name.replace("_", " ") for name in _TABLE[:4])], rows)
        return "\n".join(lines)


def arm_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table of arms; a name that is too long for it stands above its figures, whole."""
    long = [len(row[0]) > _LONGEST_ARM for row in rows]
    shown = [["" if own else row[0], *row[1:]] for own, row in zip(long, rows, strict=True)]
    lines = render_table(header, shown)
    return [
        lines[0],
        *(f"  {row[0]}\n{line}" if own else line for own, row, line in zip(long, rows, lines[1:], strict=True)),
    ]


def write_results_of(
    data: ExperimentData,
    arms: Mapping[str, Arm],
    runs: Mapping[tuple[str, int], dict[str, Any]],
    command: str,
    out: Path,
) -> ExperimentResults:
    """Write results.json and report.html of finished runs, in the order of arms and seeds."""
    recipe = data.recipe
    real = {name for name, arm in arms.items() if arm.engine is None and not arm.reference}
    content: dict[str, Any] = {
        "format": BENCH_FORMAT,
        "version": BENCH_VERSION,
        "command": command,
        "seeds": recipe.seed_list,
        "versions": package_versions(),
        "machine": machine_class(recipe.training.device),
        "recipe": recipe.model_dump(mode="json", exclude={"full", "output"}),
        "dataset": {
            "name": data.dataset.name,
            "fingerprint": data.dataset.fingerprint(),
            "faces": len(data.dataset),
            "unlabelled": data.unlabelled,
            "groups": list(data.groups.names),
        },
        "arms": {name: arm.about for name, arm in arms.items()},
        "by_selection": {criterion: _by_selection(runs, real, criterion) for criterion in CRITERIA},
        "runs": [
            {"arm": arm, "seed": seed, **{key: run[key] for key in _RUN_KEYS}} for (arm, seed), run in runs.items()
        ],
    }
    write_json(out / RESULTS_FILE, content)
    write_bytes(out / BENCH_REPORT, render_bench_page(content).encode())
    return ExperimentResults(content)


def read_results(folder: Path) -> ExperimentResults:
    """Read the results of an experiment.

    Raises
    ------
    IntegrityError
        When they are missing, damaged, or of another version.
    """
    content = read_json(folder / RESULTS_FILE, "the results of an experiment")
    if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (
        BENCH_FORMAT,
        BENCH_VERSION,
    ):
        raise IntegrityError(
            f"{folder / RESULTS_FILE} holds no results of this version of faceaug bench; give a folder that it wrote"
        )
    try:
        results = ExperimentResults(content)
        results.to_text()
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise IntegrityError(
            f"{folder / RESULTS_FILE} is damaged ({type(error).__name__}); run the recipe again"
        ) from error
    return results


def _by_selection(
    runs: Mapping[tuple[str, int], dict[str, Any]], real: Collection[str], criterion: str
) -> dict[str, Any]:
    """Return means, paired differences and the comparison with the best arm without synthesis, of one criterion."""
    figures = {key: run["selected"][criterion]["figures"] for key, run in runs.items()}
    arms = arm_summaries(figures)
    best = best_real_arm(arms, real)
    names = {arm for arm, _ in runs}
    return {
        "arms": arms,
        "paired": {name: paired_differences(figures, name) for name in BASELINES if name in names},
        "best_without_synthesis": best,
        "against_best": paired_differences(figures, best) if best else {},
    }


def package_versions() -> dict[str, str]:
    """Return the versions of Python, faceaug, and the packages that decide results."""
    versions = {"python": platform.python_version(), "faceaug": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _cell(figure: dict[str, Any]) -> str:
    return "\N{EN DASH}" if figure["mean"] is None else f"{100 * figure['mean']:.1f}"
