"""The columns of a sample: what a shard stores besides the image, with type, unit and meaning.

A column has one name wherever it appears. `attr/gender` is a data set of a shard; tables and `ShardDataset` use the
same name, except that an attribute goes by its plain name (`gender`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal
from urllib.parse import quote

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

SHARD_FORMAT = "faceaug-shard"
SHARD_VERSION: Final = 3
OLD_VERSION = 2
"""The version before, of shards and manifests, which is read and can be upgraded."""
READ_VERSIONS = f"version {SHARD_VERSION} and version {OLD_VERSION}"

ColumnGroup = Literal["sample", "attr", "attr_confidence", "semantic", "harmonize"]
ColumnType = Literal["category", "float32", "float64", "int16", "int32", "uint64", "sha256", "latent"]

MISSING_CODE = -1
"""The code of a category that a sample does not have."""

BUILT_IN_ENGINES = ("generator", "rerender")
"""Names of the engines whose codes are the same in every shard: 0 and 1."""

EXTERNAL_ENGINE = "external"
"""Name of the engine whose samples were made elsewhere: their source is a candidate, not an image of the data set."""

ENGINES_WITH_SOURCE = frozenset({"rerender", "morph", "extrapolate", EXTERNAL_ENGINE})
"""Engines of which every sample is made from an image, and has to name it in `source_sha256`."""

MAX_DONORS = 3
DONOR_COLUMNS = tuple(f"donor{k}_sha256" for k in range(1, MAX_DONORS + 1))
SOURCE_COLUMNS = ("source_sha256", *DONOR_COLUMNS)
"""Columns that name the real images of a sample. A shard of version 2 lacks those that no sample of it has."""

_MAX_ENGINES = 128  # non-negative codes of int8

_GROUP_TYPES: dict[str, tuple[str, ...]] = {
    "attr": ("category", "float32", "float64"),
    "attr_confidence": ("float32",),
    "semantic": ("float32",),
    "harmonize": ("float32",),
}

RESERVED_NAMES = frozenset(
    {"shard", "row", "cell", "engine", "plausibility", "realism", "quality", "seed", "sha256", *SOURCE_COLUMNS}
    | {"w", "origin_w", "image", "file", "synthetic"}
)
"""Names that an attribute cannot have, since tables and data sets use them for something else."""

_UNQUOTED = " !\"#$&'()*+,:;<=>?@[\\]^`{|}~"  # with letters and digits, all printable ASCII except / and %


class Column(BaseModel):
    """One column: its group, name, type, levels (of a category), unit and meaning.

    Raises
    ------
    pydantic.ValidationError
        When type and group do not go together, levels are missing or repeated, or the name is reserved.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    group: ColumnGroup = Field(description="what the column belongs to; also the HDF5 group, except for 'sample'")
    name: str = Field(min_length=1, description="name within the group")
    type: ColumnType = Field(description="a category is stored as the index of its level, -1 where it is missing")
    levels: tuple[str, ...] = Field(default=(), description="levels of a category, in the order of their codes")
    unit: str = Field(default="", description="unit; empty where the value has none")
    meaning: str = Field(default="", description="one line that says what the value is")

    @model_validator(mode="after")
    def _check(self) -> Column:
        allowed = _GROUP_TYPES.get(self.group)
        if allowed is not None and self.type not in allowed:
            raise ValueError(
                f"column {self.name!r} of {self.group} has type {self.type}; allowed: {', '.join(allowed)}"
            )
        if (self.type == "category") != bool(self.levels):
            raise ValueError(f"column {self.name!r}: a category needs levels, and no other type may have them")
        if len(set(self.levels)) != len(self.levels):
            raise ValueError(f"column {self.name!r} lists a level twice")
        if any("\0" in text for text in (self.name, *self.levels)):
            raise ValueError(f"column {self.name!r} has a NUL character in its name or in a level")
        if self.group == "attr" and self.name in RESERVED_NAMES:
            raise ValueError(f"the attribute {self.name!r} has a name that faceaug uses itself; rename the column")
        if self.key == "engine" and len(self.levels) > _MAX_ENGINES:
            raise ValueError(f"the column 'engine' has {len(self.levels)} levels; at most {_MAX_ENGINES} can be stored")
        return self

    @property
    def key(self) -> str:
        """Name in tables and dictionaries: `gender`, `semantic/yaw`, `seed`."""
        return self.name if self.group in ("attr", "sample") else f"{self.group}/{self.name}"

    @property
    def path(self) -> str:
        """Path of the HDF5 data set. A slash in the name is written %2F, so that it does not create a group."""
        if self.group == "sample":
            return self.name
        return f"{self.group}/{'%2E' if self.name == '.' else quote(self.name, safe=_UNQUOTED)}"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored type of one value (of one element for `latent` and `sha256`)."""
        if self.type == "category":
            return np.dtype(np.int8 if self.key == "engine" else np.int32)
        return np.dtype({"sha256": "uint8", "latent": "float32"}.get(self.type, self.type))


def is_read(version: object) -> bool:
    """Return whether shards or manifests of a version, as a file states it, are read."""
    return not isinstance(version, bool) and version in (SHARD_VERSION, OLD_VERSION)


def engine_column(names: Iterable[str] = ()) -> Column:
    """Return the column that says which engine made a sample.

    A run whose samples come from an engine other than the built-in ones gives this column among those of its
    `ManifestHeader`. The code of a sample is the index of its engine in the levels, which manifest and shards state.

    Parameters
    ----------
    names : iterable of str
        Engines of the run besides the built-in ones, in the order of their codes; they start at 2.

    Returns
    -------
    Column
    """
    levels = tuple(dict.fromkeys((*BUILT_IN_ENGINES, *names)))
    return Column(group="sample", name="engine", type="category", levels=levels, meaning="engine that made the image")


def _sample_column(name: str, column_type: ColumnType, meaning: str) -> Column:
    return Column(group="sample", name=name, type=column_type, meaning=meaning)


SAMPLE_COLUMNS: tuple[Column, ...] = (
    _sample_column("cell", "int32", "index of the cell in the manifest"),
    engine_column(),
    _sample_column("plausibility", "float32", "Mahalanobis distance of w over its limit; NaN without a latent"),
    _sample_column("realism", "float32", "distance to real faces over its limit; NaN where there is none"),
    _sample_column("quality", "int16", "quality of the image codec, -1 where it has none"),
    _sample_column("seed", "uint64", "seed of the sample"),
    _sample_column("sha256", "sha256", "hash of the encoded image, or of its pixels in the raw layout"),
    _sample_column("source_sha256", "sha256", "hash of the file of the image that the sample was made from"),
    *(
        _sample_column(name, "sha256", "hash of the file of a real image whose features were mixed in")
        for name in DONOR_COLUMNS
    ),
    _sample_column("w", "latent", "latent of the image before harmonization"),
    _sample_column("origin_w", "latent", "latent before the edit"),
)
"""The columns that every shard has (latents only where the generator of the run has any)."""


def complete_columns(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Return all columns of a shard: the fixed ones, the given ones, and a confidence for each attribute.

    Complete columns are returned unchanged, so that columns from a manifest can be passed again. Of the fixed columns
    only `engine` can be given (see `engine_column`); it replaces the default.
    """
    columns = tuple(columns)
    engine = next((column for column in columns if column.key == "engine"), None)
    fixed = [engine if engine is not None and column.key == "engine" else column for column in SAMPLE_COLUMNS]
    given = [column for column in columns if column.group not in ("sample", "attr_confidence")]
    confidences = [
        Column(group="attr_confidence", name=c.name, type="float32", meaning=f"calibrated probability of {c.name}")
        for c in given
        if c.group == "attr"
    ]
    order = {"attr": 0, "attr_confidence": 1, "semantic": 2, "harmonize": 3}
    return (*fixed, *sorted([*given, *confidences], key=lambda column: order[column.group]))  # sorted() is stable
