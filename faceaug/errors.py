"""The errors that faceaug raises. Each message says what was found, what was expected, and what to do."""

from __future__ import annotations


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


class MissingWeightsError(GeneratorError):
    """The package that holds a generator's weights is not installed."""


class OutputError(FaceaugError):
    """An output folder is in use, belongs to another configuration, or cannot be written."""


class RemoteError(Exception):
    """A place behind a URL cannot be reached: no connection, no credentials, or another error of its file system.

    It is no FaceaugError: an image that was not reached must not be taken for one that cannot be read, which runs leave
    out.
    """


class IntegrityError(FaceaugError):
    """A file is damaged, has an unknown version, or refers to a path outside of its folder."""
