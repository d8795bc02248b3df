"""The columns of a sample: what is stored of it besides the image, with type, unit and meaning.

One column has one name wherever it appears: `attr/gender` is the dataset in a shard; the key in tables and in what
`ShardDataset` returns is the same, except that an attribute goes by its plain name (`gender`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

Group = Literal["sample", "attr", "attr_confidence", "semantic", "finish"]
ColumnType = Literal["category", "float32", "float64", "int16", "int32", "uint64", "sha256", "latent"]

MISSING = -1  # the code of a category that a sample does not have

_ALLOWED: dict[str, tuple[str, ...]] = {
    "attr": ("category", "float32", "float64"),
    "attr_confidence": ("float32",),
    "semantic": ("float32",),
    "finish": ("float32",),
}


class Column(BaseModel):
    """One column: where it belongs, its name, type, levels (of a category), unit and meaning."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group: Group = Field(description="what the column is part of; also the HDF5 group, except for 'sample'")
    name: str = Field(min_length=1, description="name within the group")
    type: ColumnType = Field(description="a category is stored as the index of its level, -1 when missing")
    levels: tuple[str, ...] = Field(default=(), description="levels of a category, in the order of their codes")
    unit: str = Field(default="", description="unit, empty for none")
    meaning: str = Field(default="", description="what the value says, in one line")

    @model_validator(mode="after")
    def _check(self) -> Column:
        allowed = _ALLOWED.get(self.group)
        if allowed is not None and self.type not in allowed:
            raise ValueError(
                f"column {self.name!r} of {self.group} has type {self.type}; allowed: {', '.join(allowed)}"
            )
        if (self.type == "category") != bool(self.levels):
            raise ValueError(f"column {self.name!r}: a category has levels, and nothing else has")
        if len(set(self.levels)) != len(self.levels):
            raise ValueError(f"column {self.name!r} lists a level twice")
        if any("\0" in text for text in (self.name, *self.levels)):
            raise ValueError(f"column {self.name!r} has a NUL character in a name")
        if self.group == "attr" and self.name in RESERVED:
            raise ValueError(f"the attribute {self.name!r} has a name that faceaug uses itself; rename the column")
        return self

    @property
    def key(self) -> str:
        """Name in tables and in dictionaries: `gender`, `semantic/yaw`, `seed`."""
        return self.name if self.group in ("attr", "sample") else f"{self.group}/{self.name}"

    @property
    def dataset(self) -> str:
        """Path of the HDF5 dataset; a slash in the name is written %2F, so that it makes no group."""
        if self.group == "sample":
            return self.name
        return f"{self.group}/{'%2E' if self.name == '.' else quote(self.name, safe=_PLAIN)}"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored type of one value (of one element for `latent` and `sha256`)."""
        if self.type == "category":
            return np.dtype(np.int8 if self.key == "engine" else np.int32)
        return np.dtype({"sha256": "uint8", "latent": "float32"}.get(self.type, self.type))


_PLAIN = " !\"#$&'()*+,:;<=>?@[\\]^`{|}~"  # left as they are in HDF5 names: all of ASCII that prints but / and %
RESERVED = frozenset(
    {"shard", "row", "cell", "engine", "plausibility", "realism", "quality", "seed", "sha256", "source_sha256"}
    | {"w", "origin_w", "image", "file", "synthetic"}
)

ENGINES = ("generator", "rerender")

SAMPLE_COLUMNS: tuple[Column, ...] = (
    Column(group="sample", name="cell", type="int32", meaning="row of the manifest's cells"),
    Column(group="sample", name="engine", type="category", levels=ENGINES, meaning="what made the image"),
    Column(
        group="sample",
        name="plausibility",
        type="float32",
        meaning="Mahalanobis distance of w over its limit; NaN without",
    ),
    Column(
        group="sample",
        name="realism",
        type="float32",
        meaning="distance to real faces over that of draws near the cell",
    ),
    Column(group="sample", name="quality", type="int16", meaning="quality of the image codec, -1 when it has none"),
    Column(group="sample", name="seed", type="uint64", meaning="the sample's own seed"),
    Column(group="sample", name="sha256", type="sha256", meaning="of the encoded image (of the pixels when raw)"),
    Column(group="sample", name="source_sha256", type="sha256", meaning="of the real picture that it was made of"),
    Column(group="sample", name="w", type="latent", meaning="latent that gives the image before finishing"),
    Column(group="sample", name="origin_w", type="latent", meaning="latent before the edits"),
)


def complete_columns(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Return all columns of a shard: the fixed ones, the given ones and a confidence for each attribute.

    What is already complete comes back as it is, so that columns read from a manifest may be passed again.
    """
    given = [c for c in columns if c.group not in ("sample", "attr_confidence")]
    confidences = [
        Column(group="attr_confidence", name=c.name, type="float32", meaning=f"calibrated probability of {c.name}")
        for c in given
        if c.group == "attr"
    ]
    order = {"attr": 0, "attr_confidence": 1, "semantic": 2, "finish": 3}
    rest = sorted([*given, *confidences], key=lambda c: order[c.group])  # sorted() is stable
    return (*SAMPLE_COLUMNS, *rest)
