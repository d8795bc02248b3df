"""Embedders by name: dlib, and those of other packages, guarded.

Another package adds one through the entry point group ``faceaug.identity``: a callable without arguments that returns a
`FaceEmbedder`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import numpy as np

from faceaug.errors import FaceaugError, UsageError
from faceaug.identity.base import EMBEDDER_MEMBERS, FaceEmbedder, SamePerson
from faceaug.utils.images import Rgb
from faceaug.utils.plugins import guarded
from faceaug.utils.text import nearest, shown
from faceaug.utils.typing import Floats32

IDENTITY_ENTRY_POINTS = "faceaug.identity"
DEFAULT_EMBEDDER = "dlib"
_Value = TypeVar("_Value")


def embedder_names() -> list[str]:
    """Return the names that `load_embedder` knows."""
    return [DEFAULT_EMBEDDER, *sorted(_registered())]


def load_embedder(name: str = DEFAULT_EMBEDDER) -> FaceEmbedder:
    """Load an embedder by its name.

    Parameters
    ----------
    name : str
        ``"dlib"``, or the name of an entry point in the group ``faceaug.identity``.

    Raises
    ------
    UsageError
        When there is no embedder of that name.
    FaceaugError
        When what it needs is not installed, or the embedder of another package fails or does not keep to the protocol.
    """
    if name == DEFAULT_EMBEDDER:
        from faceaug.identity.dlib_embedder import DlibEmbedder

        return DlibEmbedder()
    points = _registered()
    if name not in points:
        raise UsageError(f"there is no embedder of faces {shown(name)}: {nearest(name, embedder_names())}")
    return PluginEmbedder(name, lambda: points[name].load()())


class PluginEmbedder:
    """An embedder of another package, guarded: whatever it does wrong ends in one sentence that names it.

    Parameters
    ----------
    name : str
        Of the entry point.
    create : callable
        Makes the embedder.

    Raises
    ------
    FaceaugError
        When the embedder cannot be made, or does not keep to the protocol.
    """

    def __init__(self, name: str, create: Callable[[], FaceEmbedder]) -> None:
        self.name = name
        self._embedder = self._guard(create)
        missing = self._guard(lambda: [member for member in EMBEDDER_MEMBERS if not hasattr(self._embedder, member)])
        if missing:
            raise FaceaugError(
                f"the embedder {name!r} does not keep to faceaug.identity.base.FaceEmbedder: it lacks "
                f"{', '.join(missing)}"
            )
        self.licence = self._guard(lambda: str(self._embedder.licence))
        self.sha256 = self._guard(lambda: str(self._embedder.sha256))
        self.is_identity = self._guard(lambda: bool(self._embedder.is_identity))
        self.same_person = self._guard(lambda: self._embedder.same_person)
        if not isinstance(self.same_person, SamePerson):
            raise FaceaugError(
                f"same_person of the embedder {name!r} is a {type(self.same_person).__name__}: it must be a SamePerson"
            )

    def embed(self, images: Sequence[Rgb]) -> Floats32:
        """Return its embeddings float32 [N, D], once their shape is checked."""
        rows: Any = self._guard(lambda: np.asarray(self._embedder.embed(images), np.float32))
        if rows.ndim != 2 or len(rows) != len(images):
            raise FaceaugError(
                f"the embedder {self.name!r} returned an array {list(rows.shape)} for {len(images)} pictures: it must "
                "have a row for each"
            )
        return np.asarray(rows, np.float32)

    def _guard(self, call: Callable[[], _Value]) -> _Value:
        return guarded(f"the embedder {self.name!r} of a plug-in", call)


def _registered() -> dict[str, EntryPoint]:
    points = {point.name: point for point in entry_points(group=IDENTITY_ENTRY_POINTS)}
    if DEFAULT_EMBEDDER in points:
        raise UsageError(
            f"a plug-in brings an embedder called {DEFAULT_EMBEDDER!r}, which faceaug has; it must be renamed"
        )
    return points
