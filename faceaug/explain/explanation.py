"""Explanations: which parts of the face carry an attribute, and how well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from faceaug.explain import text
from faceaug.explain.sparse_regression import SparseFit
from faceaug.utils.typing import Floats


@dataclass(frozen=True)
class FacePart:
    """An atom or a control with its coefficient.

    Attributes
    ----------
    name : str
        Of the atom or the control; "|yaw|" is the magnitude of yaw.
    kind : str
        "depth", "albedo", "view" or "light".
    region : str
        Region with most of the atom's energy; "" for a control.
    region_share : float
        Share of the atom's energy in this region.
    shows : str
        How the face differs where there is more of the attribute: "nearer", "farther", "lighter", "darker" or "mixed".
    coefficient : float
        Per standard deviation over the faces (`SparseFit.coefficients`).
    share : float or None
        Of the magnitudes of all atoms' coefficients; None for a control.
    stable : int
        Number of resamples in which the coefficient has this sign.
    """

    name: str
    kind: str
    region: str
    region_share: float
    shows: str
    coefficient: float
    share: float | None
    stable: int


@dataclass(frozen=True)
class Question:
    """What is explained, and on which faces.

    Attributes
    ----------
    attribute : str
    level, against : str
        The level that is told from others, and the others; empty for a number.
    judged_on : str
        The splits that the score is measured on, or the folds of cross-validation.
    left_out : dict of str to int
        Number of faces that were not used, by reason.
    """

    attribute: str
    level: str
    against: str
    judged_on: str
    left_out: dict[str, int]


@dataclass(frozen=True, eq=False)
class Explanation:
    """What carries an attribute, or one level of it against others.

    Attributes
    ----------
    question : Question
    fit : SparseFit
    parts : tuple of FacePart
        Those whose coefficient is not 0, atoms before controls, largest first.
    regions : dict of str to float
        Share of each region of the face: magnitudes of coefficients, spread over regions as the energy of the maps.
    kinds : dict of str to float
        The same for depth and albedo.
    change : float64 [4, M, M]
        Sum over atoms of coefficient times map: canonical depth and albedo.
    """

    question: Question
    fit: SparseFit
    parts: tuple[FacePart, ...]
    regions: dict[str, float]
    kinds: dict[str, float]
    change: Floats

    @property
    def title(self) -> str:
        """A short name of what is explained."""
        question = self.question
        if not question.level:
            return f"{question.attribute}: more"
        return f"{question.attribute}: {question.level} against {question.against}"

    @property
    def measure(self) -> str:
        """Name of the score."""
        return "balanced accuracy" if self.question.level else "R²"

    def to_dict(self) -> dict[str, Any]:
        """Return everything except `change` as JSON values."""
        question, fit = self.question, self.fit
        return {
            "attribute": question.attribute,
            "level": question.level or None,
            "against": question.against or None,
            "rows": fit.rows,
            "left_out": question.left_out,
            "judged_on": question.judged_on,
            "held_out": fit.held_out,
            "measure": self.measure,
            "score": round(fit.score, 4),
            "interval": [round(fit.low, 4), round(fit.high, 4)],
            "view_and_light_alone": round(fit.controls, 4),
            "shuffled": {"mean": round(fit.shuffled, 4), "most": round(fit.shuffled_most, 4)},
            "penalty": round(fit.penalty, 5),
            "resamples": fit.resamples,
            "parts": [
                {name: round(value, 4) if isinstance(value, float) else value for name, value in vars(part).items()}
                for part in self.parts
            ],
            "regions": {name: round(share, 4) for name, share in self.regions.items()},
            "kinds": {name: round(share, 4) for name, share in self.kinds.items()},
        }

    def to_text(self) -> str:
        """Return a table for people, at most 100 columns wide."""
        return text.explanation_text(self)
