"""The column of samples that holds their distance to the real faces that they were made from."""

from __future__ import annotations

from faceaug.identity.base import FaceEmbedder
from faceaug.shards.columns import Column

IDENTITY_DISTANCE = "identity_distance"
"""Name of the column, in the group `semantic`."""


def identity_column(embedder: FaceEmbedder) -> Column:
    """Return the column of an engine that compares its samples with their sources by an embedder."""
    meaning = (
        "distance to the nearest of the real faces that the sample was made from, NaN if there is none or no face is "
        f"found; {_measured_by(embedder)}"
    )
    return Column(group="semantic", name=IDENTITY_DISTANCE, type="float32", meaning=meaning)


def is_of(column: Column, embedder: FaceEmbedder) -> bool:
    """Return whether a column holds such distances by this embedder with these weights."""
    return column.key == f"semantic/{IDENTITY_DISTANCE}" and column.meaning.endswith(_measured_by(embedder))


def _measured_by(embedder: FaceEmbedder) -> str:
    return f"embedder: {embedder.name}, SHA-256 {embedder.sha256}"
