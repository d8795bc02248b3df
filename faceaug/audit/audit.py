"""The audit: suspected wrong labels, pictures that occur twice, and labels that properties of the files give away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from faceaug.analysis.axes import Axis, AxisSpec, Codes, attribute, build_axis, parse_by
from faceaug.audit.duplicates import duplicate_groups
from faceaug.audit.label_issues import LabelIssue, check_cleanlab, label_issues
from faceaug.classifiers.feature_training import picture_features
from faceaug.datasets.content import image_digests
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.thumbnails import load_thumbnails
from faceaug.errors import DatasetError, UsageError
from faceaug.synthesis.acceptance.near_duplicates import hashes
from faceaug.utils.images import ImageInfo, Rgb
from faceaug.utils.tensors import as_tensor
from faceaug.utils.text import without_formula
from faceaug.utils.text_table import render_table
from faceaug.utils.typing import Floats

TRUNK, DUPLICATE_BITS = "lite0-stage4", 4
"""Features that labels are compared on, and differing bits of perceptual hashes up to which pictures are the same."""
SPURIOUS_AUC = 0.75
"""AUC from which a property of the files gives a level away."""
_SIDE, _BLOCK, _SHOWN = 96, 1000, 20  # pixels; pictures that are computed with at once; rows of a table of the text
_MOST_LEVELS, _FEWEST_FACES = 20, 20
"""Levels of an attribute that is looked at unasked, and faces with and without a level that is compared."""
_FRAMED_ALIKE = {"mirror": False, "rotate": False, "exposure": False, "contrast": False}


@dataclass(frozen=True)
class Duplicate:
    """A picture that is there before.

    Attributes
    ----------
    row, of : int
        The picture, and the first one of its group.
    same_file : bool
        Whether both are the same file, byte for byte; else they look alike.
    other_labels : tuple of str
        Attributes in which their labels differ.
    """

    row: int
    of: int
    same_file: bool
    other_labels: tuple[str, ...]


@dataclass(frozen=True)
class SpuriousAttribute:
    """A level of an attribute that a property of the files tells from the others.

    Attributes
    ----------
    attribute, level, prop : str
    auc : float
        0.5 tells nothing, 1 tells all: of larger values for the level, or of smaller ones.
    larger : bool
        Whether the level has the larger values.
    """

    attribute: str
    level: str
    prop: str
    auc: float
    larger: bool


@dataclass(frozen=True, eq=False)
class Audit:
    """The result of an audit.

    Attributes
    ----------
    dataset : FaceDataset
    attributes : tuple of str
        The labels that were looked at.
    issues : tuple of LabelIssue
        The most suspect first.
    duplicates : tuple of Duplicate
    spurious : tuple of SpuriousAttribute
    """

    dataset: FaceDataset
    attributes: tuple[str, ...]
    issues: tuple[LabelIssue, ...]
    duplicates: tuple[Duplicate, ...]
    spurious: tuple[SpuriousAttribute, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as plain JSON values (format "faceaug-audit")."""
        keys = self.dataset.keys
        return {
            "format": "faceaug-audit",
            "version": 1,
            "images": len(keys),
            "attributes": list(self.attributes),
            "label_issues": [{"file": keys[one.row]} | _without(asdict(one), "row") for one in self.issues],
            "duplicates": [
                {"file": keys[one.row], "first": keys[one.of], "same_file": one.same_file}
                | {"other_labels": list(one.other_labels)}
                for one in self.duplicates
            ],
            "spurious": [asdict(one) for one in self.spurious],
        }

    def to_text(self) -> str:
        """Return the audit as text."""
        keys, same = self.dataset.keys, sum(one.same_file for one in self.duplicates)
        contradicting = [one for one in self.duplicates if one.other_labels]
        lines = [
            f"{len(self.issues):,} labels of {len(keys):,} images are suspected to be wrong",
            f"{len(self.duplicates):,} images are there before ({same:,} as the same file, the others alike), "
            f"{len(contradicting):,} of them with other labels",
        ]
        suspect = [[keys[i.row], i.attribute, i.given, i.suggested, f"{i.quality:.3f}"] for i in self.issues[:_SHOWN]]
        twice = [[keys[d.row], keys[d.of], ", ".join(d.other_labels)] for d in contradicting[:_SHOWN]]
        given_away = [
            [f"{s.attribute}={s.level}", s.prop, "larger" if s.larger else "smaller", f"{s.auc:.2f}"]
            for s in self.spurious
        ]
        for title, head, rows in (
            ("The most suspect labels", ["file", "attribute", "label", "looks like", "quality"], suspect),
            ("The same picture with other labels", ["file", "first", "differ in"], twice),
            ("Levels that a property of the files gives away", ["level", "property", "", "AUC"], given_away),
        ):
            if rows:
                lines += ["", title, *render_table(head, rows, left=3)]
        return "\n".join(lines)

    def table(self) -> pd.DataFrame:
        """Return labels to use in place of those of the data set: suspects are left without label.

        Returns
        -------
        DataFrame
            "file"; the labels of the data set, without the suspected ones and without all of a picture that is there
            before; "suspect", the reason or an empty text. Written to a file, it can be given as labels, after
            rows were restored by hand where the audit is wrong.
        """
        table = self.dataset.table.rename(columns={"key": "file"}).copy()
        labels = list(self.dataset.attributes)
        table[labels] = table[labels].astype(object)
        reasons = [""] * len(table)
        for issue in self.issues:
            table.loc[issue.row, issue.attribute] = np.nan
            reasons[issue.row] += f"{issue.attribute} may be {issue.suggested}; "
        for one in self.duplicates:
            table.loc[one.row, labels] = np.nan
            reasons[one.row] += f"the same picture as {self.dataset.keys[one.of]}; "
        return table.assign(suspect=[without_formula(reason.removesuffix("; ")) for reason in reasons])


def audit(dataset: FaceDataset, by: str | Sequence[str | AxisSpec] = (), workers: int | None = None) -> Audit:
    """Look for wrong labels, pictures that occur twice, and labels that properties of the files give away.

    Parameters
    ----------
    dataset : FaceDataset
    by : str or sequence
        The labels to look at, as of `analyze`; all that are categories when empty.
    workers : int, optional
        Threads that read images.

    Raises
    ------
    UsageError
        When cleanlab is not installed, or a column does not exist.
    GeneratorError
        When the pretrained network whose features are compared is not installed.
    """
    check_cleanlab()
    axes = _axes(dataset, by)
    codes = {axis.name: axis.assign(attribute(dataset.table, axis.name)) for axis in axes}
    images, infos = load_thumbnails(dataset, _SIDE, workers)
    digests = image_digests(dataset.encoded, len(dataset), workers)
    perceptual = np.concatenate([hashes(as_tensor(block)) for block in _blocks(images)])
    first = duplicate_groups(digests, perceptual, DUPLICATE_BITS)
    features = picture_features(images, TRUNK, _FRAMED_ALIKE).plain.astype(np.float64) if axes else np.empty((0, 0))
    issues = [issue for axis in axes for issue in label_issues(axis, codes[axis.name], features, first)]
    properties = _properties(images, infos)
    return Audit(
        dataset,
        tuple(axis.name for axis in axes),
        tuple(sorted(issues, key=lambda issue: (issue.quality, issue.row))),
        tuple(_duplicate(row, int(of), digests, codes) for row, of in enumerate(first) if row != of),
        tuple(found for axis in axes for found in _spurious(axis, codes[axis.name], properties)),
    )


def _axes(dataset: FaceDataset, by: str | Sequence[str | AxisSpec]) -> list[Axis]:
    if by:
        return [build_axis(dataset.table, spec) for spec in parse_by(by)]
    axes = []
    for name in dataset.attributes:
        try:
            axes.append(build_axis(dataset.table, AxisSpec(name)))
        except (UsageError, DatasetError):  # numbers without bins, or no value
            continue
    return [axis for axis in axes if 1 < len(axis.levels) <= _MOST_LEVELS]


def _duplicate(row: int, of: int, digests: list[bytes], codes: dict[str, Codes]) -> Duplicate:
    differ = tuple(name for name, levels in codes.items() if min(levels[[row, of]]) >= 0 and levels[row] != levels[of])
    return Duplicate(row, of, digests[row] == digests[of], differ)


def _properties(images: Rgb, infos: tuple[ImageInfo, ...]) -> dict[str, Floats]:
    """Return properties [N] of the files and of their exposure, which should say nothing of a label."""
    exposure = np.concatenate([_exposure(block) for block in _blocks(images)])
    found = {
        "width": np.array([info.width for info in infos], np.float64),
        "height": np.array([info.height for info in infos], np.float64),
        "JPEG quality": np.array([info.quality or 0 for info in infos], np.float64),
        "JPEG": np.array([info.codec == "jpeg" for info in infos], np.float64),
        **dict(zip(("brightness", "contrast", "colour"), exposure.T, strict=True)),
    }
    return {name: values for name, values in found.items() if np.ptp(values) > 0}


def _exposure(images: Rgb) -> Floats:
    """Return brightness, contrast and colour [N, 3]."""
    grey = images.astype(np.float64).mean(-1)
    colour = (images.max(-1).astype(np.float64) - images.min(-1)).mean((1, 2))
    return np.stack([grey.mean((1, 2)), grey.std((1, 2)), colour], 1)


def _blocks(images: Rgb) -> Iterator[Rgb]:
    """Yield the pictures some at a time: as floating-point numbers all of them may not fit in memory."""
    return (images[start : start + _BLOCK] for start in range(0, len(images), _BLOCK))


def _spurious(axis: Axis, codes: Codes, properties: dict[str, Floats]) -> list[SpuriousAttribute]:
    known, found = codes >= 0, []
    for code, level in enumerate(axis.levels):
        inside = codes[known] == code
        if min(inside.sum(), (~inside).sum()) < _FEWEST_FACES:
            continue
        for name, values in properties.items():
            auc = float(roc_auc_score(inside, values[known]))
            if max(auc, 1 - auc) >= SPURIOUS_AUC:
                found.append(SpuriousAttribute(axis.name, level, name, round(max(auc, 1 - auc), 4), auc > 0.5))
    return found


def _without(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}
