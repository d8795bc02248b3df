"""The comparison of samples with the real faces of a data set, and the verdict on each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faceaug.errors import UsageError
from faceaug.utils.typing import Bools, Floats32, Indices

NO_ROW = -1
"""Row of a real face where there is none to name."""
SAME_PERSON_AS_SOURCE = "same person as a source"
NEW_PERSON = "new person"
NO_FACE = "no face found"


@dataclass(frozen=True, eq=False)
class IdentityComparison:
    """N samples against the real faces of a data set.

    Attributes
    ----------
    source_row : int64 [N]
        The nearest of the real faces that a sample was made from; -1 where it has none with an embedding.
    source_distance : float32 [N]
        Distance to it; NaN where the row is -1, or no face is found in the sample.
    nearer_real : float32 [N] in [0, 1]
        Share of all other real faces that lie nearer to the sample's nearest source than the sample does; NaN where
        there is no source distance. With 0 the sample is the source's nearest neighbour. People whom the embedder
        confuses, such as young children, lie near each other, so that a small distance means less where the share is
        large.
    nearest_row : int64 [N]
        The nearest of all real faces, its sources among them; -1 where no face is found in the sample.
    nearest_distance : float32 [N]
        Distance to it; NaN where the row is -1.
    same_person : float
        Distance below which two pictures usually show one person; NaN for a stand-in.
    """

    source_row: Indices
    source_distance: Floats32
    nearer_real: Floats32
    nearest_row: Indices
    nearest_distance: Floats32
    same_person: float

    @property
    def face_found(self) -> Bools:
        """Whether a face was found in each sample, bool [N]."""
        return np.asarray(self.nearest_row != NO_ROW)

    @property
    def copies(self) -> Bools:
        """Whether a sample is nearer to one of its sources than two pictures of one person usually are, bool [N]."""
        return np.asarray(self.source_distance < self.same_person)

    def verdicts(self) -> list[str]:
        """Return for each sample one of `NEW_PERSON`, `SAME_PERSON_AS_SOURCE`, `NO_FACE`.

        The distance of one person was determined on pairs. It says nothing of the nearest of thousands of faces: most
        real people have a stranger nearer than that. So there is no verdict on faces that a sample was not made from;
        compare the distribution of `nearest_distance` with that of real faces among each other.

        Raises
        ------
        UsageError
            When the embeddings do not tell people apart.
        """
        _require_identity(self.same_person)
        verdicts = np.full(len(self.nearest_row), NEW_PERSON, dtype=object)
        verdicts[self.copies] = SAME_PERSON_AS_SOURCE
        verdicts[~self.face_found] = NO_FACE
        return [str(verdict) for verdict in verdicts]


def is_new_person(comparison: IdentityComparison, crowd: float | None = None) -> Bools:
    """Return which samples are no copies of a face that they were made from, bool [N]; a gate on identity.

    A sample passes when it lies at least as far from each of its sources as the distance below which two pictures
    usually show one person. A sample without a source passes; one without a face does not, since it cannot be judged.

    Parameters
    ----------
    comparison : IdentityComparison
    crowd : float in (0, 1], optional
        A sample also passes where at least this share of all other real faces lies nearer to its source than it does,
        so that it cannot be told from a crowd of strangers. Without it, far more samples are rejected of groups that
        the embedder confuses (docs/results.md, Distances between people).

    Raises
    ------
    UsageError
        When the embeddings do not tell people apart.
    """
    _require_identity(comparison.same_person)
    new = ~comparison.copies
    if crowd is not None:
        new |= comparison.nearer_real >= crowd
    return np.asarray(comparison.face_found & new)


def _require_identity(same_person: float) -> None:
    if not np.isfinite(same_person):
        raise UsageError(
            "the embeddings of this stand-in do not tell people apart, so they cannot say who is a new person: use an "
            "embedder of identities, such as that of the extra faceaug[identity]"
        )
