"""The errors that faceaug raises. Each message says what was found, what was expected, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from faceaug.utils.text import shown


class FaceaugError(Exception):
    """Base class. The message is one sentence; the command line prints it and exits with status 1."""


class UsageError(FaceaugError):
    """An argument or option is unknown, has a wrong value, or contradicts another one (exit status 2)."""


class ImageError(FaceaugError):
    """An image is not a JPEG, PNG or WebP, is truncated, or is too large."""


class DatasetError(FaceaugError):
    """A data set cannot be read, or cannot be used as requested."""


class PlanError(FaceaugError):
    """A plan cannot be computed from the strategy and the counts."""


class GeneratorError(FaceaugError):
    """A generator is missing, damaged or of the wrong kind."""


class OutputError(FaceaugError):
    """An output folder is in use, belongs to another configuration, or cannot be written."""


class IntegrityError(FaceaugError):
    """A file is damaged, has an unknown version, or refers to a path outside of its folder."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return a part of a sentence that suggests the name in `choices` nearest to `name`, or lists `choices`."""
    choices = list(choices)
    lowered = {each.lower(): each for each in choices}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    if close:
        return f"did you mean {shown(lowered[close[0]])}?"
    return f"there are: {', '.join(map(shown, choices[:20]))}" if choices else "there are none"
