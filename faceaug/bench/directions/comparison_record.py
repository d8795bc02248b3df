"""The results of a comparison of directions: results.json, the tables, the picture and the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faceaug.bench.directions.attribute_readers import AttributeReaders
from faceaug.bench.directions.chosen_steps import ChosenStep
from faceaug.bench.directions.direction_methods import METHODS_ABOUT
from faceaug.bench.directions.direction_recipe import DirectionRecipe
from faceaug.bench.directions.edit_effects import EditedFaces, EditEffect, region_of
from faceaug.bench.directions.edit_strips import render_strips
from faceaug.bench.directions.face_statistics import mean_over_faces, ratio_over_faces
from faceaug.bench.results.record import package_versions
from faceaug.bench.run_files import BENCH_REPORT, RESULTS_FILE
from faceaug.generators.base import Generator
from faceaug.pages.template import page_template
from faceaug.utils.device import machine_class
from faceaug.utils.files import write_bytes, write_json
from faceaug.utils.images import encode
from faceaug.utils.text_table import render_table
from faceaug.utils.typing import Floats

COMPARISON_FORMAT, COMPARISON_VERSION = "faceaug-direction-comparison", 1
LATENT_LENGTH, ATTRIBUTE_LENGTH = "latent", "attribute"
EDIT_LENGTHS = (LATENT_LENGTH, ATTRIBUTE_LENGTH)
"""Edits of one standard deviation of the latent coordinate, and edits by which the attribute changes by one of its own
on the selection faces, but no longer than `DirectionRecipe.reach`."""
STRIPS_FILE = "strips.png"
COMPARED_WITH = "guided"
"""The method to which the others are compared face by face."""
_NONE = "\N{EN DASH}"


@dataclass(frozen=True, eq=False)
class ComparedDirections:
    """What a comparison found.

    Attributes
    ----------
    recipe, generator, readers, faces
    chosen : mapping of method to mapping of attribute to ChosenStep
    effects : mapping of (method, attribute, length of the edit) to EditEffect
    turned : mapping of method to figures
        The accuracy of yaw, with that of the closed loop; empty where yaw is no attribute.
    """

    recipe: DirectionRecipe
    generator: Generator
    readers: AttributeReaders
    faces: EditedFaces
    chosen: Mapping[str, Mapping[str, ChosenStep]]
    effects: Mapping[tuple[str, str, str], EditEffect]
    turned: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class DirectionComparison:
    """The content of results.json.

    Attributes
    ----------
    content : dict
        JSON values; docs/bench.md describes them.
    """

    content: dict[str, Any]

    def to_text(self) -> str:
        """Return the tables: an overview of the methods, attribute dependency by attribute, and the accuracy of yaw."""
        content = self.content
        lines = [
            f"Edits of one standard deviation of the latent coordinate: {content['faces']} faces, mean of "
            f"{len(content['shared'])} attributes;",
            "changes in standard deviations of the held-out readings [95% interval over faces]",
            *render_table(
                ["method", "attribute", "others", "others for each", "in region", "identity"], self._overview()
            ),
            "",
            "Change of the others where an attribute changes by one standard deviation of its own",
            *render_table(["attribute", *map(_short, content["methods"])], self._dependencies()),
        ]
        if content["yaw"]:
            head = ["method", "within 5", "error", "slope", "correlation", "landmarks", "others"]
            lines += ["", "Faces turned to degrees within ±20", *render_table(head, self._turned())]
        return "\n".join(lines)

    def _overview(self) -> list[list[str]]:
        rows = []
        for method, each in self.content["methods"].items():
            own = each["overall"][LATENT_LENGTH]
            share, distance = _text(own["locality"], "{:.0%}"), _text(own["identity"], "{:.2f}")
            rows.append(
                [_short(method), *(_interval(own[key]) for key in ("change", "dependency", "ratio")), share, distance]
            )
        return rows

    def _dependencies(self) -> list[list[str]]:
        """Return a row for each attribute; a dash stands where a method does not reach it."""
        rows = []
        for name in self.content["attributes"]:
            own = [each["attributes"].get(name) for each in self.content["methods"].values()]
            dependencies = [each[ATTRIBUTE_LENGTH]["dependency"] if each and each["reached"] else None for each in own]
            rows.append([name, *(_text(each, "{:.2f}") for each in dependencies)])
        return rows

    def _turned(self) -> list[list[str]]:
        rows = []
        for method, own in self.content["yaw"].items():
            landmarks = own["landmark_correlation"]
            rows.append([
                _short(method), _text(own["within_5_degrees"], "{:.0%}"), _interval(own["mean_error"], 1),
                f"{own['degrees_per_degree']:.2f}", f"{own['correlation']:.2f}",
                f"{landmarks['correlation']:.2f}" if landmarks else _NONE, _interval(own["others_changed"]),
            ])  # fmt: skip
        return rows


def write_comparison(compared: ComparedDirections, command: str, out: Path) -> DirectionComparison:
    """Write results.json, the picture and the page."""
    recipe, readers = compared.recipe, compared.readers
    shared = [name for name in readers.names if all(name in own for own in compared.chosen.values())]
    content: dict[str, Any] = {
        "format": COMPARISON_FORMAT,
        "version": COMPARISON_VERSION,
        "command": command,
        "seed": recipe.seed,
        "versions": package_versions(),
        "machine": machine_class(recipe.device),
        "recipe": recipe.model_dump(mode="json", exclude={"output"}),
        "generator": {"name": compared.generator.name, "sha256": compared.generator.sha256},
        "directions": readers.bundle.directions.sha256(),
        "faces": len(compared.faces.w),
        "attributes": {name: _attribute(compared, name) for name in readers.names},
        "label_classifiers": readers.labels.metrics if readers.labels else None,
        "shared": shared,
        "methods": {
            method: {
                "about": METHODS_ABOUT[method],
                "overall": _overall(compared, method, shared),
                "attributes": {name: _edits(compared, method, name, each) for name, each in own.items()},
            }
            for method, own in compared.chosen.items()
        },
        "yaw": dict(compared.turned),
    }
    write_bytes(out / STRIPS_FILE, encode(render_strips(compared.generator, compared.faces.w, compared.chosen), "png"))
    comparison = DirectionComparison(content)
    write_bytes(out / BENCH_REPORT, _page(comparison).encode())
    write_json(out / RESULTS_FILE, content)
    return comparison


def _attribute(compared: ComparedDirections, name: str) -> dict[str, Any]:
    readers = compared.readers
    return {
        "spread": float(readers.spread[readers.names.index(name)]),
        "region": region_of(readers, name),
        "held_out_correlation": readers.metrics.get(name),
        "region_share": float(compared.faces.regions[region_of(readers, name)].mean()),
    }


def _edits(compared: ComparedDirections, method: str, name: str, each: ChosenStep) -> dict[str, Any]:
    """Return what the edits of an attribute by a method did."""
    record: dict[str, Any] = {"component": each.component, "length": each.length, "reached": each.reached}
    column = compared.readers.names.index(name)
    for kind in EDIT_LENGTHS:
        effect = compared.effects[method, name, kind]
        changes = dict(zip(compared.readers.names, effect.change.mean(0).tolist(), strict=True))
        record[kind] = {**_figures([effect], [column]), "changes": changes}
    return record


def _overall(compared: ComparedDirections, method: str, shared: list[str]) -> dict[str, Any]:
    """Return the means over attributes, and differences of the attribute dependency to `COMPARED_WITH`."""
    columns = [compared.readers.names.index(name) for name in shared]
    own = compared.chosen[method]
    result: dict[str, Any] = {
        LATENT_LENGTH: _figures([compared.effects[method, name, LATENT_LENGTH] for name in shared], columns),
        "reached": [name for name in shared if own[name].reached],
    }
    other = compared.chosen.get(COMPARED_WITH)
    if other is not None and method != COMPARED_WITH:
        both = [name for name in shared if own[name].reached and other[name].reached]
        more = [
            compared.effects[method, name, ATTRIBUTE_LENGTH].dependency
            - compared.effects[COMPARED_WITH, name, ATTRIBUTE_LENGTH].dependency
            for name in both
        ]
        result[f"dependency_less_{COMPARED_WITH}"] = {
            "attributes": both,
            **mean_over_faces(np.mean(more, 0) if both else np.empty(0)),
        }
    return result


def _figures(effects: list[EditEffect], columns: list[int]) -> dict[str, Any]:
    """Return means over faces, and over edits of several attributes, of which `columns` are the numbers."""
    values: dict[str, Floats] = {
        "change": np.mean([effect.change[:, column] for effect, column in zip(effects, columns, strict=True)], 0),
        "dependency": np.mean([effect.dependency for effect in effects], 0),
        "largest": np.mean([effect.largest for effect in effects], 0),
        "locality": np.mean([effect.locality for effect in effects], 0),
        "identity": np.mean([effect.identity for effect in effects], 0),
    }
    ratio = ratio_over_faces(values["dependency"], values["change"])
    return {**{name: mean_over_faces(each) for name, each in values.items()}, "ratio": ratio}


def _page(comparison: DirectionComparison) -> str:
    """Return the page of the content of results.json, without scripts; the picture lies beside it."""
    content = comparison.content
    return page_template("comparison.html.jinja", "faceaug.bench.directions").render(
        content=content, picture=STRIPS_FILE
    )


def _short(method: str) -> str:
    """Return the name of a method for a narrow column."""
    return method.replace("interfacegan_conditional", "conditional")


def _text(figure: Mapping[str, Any] | None, form: str) -> str:
    return _NONE if figure is None or figure["mean"] is None else form.format(figure["mean"])


def _interval(figure: Mapping[str, Any], decimals: int = 2) -> str:
    """Return mean and interval: "0.30 [0.27, 0.33]"."""
    if figure["low"] is None:
        return _text(figure, f"{{:.{decimals}f}}")
    return f"{figure['mean']:.{decimals}f} [{figure['low']:.{decimals}f}, {figure['high']:.{decimals}f}]"
