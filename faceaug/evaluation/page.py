"""The evaluation of samples as text for a terminal and as a page without scripts. All text of the page is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faceaug.pages.template import page_template
from faceaug.utils.text_table import label_columns, render_table

_CELL_FIGURES = (
    ("precision", "precision"),
    ("density", "density"),
    ("coverage", "coverage"),
    ("diversity", "diversity"),
    ("agreement", "label agreement"),
    ("agreement_photographs", "agreement of photographs"),
    ("copies", "near copies"),
)
_MOST_CELLS = 60


def figures_in_all(content: Mapping[str, Any]) -> list[tuple[str, float | None, float | None, str]]:
    """Return rows of name, value of samples, value of held-out photographs, and what is better.

    Parameters
    ----------
    content : mapping
        JSON values of `OutputEvaluation.to_dict`.
    """
    found = content["figures"]
    samples, reference = found["distances"], found["reference"]
    return [
        ("precision", samples["precision"], reference["precision"], "higher: fidelity"),
        ("recall", samples["recall"], reference["recall"], "higher: diversity"),
        ("density", samples["density"], reference["density"], "about 1"),
        ("coverage", samples["coverage"], reference["coverage"], "higher: diversity"),
        ("Fréchet distance", samples["frechet"], reference["frechet"], "lower"),
        ("kernel distance", samples["kernel"], reference["kernel"], "lower"),
        ("real against synthetic, AUC", found["auc"], found["auc_photographs"], "0.5: not told apart"),
        ("near copies of photographs", found["copies"], 0.01, "not far above 0.01"),
        ("label agreement, third classifier", found["agreement"], found["agreement_photographs"], "higher"),
        ("diversity within cells", found["diversity"], 1.0, "about 1"),
    ]


def evaluation_text(content: Mapping[str, Any]) -> str:
    """Return the evaluation as text."""
    found = content["figures"]
    rows = [[name, _shown(value), _shown(other), better] for name, value, other, better in figures_in_all(content)]
    head = render_table(["", "samples", "held-out photographs", ""], rows, left=1)
    cells = sorted(found["cells"], key=lambda cell: (cell["agreement"] is None, cell["agreement"] or 0))[:_MOST_CELLS]
    levels = [content["levels"][str(cell["cell"])] for cell in cells]
    names = label_columns(list(levels[0])) if levels else []
    body = [
        [*label_columns(list(each.values())), f"{cell['samples']:,}", *(_shown(cell[key]) for key, _ in _CELL_FIGURES)]
        for cell, each in zip(cells, levels, strict=True)
    ]
    header = [*names, "samples", *(name for _, name in _CELL_FIGURES)]
    compared = (
        f"{found['distances']['pictures']:,} of {content['samples']:,} samples, "
        f"{found['distances']['photographs']:,} photographs of the same cells; {content['features']}"
    )
    return "\n".join([compared, "", *head, "", *render_table(header, body, left=len(names), width=130)])


def render_evaluation_page(content: Mapping[str, Any]) -> str:
    """Return the page as HTML."""
    return page_template("evaluation.html.jinja", "faceaug.evaluation").render(
        content=content,
        figures=figures_in_all(content),
        columns=[name for _, name in _CELL_FIGURES],
        keys=[key for key, _ in _CELL_FIGURES],
        shown=_shown,
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"
