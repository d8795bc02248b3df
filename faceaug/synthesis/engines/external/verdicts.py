"""The table of candidates in an output folder: each with its hash, its cell, and why it was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from faceaug.analysis.axes import Axis, cell_count, cell_levels
from faceaug.errors import IntegrityError
from faceaug.synthesis.acceptance.gates import DUPLICATE, REAL_COPY
from faceaug.synthesis.engines.external.assessment import (
    CONFIRMED,
    FACE,
    LARGE,
    NEW_PERSON,
    NO_CELL,
    NOT_REAL,
    PLACED,
    READABLE,
    Verdict,
)
from faceaug.synthesis.engines.external.candidates import Candidates
from faceaug.utils.files import atomic
from faceaug.utils.text import without_formula

CANDIDATES_FILE = "candidates.csv"
LEFT_OUT = "candidate with its label"
"""The reason of files that the reader of the candidates left out; the detail says why."""
EXPLANATIONS = {
    LEFT_OUT: "the file and its label could not be brought together",
    READABLE: "the file is no JPEG, PNG or WebP that can be decoded, or it changed meanwhile",
    LARGE: "the picture has fewer pixels than classifiers read",
    NOT_REAL: "the picture is nearly one of the data set's own images",
    FACE: "no single face was found and measured",
    CONFIRMED: "both classifiers find another label more probable than the claimed one, or the plan does not count it",
    PLACED: "measured view or light is outside the bins that are counted",
    NEW_PERSON: "the person is one of the data set's, as the embedder measures identity",
    DUPLICATE: "the picture is nearly the same as another one",
    REAL_COPY: "the picture is a real image, as it is, mirrored, shifted, zoomed or turned (threshold resemblance)",
    "well exposed": "darker, brighter or more clipped than real faces (threshold exposure)",
    "natural colour": "bluer or greener than real faces (threshold exposure)",
    "face quality": "more like a distorted face than real faces are (threshold exposure)",
    "realistic": "further from real faces than they are from each other (threshold exposure)",
    "attribute reached": "the guidance classifier is not sure of the label (threshold confidence)",
    "held-out classifier agrees": "the held-out classifier is not sure of the label (threshold held_out)",
}
"""What the reasons mean; gates of other packages have their names alone."""


def write_verdicts(path: Path, candidates: Candidates, verdicts: Sequence[Verdict], axes: Sequence[Axis]) -> None:
    """Write the table: a row a candidate, in their order, followed by those that could not be listed.

    Beside file, SHA-256, number of the cell, reason and detail it has the levels of the cell, what the candidate came
    with (`claimed/NAME`), and what was read off it.
    """
    table = pd.DataFrame(
        {
            "file": list(candidates.dataset.keys),
            "sha256": [verdict.sha256.hex() for verdict in verdicts],
            "cell": [verdict.cell for verdict in verdicts],
            "reason": [verdict.reason for verdict in verdicts],
            "detail": [verdict.detail for verdict in verdicts],
        }
    )
    levels = [cell_levels(axes, k) for k in range(cell_count(axes))]
    parts: list[Any] = [
        table,
        *(pd.Series([levels[v.cell][a.name] if v.cell >= 0 else "" for v in verdicts], name=a.name) for a in axes),
        candidates.dataset.table.drop(columns="key").add_prefix("claimed/"),
        pd.DataFrame([verdict.values for verdict in verdicts]).add_prefix("read/"),
    ]
    problems = candidates.dataset.problems
    left_out = pd.DataFrame(
        {
            "file": [problem.name for problem in problems],
            "cell": NO_CELL,
            "reason": LEFT_OUT,
            "detail": [f"{problem.kind}: {problem.detail}" for problem in problems],
        }
    )
    whole = pd.concat(parts, axis=1)
    whole = pd.concat([whole, left_out], ignore_index=True) if len(left_out) else whole
    with atomic(path) as temporary:
        without_formulas(whole).to_csv(temporary, index=False)


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts and names of columns no spreadsheet computes."""
    texts = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    plain = table.copy()
    plain[texts] = plain[texts].map(lambda value: without_formula(value) if isinstance(value, str) else value)
    return plain.rename(columns=without_formula)


def table_of_verdicts(path: Path) -> pd.DataFrame:
    """Read the table that `write_verdicts` wrote, with empty texts where a reason or a detail is missing.

    Raises
    ------
    IntegrityError
        When the file is damaged.
    """
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(("file", "sha256", "reason", "detail"), str), low_memory=False)
        texts = ["sha256", "reason", "detail"]
        table[texts] = table[texts].fillna("")
        return table
    except (ValueError, OSError, KeyError) as error:
        raise IntegrityError(f"{path} cannot be read as the table of candidates ({error}); start anew") from error


def read_verdicts(path: Path, count: int) -> list[Verdict]:
    """Read back what decides of the first `count` rows of the table: hash, cell and reason.

    Raises
    ------
    IntegrityError
        When the file is damaged, or has fewer rows.
    """
    try:
        table = table_of_verdicts(path).head(count)
        verdicts = [
            Verdict(bytes.fromhex(sha256), int(cell), reason)
            for sha256, cell, reason in zip(table["sha256"], table["cell"], table["reason"], strict=True)
        ]
    except (ValueError, KeyError) as error:
        raise IntegrityError(f"{path} cannot be read as the table of candidates ({error}); start anew") from error
    if len(verdicts) != count:
        raise IntegrityError(
            f"{path} has {len(verdicts):,} candidates, and {count:,} are there; start in another folder"
        )
    return verdicts


def refusals(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Return the number of refused candidates by reason, the most frequent first."""
    counts = Counter(verdict.reason for verdict in verdicts if verdict.reason)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
