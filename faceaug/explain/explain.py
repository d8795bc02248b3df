"""Which localised parts of the face carry an attribute of a data set (method.md, section 6: the paper's analysis).

Atoms, the localised semantics of canonical depth and albedo, are measured on every photograph; the attribute is
regressed on them sparsely, with view and light as controls, since a group that is photographed from another side or in
another light must not seem to have another face.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faceaug.analysis.axes import AxisSpec, attribute, build_axis, is_continuous, numbers, parse_by
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.splits import SPLIT_COLUMN
from faceaug.errors import DatasetError, UsageError
from faceaug.explain import text as explain_text
from faceaug.explain.sparse_regression import FOLDS, SparseFit
from faceaug.explain.sparse_regression import fit_sparse as regress
from faceaug.latents.bundle import ATOM_KINDS, Bundle
from faceaug.latents.face_regions import REGIONS
from faceaug.measurement.estimator import FaceEstimator
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.utils.typing import Floats

Mask = NDArray[np.bool_]
Answer = NDArray[np.float64] | NDArray[np.bool_]
_log = logging.getLogger(__name__)

LEAST = 30
"""Faces of a class, and of the others, that are needed to learn from; a third of that to judge on."""
MOST = 20_000
"""Faces that are learnt from, at most; more change nothing that can be seen."""
ODD = ("yaw", "roll", "light_x")
"""What changes sign in the mirror. An attribute can hang on its size as well, so that is a control too."""
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_MIXED = 0.2  # net share of an atom's change, less than which it is neither the one nor the other
_WORDS = {"depth": ("nearer", "farther"), "albedo": ("darker", "lighter")}


@dataclass(frozen=True)
class FacePart:
    """A reading with a coefficient.

    Attributes
    ----------
    name : str
        An atom's, or a control's; "|yaw|" is the size of yaw.
    kind : str
        "depth", "albedo", "view" or "light".
    region : str
        With most of the atom's energy; "" for a control.
    region_share : float
        Of the energy in it.
    shows : str
        What there is more of with the attribute: "nearer", "farther", "lighter", "darker", or "mixed".
    coefficient : float
        Per standard deviation over the photographs (`SparseFit.coefficients`).
    share : float or None
        Of the sizes of all atoms' coefficients; None for a control.
    stable : int
        In how many resamples the coefficient has this sign.
    """

    name: str
    kind: str
    region: str
    region_share: float
    shows: str
    coefficient: float
    share: float | None
    stable: int


@dataclass(frozen=True, eq=False)
class Explanation:
    """What carries one attribute, or one level of it against the rest.

    Attributes
    ----------
    attribute : str
    level, against : str
        Empty for a number.
    fit : SparseFit
    parts : tuple of FacePart
        Those whose coefficient is not 0, the largest first, atoms before controls.
    regions : dict of str to float
        Share of the atoms' coefficients, each spread over regions as its map's energy is.
    kinds : dict of str to float
        The same for depth and albedo.
    change : float64 [4, M, M]
        The sum of coefficient times map over atoms: canonical depth and albedo.
    judged_on : str
    left_out : dict of str to int
        Faces that took no part, by reason.
    """

    attribute: str
    level: str
    against: str
    fit: SparseFit
    parts: tuple[FacePart, ...]
    regions: dict[str, float]
    kinds: dict[str, float]
    change: Floats
    judged_on: str
    left_out: dict[str, int]

    @property
    def title(self) -> str:
        """What is explained, in a few words."""
        return f"{self.attribute}: {self.level} against {self.against}" if self.level else f"{self.attribute}: more"

    @property
    def measure(self) -> str:
        """What the score is."""
        return "balanced accuracy" if self.level else "R²"

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the map as plain JSON values."""
        fit = self.fit
        return {
            "attribute": self.attribute,
            "level": self.level or None,
            "against": self.against or None,
            "rows": fit.rows,
            "left_out": self.left_out,
            "judged_on": self.judged_on,
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
        return explain_text.render(self)


def face_of(measurer: FaceEstimator) -> Bundle:
    """Return the face and its atoms that a measurer reads.

    Raises
    ------
    DatasetError
        When it reads none.
    """
    if not isinstance(measurer.atoms, Bundle):
        raise DatasetError(
            "what measures pictures here knows no localised parts: make it with faceaug discover, and name the file as "
            "--reconstruction FILE"
        )
    return measurer.atoms


def columns_for(dataset: FaceDataset, by: str | Sequence[str | AxisSpec], bundle: Bundle) -> list[str]:
    """Return the measured columns that an explanation needs, once it is clear that it can be asked for.

    Raises
    ------
    UsageError
        When an attribute is no label, or is itself a localised part, view or light.
    DatasetError
        When the labels hold parts that were measured with another reconstruction.
    """
    for spec in parse_by(by):
        if spec.column in (*bundle.atoms, *FACTOR_NAMES):
            what = "a part of the face itself" if spec.column in bundle.atoms else "what parts are freed of"
            raise UsageError(f"{spec.column!r} is {what}: name another attribute to explain")
        try:
            attribute(dataset.table, spec.column)
        except UsageError as error:
            raise UsageError(f"--explain needs a label: {error}") from error
    there = set(bundle.atoms) & set(dataset.table.columns)
    if there and there != set(bundle.atoms):
        raise DatasetError(
            f"the labels hold {len(there)} of the {len(bundle.atoms)} parts that are needed: they were measured with "
            "another reconstruction; name its file as --reconstruction FILE, or give labels without them"
        )
    return [*FACTOR_NAMES, *bundle.atoms]


def explain(
    dataset: FaceDataset, by: str | Sequence[str | AxisSpec], bundle: Bundle, *, use_splits: bool = True, seed: int = 0
) -> list[Explanation]:
    """Find which localised parts carry attributes.

    Parameters
    ----------
    dataset : FaceDataset
        Its table holds the columns of `columns_for`, NaN where nothing could be measured.
    by : str or sequence
        As `faceaug.analyze` takes it: "gender,age". Numbers are explained as numbers unless they are binned; levels
        one by one against the rest, and of two levels the second.
    bundle : Bundle
        The atoms that were measured.
    use_splits : bool
        Learn from the training part and judge on the others, where the dataset is divided so.
    seed : int

    Returns
    -------
    list of Explanation
        At least one for each attribute.

    Raises
    ------
    UsageError
        See `columns_for`.
    DatasetError
        When an attribute does not vary, or too few faces have it; of several levels the rare ones are left out with a
        warning.
    """
    columns_for(dataset, by, bundle)
    readings, names, controls = _readings(dataset.table, bundle)
    known = np.isfinite(readings).all(1)
    learnt, held, judged_on = _parts(dataset.table, use_splits)
    found: list[Explanation] = []
    for spec in parse_by(by):
        skipped = []
        for level, against, answer, labelled in _answers(dataset.table, spec):
            usable = known & labelled
            apart = held if held is not None and not _lacking(answer[usable & held], LEAST // 3) else None
            lacking = _lacking(answer[usable & learnt], LEAST)
            if lacking:
                skipped.append(f"{spec.column}{f'={level}' if level else ''} {lacking}: it cannot be explained")
                continue
            rows = _some(usable & learnt, seed)
            if apart is not None:
                rows = np.sort(np.concatenate([rows, np.flatnonzero(usable & apart)]))
            left = {"not measured": int((labelled & ~known).sum()), "without a label": int((~labelled).sum())}
            where = judged_on if apart is not None else f"{FOLDS} folds in turn"
            fit = regress(readings[rows], answer[rows], controls, None if apart is None else apart[rows], seed=seed)
            found.append(_explanation(spec.column, level, against, fit, names, bundle, where, left))
        if skipped and not any(one.attribute == spec.column for one in found):
            raise DatasetError(f"{dataset.name}: {skipped[0]}; give more faces of it, or merge levels")
        for sentence in skipped:
            _log.warning("%s: %s", dataset.name, sentence)
    return found


def _readings(table: pd.DataFrame, bundle: Bundle) -> tuple[Floats, list[str], Mask]:
    """Return atoms and controls [N, P], their names, and which are controls."""
    own = np.stack([numbers(attribute(table, name), name) for name in (*bundle.atoms, *FACTOR_NAMES)], 1)
    sizes = np.abs(own[:, [len(bundle.atoms) + FACTOR_NAMES.index(name) for name in ODD]])
    names = [*bundle.atoms, *FACTOR_NAMES, *(f"|{name}|" for name in ODD)]
    return np.concatenate([own, sizes], 1), names, np.arange(len(names)) >= len(bundle.atoms)


def _parts(table: pd.DataFrame, use_splits: bool) -> tuple[Mask, Mask | None, str]:
    """Return the rows to learn from, those to judge on where a split says so, and what those are called."""
    if use_splits and SPLIT_COLUMN in table.columns:
        split = table[SPLIT_COLUMN].astype(object)
        learnt = (split == "train").to_numpy(bool)
        held = split.isin(["val", "test"]).to_numpy(bool)
        if learnt.any() and held.any():
            return learnt, held, " and ".join(name for name in ("val", "test") if (split == name).any())
    return np.ones(len(table), bool), None, ""


def _answers(table: pd.DataFrame, spec: AxisSpec) -> Iterator[tuple[str, str, Answer, Mask]]:
    """Yield level, what it is told from, the answer [N], and which rows have one; level and rest are "" for numbers."""
    values = attribute(table, spec.column)
    if spec.binning is None and is_continuous(values):
        answer = numbers(values, spec.column)
        yield "", "", np.nan_to_num(answer), np.isfinite(answer)
        return
    axis = build_axis(table, spec)
    codes = axis.assign(values)
    if len(axis.levels) < 2:
        raise DatasetError(f"{spec.column!r} is {axis.levels[0]!r} on every face that has it: nothing can be explained")
    levels = axis.levels[1:] if len(axis.levels) == 2 else axis.levels
    for level in levels:
        against = axis.levels[0] if len(axis.levels) == 2 else "all others"
        yield level, against, codes == axis.levels.index(level), codes >= 0


def _lacking(answer: Answer, least: int) -> str:
    """Return what is missing for an answer to be learnt or judged, or an empty text."""
    if answer.dtype == bool:
        few = min(int(answer.sum()), int(np.logical_not(answer).sum()))
        return f"has {few} faces that are measured where at least {least} are needed" if few < least else ""
    if len(answer) < 2 * least:
        return f"is known of {len(answer)} faces that are measured where at least {2 * least} are needed"
    return "is the same on all faces that are measured" if np.ptp(answer) == 0 else ""


def _some(rows: Mask, seed: int) -> NDArray[np.int64]:
    chosen = np.flatnonzero(rows)
    if len(chosen) > MOST:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MOST, replace=False))
    return chosen


def _explanation(
    name: str, level: str, against: str, fit: SparseFit, names: Sequence[str], bundle: Bundle, judged_on: str,
    left_out: dict[str, int],
) -> Explanation:  # fmt: skip
    count = len(bundle.atoms)
    own = fit.coefficients[:count]
    total = max(float(np.abs(own).sum()), 1e-300)
    parts = []
    for k in np.argsort(-np.abs(fit.coefficients), kind="stable"):
        if fit.coefficients[k] == 0:
            continue
        parts.append(
            _atom(bundle, int(k), fit, total)
            if k < count
            else FacePart(names[k], "light" if "light" in names[k] else "view", "", 0.0, "", float(fit.coefficients[k]),
                      None, int(fit.stable[k]))
        )  # fmt: skip
    weight = np.abs(own) / total
    shape = np.array([_kind(bundle, name) == "depth" for name in bundle.atoms])
    return Explanation(
        attribute=name,
        level=level,
        against=against,
        fit=fit,
        parts=tuple(sorted(parts, key=lambda part: part.share is None)),
        regions={region: float(share) for region, share in zip(REGIONS, weight @ bundle.shares, strict=True)},
        kinds={"depth": float(weight[shape].sum()), "albedo": float(weight[~shape].sum())},
        change=np.asarray(np.einsum("k,kcyx->cyx", own, bundle.maps), np.float64),
        judged_on=judged_on,
        left_out=left_out,
    )


def _kind(bundle: Bundle, name: str) -> str:
    (row,) = bundle.directions.index([name])
    return "depth" if bundle.directions.kinds[row] == ATOM_KINDS[0] else "albedo"


def _atom(bundle: Bundle, k: int, fit: SparseFit, total: float) -> FacePart:
    name, coefficient = bundle.atoms[k], float(fit.coefficients[k])
    region, share = bundle.region(name) or ("", 0.0)
    kind = _kind(bundle, name)
    shown = bundle.maps[k, 0] if kind == "depth" else np.tensordot(LUMA, bundle.maps[k, 1:], 1)
    energy = float(np.square(shown).sum())
    net = coefficient * float((shown * np.abs(shown)).sum())
    less, more = _WORDS[kind]
    clear = energy > 0 and abs(net) > _MIXED * energy * abs(coefficient)
    words = (more if net > 0 else less) if clear else "mixed"
    return FacePart(name, kind, region, share, words, coefficient, abs(coefficient) / total, int(fit.stable[k]))
