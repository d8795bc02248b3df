"""faceaug's own errors: each message says what was found, what was expected, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from faceaug.utils.text import shown


class FaceaugError(Exception):
    """Bad input or a failed step, told in one sentence. The command line prints it and exits with status 1."""


class UsageError(FaceaugError):
    """A request that cannot be understood or contradicts itself (exit status 2)."""


class ImageError(FaceaugError):
    """An image that is refused: not a JPEG, PNG or WebP, truncated, or too large."""


class DatasetError(FaceaugError):
    """A target data set that cannot be read or used as asked."""


class PlanError(FaceaugError):
    """A plan that cannot be made from what was asked."""


class GeneratorError(FaceaugError):
    """A generator that is missing, damaged or of the wrong kind."""


class OutputError(FaceaugError):
    """An output folder that is in use, belongs to another configuration, or cannot be written."""


class IntegrityError(FaceaugError):
    """A file that is damaged, of an unknown version, or reaches out of its folder."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the part of a sentence that names what is nearest to `name` among `known`, or lists what there is."""
    known = list(known)
    lowered = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    if close:
        return f"did you mean {shown(lowered[close[0]])}?"
    return f"there are: {', '.join(map(shown, known[:20]))}" if known else "there are none"
