"""What was read off each sample, as a report shows it: labels, measurements, figures of gates with their limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from faceaug.report.faces.samples import StoredSamples
from faceaug.shards.columns import Column
from faceaug.shards.manifest import Manifest
from faceaug.utils.typing import Floats

CONFIDENCE, PLAUSIBILITY, REALISM = "confidence", "plausibility", "realism"
_AT_MOST, _AT_LEAST = "at most", "at least"
_GATES: dict[str, tuple[str, float | str]] = {
    "plausibility": (_AT_MOST, 1.0),
    "realism": (_AT_MOST, 1.0),
    "semantic/residual": (_AT_MOST, "residual"),
    "semantic/donor_share": (_AT_LEAST, "mixed"),
    "semantic/identity_distance": (_AT_LEAST, "identity"),
    "semantic/inversion_error": (_AT_MOST, "inversion"),
    "semantic/change_outside": (_AT_MOST, "spill"),
}
"""By column: on which side of its limit a sample passes, and the limit or the name of its threshold."""


def described_fields(samples: StoredSamples, chosen: Sequence[int], manifest: Manifest) -> list[dict[str, Any]]:
    """Return, for each number that is known of a sample, what it is and its values.

    Each has a `key`, a `name`, a `group` ("measured", "gate" or "harmonization"), `unit`, `meaning`, the words of its
    limit where a gate has one, and `values`, rounded, null where a sample has none. The first is the least confidence
    of a sample's labels. Columns without any value are left out.
    """
    thresholds = manifest.config.get("thresholds")
    limits: Mapping[str, Any] = thresholds if isinstance(thresholds, dict) else {}
    confidences = [c.key for c in samples.columns if c.group == "attr_confidence" and c.key in samples.numbers]
    fields = []
    if confidences:
        least = _least([samples.numbers[key] for key in confidences])
        meaning = "the least calibrated probability of the labels"
        fields.append(_field(CONFIDENCE, "confidence", "gate", least[chosen], meaning=meaning))
    for column in samples.columns:
        values = samples.numbers.get(column.key)
        if values is None:
            continue
        fields.append(
            _field(
                column.key,
                _name(column),
                _group(column),
                values[chosen],
                unit=column.unit,
                meaning=column.meaning,
                limit=_limit(column, limits),
            )
        )
    return [field for field in fields if any(value is not None for value in field["values"])]


def _field(key: str, name: str, group: str, values: Floats, **words: str) -> dict[str, Any]:
    return {"key": key, "name": name, "group": group, "values": [_rounded(v) for v in values.tolist()], **words}


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None


def _name(column: Column) -> str:
    return f"confidence of {column.name}" if column.group == "attr_confidence" else column.name.replace("_", " ")


def _group(column: Column) -> str:
    if column.group == "attr_confidence" or column.key in _GATES:
        return "gate"
    return "harmonization" if column.group == "harmonize" else "measured"


def _limit(column: Column, thresholds: Mapping[str, Any]) -> str:
    """Return the limit of a gate in words; empty where there is none."""
    if column.key not in _GATES:
        return ""
    side, limit = _GATES[column.key]
    value = thresholds.get(limit) if isinstance(limit, str) else limit
    return f"{side} {value:g}" if isinstance(value, int | float) else ""


def _least(values: Sequence[Floats]) -> Floats:
    stacked = np.where(np.isnan(np.stack(values)), np.inf, np.stack(values)).min(0)
    return np.where(np.isinf(stacked), np.nan, stacked)
