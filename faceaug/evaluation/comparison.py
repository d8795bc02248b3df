"""Samples against photographs by their features: pure functions on arrays, one home of every figure.

Features are of a frozen network; which, the caller states beside the figures. Rows are pictures.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from faceaug.errors import UsageError
from faceaug.gan_training.metrics import (
    density_coverage,
    frechet_distance,
    kernel_distance,
    nearest_distances,
    precision_recall,
)
from faceaug.utils.typing import Floats, Indices

FOLDS, REGULARIZATION = 5, 0.01
NEIGHBOURS = 5
"""Neighbours that set the radius of a ball around a photograph, for density and coverage."""
COPY_QUANTILE = 0.01
"""A sample is nearer to a photograph than photographs are to each other below this quantile of their distances."""
LEAST_COMPARED, LEAST_IN_CELL = 20, 10
_PAIRS = 2000  # of two pictures of a cell, whose mean distance is its spread


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Pictures as features.

    Attributes
    ----------
    features : float32 [N, F]
    cells : int64 [N]
        The cell of each.
    groups : int64 [N]
        Pictures of one number show one photograph, or are made from it; no classifier is fitted on one and tested on
        another. A morph has the number of its host: its donors' photographs are not kept apart from it.
    """

    features: NDArray[np.float32]
    cells: Indices
    groups: Indices

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> FeatureSet:
        """Return some of the pictures."""
        return FeatureSet(self.features[rows], self.cells[rows], self.groups[rows])


@dataclass(frozen=True)
class SetDistances:
    """How a set of pictures lies to photographs.

    Attributes
    ----------
    photographs, pictures : int
        How many are compared; the figures depend on it.
    precision, recall : float
        Kynkäänniemi et al., arXiv 1904.06991, by three neighbours: share of pictures among the photographs, and of
        photographs among the pictures.
    density, coverage : float
        Naeem et al., arXiv 2002.09797: how densely photographs are surrounded by pictures, and the share of them that
        has one near.
    frechet, kernel : float
        Fréchet distance, and squared kernel distance, which is without bias and may be below 0.
    """

    photographs: int
    pictures: int
    precision: float
    recall: float
    density: float
    coverage: float
    frechet: float
    kernel: float


@dataclass(frozen=True)
class CellEvaluation:
    """The figures of one cell; None where it has too few pictures.

    Attributes
    ----------
    cell : int
    photographs, samples : int
    precision, density, coverage : float or None
        Of the cell's samples among the cell's photographs.
    diversity : float or None
        Mean distance of two samples over that of two photographs.
    agreement : float or None
        Share of samples that the third classifier puts into the cell.
    agreement_photographs : float or None
        The same of photographs that it was not fitted on.
    copies : float or None
        Share of samples nearer to a photograph than all but `COPY_QUANTILE` of the photographs are to each other.
    """

    cell: int
    photographs: int
    samples: int
    precision: float | None
    density: float | None
    coverage: float | None
    diversity: float | None
    agreement: float | None
    agreement_photographs: float | None
    copies: float | None


@dataclass(frozen=True)
class SampleEvaluation:
    """The figures of all samples and of each cell.

    Attributes
    ----------
    distances : SetDistances
        Of samples to photographs of the same cells.
    reference : SetDistances
        Of held-out photographs to photographs: what samples as good as real faces would reach.
    auc, auc_photographs : float or None
        Of a linear classifier that tells samples from photographs, on pictures that it was not fitted on; and held-out
        photographs from photographs. 0.5 is chance.
    copies : float
        Share of samples nearer to a photograph than all but `COPY_QUANTILE` of the photographs are to each other.
    agreement, agreement_photographs : float or None
        Share of samples, and of held-out photographs, that a third classifier, fitted on photographs, puts into their
        cell; None with one cell.
    diversity : float or None
        Mean over the cells; 1 is as diverse as photographs.
    cells : tuple of CellEvaluation
    """

    distances: SetDistances
    reference: SetDistances
    auc: float | None
    auc_photographs: float | None
    copies: float
    agreement: float | None
    agreement_photographs: float | None
    diversity: float | None
    cells: tuple[CellEvaluation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)


def evaluate_samples(
    real: FeatureSet, samples: FeatureSet, held_out: FeatureSet | None = None, *, seed: int = 0
) -> SampleEvaluation:
    """Compare samples with photographs of the same cells.

    Parameters
    ----------
    real : FeatureSet
        Photographs; of each cell at most as many are compared as there are samples.
    samples : FeatureSet
    held_out : FeatureSet, optional
        Photographs that no sample was made from, nor any classifier of the run fitted on. Without them half of `real`
        takes their place.
    seed : int
        Of the choice of photographs.

    Raises
    ------
    UsageError
        When fewer than `LEAST_COMPARED` samples or photographs of their cells are there.
    """
    rng = np.random.default_rng(seed)
    fitted, tested = (real, held_out) if held_out is not None else halves(real, rng)
    like = fitted.take(matched_rows(fitted.cells, samples.cells, rng))
    if min(len(like), len(samples)) < LEAST_COMPARED:
        raise UsageError(
            f"{len(samples):,} samples and {len(like):,} photographs of the same cells are too few to compare: at "
            f"least {LEAST_COMPARED} of each are needed"
        )
    tested = tested.take(matched_rows(tested.cells, samples.cells, rng))
    if len(tested) < LEAST_COMPARED // 2:
        raise UsageError(f"only {len(tested):,} held-out photographs are of the cells that samples have: give more")
    # What compares whole sets needs the same mixture of cells in each, also where photographs of a cell are few.
    alike, made, other = _of_equal_cells((like, samples, tested), rng)
    limit = copy_limit(real.features)
    copied = nearest_distances(samples.features, real.features) <= limit
    agreement = _agreement(like, samples, tested)
    with threadpool_limits(1, "blas"):
        cells = tuple(
            _cell(int(cell), (like, samples, tested), copied, agreement, rng) for cell in np.unique(samples.cells)
        )
        known = [cell.diversity for cell in cells if cell.diversity is not None]
        return SampleEvaluation(
            distances=set_distances(alike.features, made.features),
            reference=set_distances(alike.features, other.features),
            auc=separability(alike, made),
            auc_photographs=separability(alike, other),
            copies=float(copied.mean()),
            agreement=None if agreement is None else float(agreement[0].mean()),
            agreement_photographs=None if agreement is None else float(agreement[1].mean()),
            diversity=float(np.mean(known)) if known else None,
            cells=cells,
        )


def matched_rows(cells: Indices, like: Indices, rng: np.random.Generator) -> Indices:
    """Return rows of `cells` [N], drawn so that each cell has as many as in `like` [M], where it has as many."""
    chosen = [
        rng.permutation(np.flatnonzero(cells == cell))[:count]
        for cell, count in zip(*np.unique(like, return_counts=True), strict=True)
    ]
    return np.concatenate(chosen) if chosen else np.empty(0, np.int64)


def _of_equal_cells(sets: tuple[FeatureSet, ...], rng: np.random.Generator) -> list[FeatureSet]:
    """Return sets of which each has as many of every cell as the one that has fewest."""
    counts = [dict(zip(*np.unique(each.cells, return_counts=True), strict=True)) for each in sets]
    fewest = {cell: min(count.get(cell, 0) for count in counts) for cell in counts[0]}
    like = np.repeat(np.array(list(fewest), np.int64), list(fewest.values()))
    if len(like) < LEAST_COMPARED // 2:
        raise UsageError(
            f"samples, photographs and held-out photographs share {len(like):,} pictures of the same cells; at least "
            f"{LEAST_COMPARED // 2} are needed: give more of the cells that samples have"
        )
    return [each.take(np.sort(matched_rows(each.cells, like, rng))) for each in sets]


def halves(pictures: FeatureSet, rng: np.random.Generator) -> tuple[FeatureSet, FeatureSet]:
    """Return two halves, drawn at random, that have the same number of each cell, or one more of it."""
    order = rng.permutation(len(pictures))
    order = order[np.argsort(pictures.cells[order], kind="stable")]
    return pictures.take(order[::2]), pictures.take(order[1::2])


def set_distances(photographs: NDArray[np.float32], pictures: NDArray[np.float32]) -> SetDistances:
    """Return how pictures [M, F] lie to photographs [N, F]."""
    precision, recall = precision_recall(photographs, pictures)
    density, coverage = density_coverage(photographs, pictures, NEIGHBOURS)
    return SetDistances(
        len(photographs),
        len(pictures),
        precision,
        recall,
        density,
        coverage,
        frechet_distance(photographs, pictures),
        kernel_distance(photographs, pictures),
    )


def separability(first: FeatureSet, second: FeatureSet) -> float | None:
    """Return the AUC of a linear classifier that tells two sets apart, on pictures of groups it was not fitted on.

    None where there are too few groups for `FOLDS` folds.
    """
    values = np.concatenate([first.features, second.features])
    groups = np.concatenate([first.groups, second.groups])
    truth, score = np.repeat([0, 1], [len(first), len(second)]), np.zeros(len(values))
    if len(np.unique(groups)) < FOLDS:
        return None
    with threadpool_limits(1, "blas"):
        for fitted, held_out in GroupKFold(FOLDS).split(values, truth, groups):
            if len(np.unique(truth[fitted])) < 2:
                return None
            model = _linear_model().fit(values[fitted], truth[fitted])
            score[held_out] = model.decision_function(values[held_out])
    return float(roc_auc_score(truth, score))


def diversity(photographs: NDArray[np.float32], samples: NDArray[np.float32], rng: np.random.Generator) -> float:
    """Return the mean distance between two samples over that between two photographs."""

    def spread(values: NDArray[np.float32]) -> float:
        one, other = rng.integers(0, len(values), (2, _PAIRS))
        apart = one != other
        return float(np.linalg.norm(values[one[apart]] - values[other[apart]], axis=1).mean())

    return spread(samples) / max(spread(photographs), 1e-12)


def copy_limit(photographs: NDArray[np.float32]) -> float:
    """Return the distance up to which a share `COPY_QUANTILE` of photographs [N, F] has its nearest neighbour.

    Twins, at no distance, do not count.
    """
    nearest = nearest_distances(photographs, photographs, 2)
    return float(np.quantile(nearest[nearest > 0], COPY_QUANTILE)) if (nearest > 0).any() else 0.0


def _agreement(fitted: FeatureSet, samples: FeatureSet, tested: FeatureSet) -> tuple[Floats, Floats] | None:
    """Return whether a fresh classifier of cells finds that of each sample, and of each held-out photograph."""
    if len(np.unique(fitted.cells)) < 2:
        return None
    with threadpool_limits(1, "blas"):
        free = ~np.isin(fitted.groups, samples.groups)  # of photographs that no sample was made from, if there are any
        every = len(np.unique(fitted.cells[free])) == len(np.unique(fitted.cells))
        known = fitted.take(free) if every else fitted
        model = _linear_model().fit(known.features, known.cells)
        return tuple(  # type: ignore[return-value]
            np.asarray(model.predict(each.features) == each.cells, np.float64) for each in (samples, tested)
        )


def _linear_model() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=REGULARIZATION, max_iter=500, class_weight="balanced"))


def _cell(
    cell: int,
    sets: tuple[FeatureSet, FeatureSet, FeatureSet],
    copied: NDArray[np.bool_],
    agreement: tuple[Floats, Floats] | None,
    rng: np.random.Generator,
) -> CellEvaluation:
    """Return the figures of one cell; `sets` are photographs, samples and held-out photographs."""
    photographs, samples, tested = sets
    own, made, other = (each.cells == cell for each in (photographs, samples, tested))
    a, b = photographs.features[own], samples.features[made]
    enough = min(len(a), len(b)) >= LEAST_IN_CELL
    precision = precision_recall(a, b)[0] if enough else None
    density, coverage = density_coverage(a, b, NEIGHBOURS) if enough else (None, None)
    return CellEvaluation(
        cell,
        len(a),
        len(b),
        precision,
        density,
        coverage,
        diversity(a, b, rng) if enough else None,
        float(agreement[0][made].mean()) if agreement is not None else None,
        float(agreement[1][other].mean()) if agreement is not None and other.any() else None,
        float(copied[made].mean()),
    )
