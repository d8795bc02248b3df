"""The contract of embedders, which map a picture of a face to a vector that is similar for pictures of one person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from faceaug.utils.images import Rgb
from faceaug.utils.typing import Floats32

EMBEDDER_MEMBERS = ("name", "licence", "sha256", "is_identity", "same_person", "embed")


@dataclass(frozen=True)
class SamePerson:
    """How near two embeddings of one person usually are.

    Attributes
    ----------
    distance : float
        Euclidean distance below which two pictures usually show one person; NaN where embeddings do not tell people
        apart.
    source : str
        Where the number comes from: data, accuracy, publication.
    """

    distance: float
    source: str


@runtime_checkable
class FaceEmbedder(Protocol):
    """Maps pictures of faces to embeddings, compared by their Euclidean distance.

    Another package adds one through the entry point group ``faceaug.identity``: a callable without arguments that
    returns it.
    """

    @property
    def name(self) -> str:
        """Its name; for that of another package, the name of its entry point."""

    @property
    def licence(self) -> str:
        """Licence of its code and weights, and what is known about the data that it was trained on."""

    @property
    def sha256(self) -> str:
        """SHA-256 over all its weights, 64 hexadecimal digits: with another one, embeddings are not comparable."""

    @property
    def is_identity(self) -> bool:
        """Whether the distance says whether two pictures show one person; False for a stand-in."""

    @property
    def same_person(self) -> SamePerson:
        """The distance below which two pictures usually show one person, and its source."""

    def embed(self, images: Sequence[Rgb]) -> Floats32:
        """Return the embeddings of pictures of one face each.

        Parameters
        ----------
        images : sequence of uint8 [H, W, 3]
            RGB, of any sizes.

        Returns
        -------
        float32 [N, D]
            A row does not depend on the other pictures. It is NaN where no face is found.
        """
