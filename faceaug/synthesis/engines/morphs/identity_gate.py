"""The gate on identity: a sample must not be nearer to a face that it was made from than pictures of one person are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from faceaug.errors import UsageError
from faceaug.identity.base import FaceEmbedder
from faceaug.identity.dlib_embedder import dlib_installed
from faceaug.identity.registry import DEFAULT_EMBEDDER, load_embedder
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.photographs import OncePerPhotograph, Photograph
from faceaug.utils.images import Rgb
from faceaug.utils.typing import Floats32

NO_EMBEDDER = "none"
"""The name of an embedder with which identity is not measured."""
_THRESHOLD_SCALE = 0.6
"""The distance of one person by the embedder for which the threshold `identity` is stated (dlib)."""
_CROWDED = 0.55
"""Share of the distance between its sources that a sample keeps from each of them where that is less than the
threshold: strangers whom the embedder sees as near, such as young children, are no copies of each other."""


class IdentityGate:
    """Measures how far samples are from the faces that they were made from.

    Parameters
    ----------
    embedder : FaceEmbedder
    least : float
        Threshold `identity`; 0 where the same person may be shown.
    """

    def __init__(self, embedder: FaceEmbedder, least: float) -> None:
        self.embedder, self.least = embedder, least
        self._sources: OncePerPhotograph[Floats32] = OncePerPhotograph(self._embedding)

    @classmethod
    def of(cls, config: RunConfig) -> IdentityGate | None:
        """Return the gate of a run; None where no embedder is installed or wanted.

        Raises
        ------
        UsageError, FaceaugError
            When there is no such embedder, or it cannot be loaded.
        """
        name = config.embedder or (DEFAULT_EMBEDDER if dlib_installed() else NO_EMBEDDER)
        if name == NO_EMBEDDER:
            return None
        embedder = load_embedder(name)
        if config.allow_same_identity:
            return cls(embedder, 0.0)
        if not embedder.is_identity or not np.isfinite(embedder.same_person.distance):
            raise UsageError(
                f"the embedder {name} does not tell people apart, so it cannot refuse copies: name another one, or "
                "leave the check out with --embedder none"
            )
        return cls(embedder, config.thresholds.identity * embedder.same_person.distance / _THRESHOLD_SCALE)

    @property
    def identity(self) -> dict[str, Any]:
        """JSON values that decide its verdicts."""
        return {"embedder": self.embedder.name, "sha256": self.embedder.sha256}

    def distance(self, sample: Rgb, sources: Sequence[Photograph]) -> tuple[float, bool]:
        """Return the distance to the nearest source, and whether it is far enough to be somebody else.

        The distance is NaN where the embedder finds no face in the sample or in one of the sources; such a sample
        cannot be judged and does not pass, unless the same person may be shown.
        """
        embedding = self._embedding(sample)
        known = [self._sources.of(source) for source in sources]
        distances = np.array([np.linalg.norm(embedding - other) for other in known])
        if np.isnan(distances).any():
            return float("nan"), self.least == 0
        nearest = float(distances.min())
        apart = [float(np.linalg.norm(known[0] - other)) for other in known[1:]]
        if any(gap < self.least for gap in apart):  # host and donor are one person, and so is the sample
            return nearest, False
        least = min([self.least, *(_CROWDED * gap for gap in apart)])
        return nearest, nearest >= least

    def shows_one_person(self, rows: Sequence[int], read: Callable[[int], Photograph]) -> bool:
        """Tell whether host and donors are so near to each other that every morph of them is refused.

        So it is where no face is found in one of them. `read` is called for the rows of those that are not known yet.
        """
        known = [self._sources.of_row(row, read) for row in rows]
        return self.least > 0 and not all(np.linalg.norm(known[0] - other) >= self.least for other in known[1:])

    def _embedding(self, picture: Rgb) -> Floats32:
        embedding: Floats32 = self.embedder.embed([picture])[0]
        return embedding
