"""Calls into what other packages bring: whatever goes wrong there ends in one sentence that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from faceaug.errors import FaceaugError
from faceaug.utils.text import one_line

_Value = TypeVar("_Value")


def guarded(who: str, call: Callable[[], _Value]) -> _Value:
    """Return what a call returns.

    Parameters
    ----------
    who : str
        The subject of the sentence, such as "the engine 'mean'".
    call : callable

    Raises
    ------
    FaceaugError
        When the call fails; an error of faceaug's own is raised as it is.
    """
    try:
        return call()
    except FaceaugError:
        raise
    except Exception as error:
        raise FaceaugError(f"{who} failed: {type(error).__name__}: {one_line(error)}") from error
