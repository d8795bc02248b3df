"""Which localized parts of the face carry an attribute of a data set (docs/method.md, section 6).

Atoms, the localized semantics of canonical depth and albedo, are measured on every photograph. The attribute is
regressed on them sparsely, with view and light as controls: a group that is photographed from another side or in
another light must not seem to have another face.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceaug.analysis.axes import AxisSpec, attribute, build_axis, is_continuous, numbers, parse_by
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.splits import SPLIT_COLUMN
from faceaug.errors import DatasetError, UsageError
from faceaug.explain.explanation import Explanation, FacePart, Question
from faceaug.explain.sparse_regression import CV_FOLDS, SparseFit, fit_sparse
from faceaug.latents.bundle import ATOM_KINDS, Bundle
from faceaug.latents.face_regions import REGIONS
from faceaug.measurement.estimator import FaceEstimator
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.utils.images import LUMA_WEIGHTS
from faceaug.utils.typing import Bools, Floats, Indices

_log = logging.getLogger(__name__)

_MIN_FACES = 30  # of a class, and of the others, to learn from; a third of that to judge on
_SIGNED_FACTORS = ("yaw", "roll", "light_x")  # they change sign in the mirror, so their magnitudes are controls too
_MIN_NET_SHARE = 0.2  # net share of an atom's change from which it has a direction
_DIRECTIONS = {"depth": ("nearer", "farther"), "albedo": ("darker", "lighter")}  # of less and of more


@dataclass(frozen=True)
class ExplainConfig:
    """How attributes are explained.

    Attributes
    ----------
    use_splits : bool
        Learn from the training split and judge on the others, where the data set has splits.
    max_faces : int
        Most faces that are learned from; more do not change the result visibly.
    resamples, shuffles : int
        Bootstrap resamples for the stability of coefficients, and shuffles of labels for the baseline.
    seed : int
    """

    use_splits: bool = True
    max_faces: int = 20_000
    resamples: int = 50
    shuffles: int = 20
    seed: int = 0


def face_of(estimator: FaceEstimator) -> Bundle:
    """Return the face and the atoms that an estimator reads.

    Raises
    ------
    DatasetError
        When it reads no atoms.
    """
    if not isinstance(estimator.atoms, Bundle):
        raise DatasetError(
            "what measures images here knows no localized parts: make it with faceaug discover, and name the file as "
            "--reconstruction FILE"
        )
    return estimator.atoms


def columns_for(dataset: FaceDataset, by: str | Sequence[str | AxisSpec], bundle: Bundle) -> list[str]:
    """Return the measured columns that an explanation needs, after checking that it is possible.

    Raises
    ------
    UsageError
        When an attribute is not a label, or is itself an atom, view or light.
    DatasetError
        When the labels hold atoms that were measured with another reconstruction.
    """
    for spec in parse_by(by):
        if spec.column in (*bundle.atoms, *FACTOR_NAMES):
            what = "a part of the face itself" if spec.column in bundle.atoms else "a control of the explanation"
            raise UsageError(f"{spec.column!r} is {what}: name another attribute to explain")
        try:
            attribute(dataset.table, spec.column)
        except UsageError as error:
            raise UsageError(f"--explain needs a label: {error}") from error
    present = set(bundle.atoms) & set(dataset.table.columns)
    if present and present != set(bundle.atoms):
        raise DatasetError(
            f"the labels hold {len(present)} of the {len(bundle.atoms)} parts that are needed: they were measured with "
            "another reconstruction; name its file as --reconstruction FILE, or give labels without them"
        )
    return [*FACTOR_NAMES, *bundle.atoms]


def explain(
    dataset: FaceDataset, by: str | Sequence[str | AxisSpec], bundle: Bundle, config: ExplainConfig | None = None
) -> list[Explanation]:
    """Find which localized parts of the face carry attributes.

    Parameters
    ----------
    dataset : FaceDataset
        Its table holds the columns of `columns_for`, NaN where nothing could be measured.
    by : str or sequence
        As for `faceaug.analyze`: "gender,age". Numbers are explained as numbers unless they are binned. Levels are
        explained one by one against all others; of two levels, the second.
    bundle : Bundle
        The atoms that were measured.
    config : ExplainConfig, optional

    Returns
    -------
    list of Explanation
        At least one for each attribute.

    Raises
    ------
    UsageError
        See `columns_for`.
    DatasetError
        When an attribute does not vary, or too few faces have it; of several levels, rare ones are left out with a
        warning.
    """
    config = config or ExplainConfig()
    columns_for(dataset, by, bundle)
    faces = _measured_faces(dataset.table, bundle, config)
    explanations: list[Explanation] = []
    for spec in parse_by(by):
        problems = []
        for response in _responses(dataset.table, spec):
            problem = _too_few(response.values[faces.measured & response.labelled & faces.train], _MIN_FACES)
            if problem:
                name = f"{spec.column}={response.level}" if response.level else spec.column
                problems.append(f"{name} {problem}: it cannot be explained")
            else:
                explanations.append(_explain(spec.column, response, faces, bundle, config))
        if problems and not any(one.question.attribute == spec.column for one in explanations):
            raise DatasetError(f"{dataset.name}: {problems[0]}; give more faces of it, or merge levels")
        for sentence in problems:
            _log.warning("%s: %s", dataset.name, sentence)
    return explanations


@dataclass(frozen=True, eq=False)
class _Faces:
    """What is known of N faces.

    Attributes
    ----------
    predictors : float64 [N, P]
        Atoms, then controls: view and light, and the magnitudes of those that change sign in the mirror.
    names : list of str, length P
    controls : bool [P]
        Which of them are controls.
    measured, train : bool [N]
        Faces whose predictors are all known, and those to learn from.
    held_out : bool [N] or None
        Faces to judge on; None where no split says which.
    held_out_name : str
        Names of their splits.
    """

    predictors: Floats
    names: list[str]
    controls: Bools
    measured: Bools
    train: Bools
    held_out: Bools | None
    held_out_name: str


def _measured_faces(table: pd.DataFrame, bundle: Bundle, config: ExplainConfig) -> _Faces:
    columns = [*bundle.atoms, *FACTOR_NAMES]
    own = np.stack([numbers(attribute(table, name), name) for name in columns], 1)
    magnitudes = np.abs(own[:, [columns.index(name) for name in _SIGNED_FACTORS]])
    predictors = np.concatenate([own, magnitudes], 1)
    names = [*columns, *(f"|{name}|" for name in _SIGNED_FACTORS)]
    controls = np.arange(len(names)) >= len(bundle.atoms)
    measured = np.isfinite(predictors).all(1)
    train, held_out, held_out_name = _split_masks(table, config.use_splits)
    return _Faces(predictors, names, controls, measured, train, held_out, held_out_name)


def _split_masks(table: pd.DataFrame, use_splits: bool) -> tuple[Bools, Bools | None, str]:
    if use_splits and SPLIT_COLUMN in table.columns:
        split = table[SPLIT_COLUMN].astype(object)
        train = (split == "train").to_numpy(bool)
        held_out = split.isin(["val", "test"]).to_numpy(bool)
        if train.any() and held_out.any():
            return train, held_out, " and ".join(name for name in ("val", "test") if (split == name).any())
    return np.ones(len(table), bool), None, ""


@dataclass(frozen=True, eq=False)
class _Response:
    """What is regressed: a number [N], or whether faces have a level [N]; and which faces are labelled [N]."""

    level: str
    against: str
    values: Floats | Bools
    labelled: Bools


def _responses(table: pd.DataFrame, spec: AxisSpec) -> Iterator[_Response]:
    """Yield what is regressed for an attribute: the number, or each level against others."""
    column = attribute(table, spec.column)
    if spec.binning is None and is_continuous(column):
        values = numbers(column, spec.column)
        yield _Response("", "", np.nan_to_num(values), np.isfinite(values))
        return
    axis = build_axis(table, spec)
    codes = axis.assign(column)
    if len(axis.levels) < 2:
        raise DatasetError(f"{spec.column!r} is {axis.levels[0]!r} on every face that has it: nothing can be explained")
    two = len(axis.levels) == 2
    for level in axis.levels[1:] if two else axis.levels:
        yield _Response(level, axis.levels[0] if two else "all others", codes == axis.levels.index(level), codes >= 0)


def _too_few(values: Floats | Bools, minimum: int) -> str:
    """Return what is missing to learn from, or to judge on, these values; an empty text if nothing is."""
    if values.dtype == bool:
        few = min(int(values.sum()), int(np.logical_not(values).sum()))
        return f"has {few} faces that are measured where at least {minimum} are needed" if few < minimum else ""
    if len(values) < 2 * minimum:
        return f"is known of {len(values)} faces that are measured where at least {2 * minimum} are needed"
    return "is the same on all faces that are measured" if np.ptp(values) == 0 else ""


def _explain(name: str, response: _Response, faces: _Faces, bundle: Bundle, config: ExplainConfig) -> Explanation:
    usable = faces.measured & response.labelled
    rows, held_out = _sampled_rows(usable & faces.train, config), None
    judged_on = f"{CV_FOLDS} folds in turn"
    if faces.held_out is not None and not _too_few(response.values[usable & faces.held_out], _MIN_FACES // 3):
        rows = np.sort(np.concatenate([rows, np.flatnonzero(usable & faces.held_out)]))
        held_out, judged_on = faces.held_out[rows], faces.held_out_name
    fit = fit_sparse(
        faces.predictors[rows],
        response.values[rows],
        faces.controls,
        held_out,
        resamples=config.resamples,
        shuffles=config.shuffles,
        seed=config.seed,
    )
    left_out = {
        "not measured": int((response.labelled & ~faces.measured).sum()),
        "without a label": int((~response.labelled).sum()),
    }
    return _interpret(Question(name, response.level, response.against, judged_on, left_out), fit, faces.names, bundle)


def _sampled_rows(usable: Bools, config: ExplainConfig) -> Indices:
    rows = np.flatnonzero(usable)
    if len(rows) > config.max_faces:
        rows = np.sort(np.random.default_rng(config.seed).choice(rows, config.max_faces, replace=False))
    return rows


def _interpret(question: Question, fit: SparseFit, names: Sequence[str], bundle: Bundle) -> Explanation:
    """Return coefficients as parts of the face: by region, by kind, and as a map."""
    count = len(bundle.atoms)
    own = fit.coefficients[:count]
    total = max(float(np.abs(own).sum()), 1e-300)
    parts = [
        _atom_part(bundle, int(k), fit, total) if k < count else _control_part(names[k], int(k), fit)
        for k in np.argsort(-np.abs(fit.coefficients), kind="stable")
        if fit.coefficients[k] != 0
    ]
    weight = np.abs(own) / total
    is_depth = np.array([_kind(bundle, name) == "depth" for name in bundle.atoms])
    return Explanation(
        question=question,
        fit=fit,
        parts=tuple(sorted(parts, key=lambda part: part.share is None)),
        regions={region: float(share) for region, share in zip(REGIONS, weight @ bundle.shares, strict=True)},
        kinds={"depth": float(weight[is_depth].sum()), "albedo": float(weight[~is_depth].sum())},
        change=np.asarray(np.einsum("k,kcyx->cyx", own, bundle.maps), np.float64),
    )


def _kind(bundle: Bundle, name: str) -> str:
    (row,) = bundle.directions.index([name])
    return "depth" if bundle.directions.kinds[row] == ATOM_KINDS[0] else "albedo"


def _control_part(name: str, k: int, fit: SparseFit) -> FacePart:
    kind = "light" if "light" in name else "view"
    return FacePart(name, kind, "", 0.0, "", float(fit.coefficients[k]), None, int(fit.stable[k]))


def _atom_part(bundle: Bundle, k: int, fit: SparseFit, total: float) -> FacePart:
    name, coefficient = bundle.atoms[k], float(fit.coefficients[k])
    region, share = bundle.region(name) or ("", 0.0)
    kind = _kind(bundle, name)
    map_ = bundle.maps[k, 0] if kind == "depth" else np.tensordot(np.array(LUMA_WEIGHTS), bundle.maps[k, 1:], 1)
    energy = float(np.square(map_).sum())
    net = coefficient * float((map_ * np.abs(map_)).sum())
    less, more = _DIRECTIONS[kind]
    directed = energy > 0 and abs(net) > _MIN_NET_SHARE * energy * abs(coefficient)
    shows = (more if net > 0 else less) if directed else "mixed"
    return FacePart(name, kind, region, share, shows, coefficient, abs(coefficient) / total, int(fit.stable[k]))
