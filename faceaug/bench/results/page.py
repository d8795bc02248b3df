"""The page of an experiment: points with intervals as inline SVG, and tables. All text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faceaug.bench.metrics import FIGURES, HIGHER_IS_BETTER
from faceaug.pages.histogram import round_ticks
from faceaug.pages.template import page_template
from faceaug.utils.text_table import clip

_SVG = {"label": 214, "span": 470, "row": 24, "top": 26, "right": 60}  # pixels of a figure in a file of its own
_PLOTTED = ("worst_group", "thinned_groups", "mean_of_groups", "accuracy")
_LONGEST_LABEL = 28
_SET_FIGURES = {
    "auc": "AUC",
    "auc_photographs": "AUC of real faces",
    **{name: name for name in ("precision", "recall", "density", "coverage")},
    "copies": "near-copies",
    "agreement": "label agreement",
}


def render_bench_page(content: Mapping[str, Any]) -> str:
    """Return the page of the content of results.json as HTML, without scripts and without anything from elsewhere."""
    selection = content["recipe"]["selection"]
    own = content["by_selection"][selection]
    plots = [
        point_plot(f"{figure.replace('_', ' ')}, percent", {arm: each[figure] for arm, each in own["arms"].items()})
        for figure in _PLOTTED
        if any(each[figure]["mean"] is not None for each in own["arms"].values())
    ]
    differences = [
        point_plot(
            f"worst group, difference to {baseline}, points",
            {arm: each["worst_group"] for arm, each in arms.items()},
            zero=True,
        )
        for baseline, arms in own["paired"].items()
        if arms
    ]
    return page_template("bench.html.jinja", "faceaug.bench.results").render(
        content=content,
        selection=selection,
        figures=[name for name in FIGURES if any(each[name]["mean"] is not None for each in own["arms"].values())],
        better=HIGHER_IS_BETTER,
        plots=[*plots, *differences],
        tables={
            criterion.replace("_", " "): each["arms"]
            for criterion, each in sorted(content["by_selection"].items(), key=lambda item: item[0] != selection)
        },
        about=content["arms"],
        facts=_facts(content),
        reduction={arm: each["worst_group_error_reduction"] for arm, each in own["against_best"].items()},
        best=own["best_without_synthesis"],
        groups=_group_table(content, selection),
        sets=_set_table(content),
    )


def plot_svg(plot: Mapping[str, Any]) -> str:
    """Return what `point_plot` gave as a file of SVG, its text escaped."""
    rows = [{**row, "label": clip(row["label"], _LONGEST_LABEL)} for row in plot["rows"]]
    return page_template("plot.svg.jinja", "faceaug.bench.results").render(plot={**plot, "rows": rows}, **_SVG)


def point_plot(title: str, rows: Mapping[str, Mapping[str, Any]], *, zero: bool = False) -> dict[str, Any]:
    """Return what templates draw: a row for each arm with its seeds, mean and interval, in percent of the width.

    Parameters
    ----------
    title : str
    rows : mapping of arm to summary
        "mean", "low", "high" and "values", shares of 1; a row without a mean is left out.
    zero : bool
        Whether 0 is in the plot, with a line.
    """
    known = {name: row for name, row in rows.items() if row["mean"] is not None}
    values = [100 * value for row in known.values() for value in [*row["values"], row["mean"]]]
    values += [100 * row[end] for row in known.values() for end in ("low", "high") if row[end] is not None]
    values += [0.0] if zero or not values else []
    low, high = min(values), max(values)
    margin = max(0.05 * (high - low), 0.5)
    low, high = low - margin, high + margin

    def place(value: float) -> float:
        return float(round(100 * (value - low) / (high - low), 2))

    def text(value: float) -> str:
        return f"{round(100 * value, 1) + 0.0:{'+' if zero else ''}.1f}"  # no -0.0

    drawn = [
        {
            "label": name,
            "mean": place(100 * row["mean"]),
            "text": text(row["mean"]),
            "low": None if row["low"] is None else place(100 * row["low"]),
            "high": None if row["high"] is None else place(100 * row["high"]),
            "interval": "" if row["low"] is None else f"{text(row['low'])} to {text(row['high'])}",
            "seeds": [place(100 * value) for value in row["values"]],
        }
        for name, row in known.items()
    ]
    return {
        "title": title,
        "rows": drawn,
        "zero": place(0.0) if zero else None,
        "ticks": [{"at": place(tick), "text": f"{tick:g}"} for tick in round_ticks(low, high)],
    }


def _facts(content: Mapping[str, Any]) -> dict[str, str]:
    recipe, dataset = content["recipe"], content["dataset"]
    model, training = recipe["model"], recipe["training"]
    left_out = f", {dataset['unlabelled']:,} more lack a label" if dataset["unlabelled"] else ""
    return {
        "data set": f"{dataset['name']} ({dataset['faces']:,} faces{left_out})",
        "task": _listed(recipe["task"]),
        "groups": _listed(recipe["groups"]),
        "thinned": "; ".join(_thinned(group) for group in recipe["imbalance"]) or "nothing",
        "model": model["name"] + (f", {model['head']} head" if model["name"] == "features" else ""),
        "training": f"{training['steps']:,} steps of {training['batch_size']}, {training['trials']} trials an arm",
        "seeds": ", ".join(map(str, content["seeds"])),
        "command": content["command"],
        "machine": content["machine"],
        "versions": ", ".join(f"{name} {number}" for name, number in content["versions"].items()),
    }


def _thinned(group: Mapping[str, Any]) -> str:
    left = f"{group['count']:,} faces" if group["share"] is None else f"{100 * group['share']:g}% of the training part"
    return f"{group['by']} {', '.join(group['levels'])} to {left}"


def _listed(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def _set_table(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return, for each engine, its samples and the figures of its sets, means over seeds."""
    sets = {
        run["synthetic"]["folder"]: run["synthetic"]
        for run in content["runs"]
        if run["synthetic"] and run["synthetic"].get("figures")
    }
    rows = []
    for engine in dict.fromkeys(each["engine"] for each in sets.values()):
        own = [each for each in sets.values() if each["engine"] == engine]
        figures = [{**each["figures"], **each["figures"]["distances"]} for each in own]
        means = {words: _mean([each[name] for each in figures]) for name, words in _SET_FIGURES.items()}
        counts = {name: sum(each[name] for each in own) for name in ("accepted", "planned")}
        rows.append({"engine": engine, "means": means, **counts})
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _group_table(content: Mapping[str, Any], selection: str) -> list[dict[str, Any]]:
    """Return, for each task, faces and accuracy of every group with every arm, means over seeds."""
    runs = content["runs"]
    tables = []
    for task in runs[0]["selected"][selection]["test"] if runs else ():
        rows = []
        for group in content["dataset"]["groups"]:
            means = {}
            for arm in content["arms"]:
                own = [run["selected"][selection]["test"][task]["groups"][group] for run in runs if run["arm"] == arm]
                means[arm] = _mean([each["accuracy"] for each in own])
            faces = [run["selected"][selection]["test"][task]["groups"][group]["n"] for run in runs]
            rows.append({"group": group, "means": means, "n": sum(faces) / len(faces)})
        tables.append({"task": task, "rows": rows})
    return tables
