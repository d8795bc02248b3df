"""The file system behind a URL, by fsspec, and its errors in one sentence.

Credentials, retries and time-outs are those of the file system's own configuration.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from faceaug.errors import FaceaugError, RemoteError, UsageError
from faceaug.utils.text import one_line, shown, without_secrets

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "hf": "hub", "http": "http", "https": "http"}
"""The extras of faceaug that bring the package of a file system, by its protocol."""
_NOT_FOUND = 404
_QUERY = re.compile(r"""\?[^\s'"<>=?]+=[^\s'"<>]*?(?=[).,;:]*(?:[\s'"<>]|$))""")
"""The query of a URL in the path that its file system makes of it, which has no scheme."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters at least: C:// is a drive


def is_url(place: object) -> bool:
    """Return whether a place is the text of a URL; a `Path` never is one."""
    return isinstance(place, str) and _URL.match(place) is not None


def open_filesystem(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it, without a slash at the end.

    Raises
    ------
    UsageError
        When no file system has that protocol, its package is not installed, or the URL has no path.
    RemoteError
        When it cannot be opened, as without credentials.
    """
    import fsspec
    from fsspec.registry import known_implementations

    protocol, place = url.split("://", maxsplit=1)[0], without_secrets(url)
    try:
        with remote_errors(url):
            filesystem, path = fsspec.core.url_to_fs(url)
    except RemoteError as error:
        if isinstance(error.__cause__, ImportError):
            package = known_implementations.get(protocol, {}).get("class", protocol).split(".")[0].replace("_", "-")
            package = "aiohttp" if package == "fsspec" else package
            remedy = f"'faceaug[{_EXTRAS[protocol]}]'" if protocol in _EXTRAS else package
            raise UsageError(
                f"{place} needs the package {package}, which cannot be imported "
                f"({one_line(without_secrets(error.__cause__))}): pip install {remedy}"
            ) from error
        if isinstance(error.__cause__, ValueError):
            raise UsageError(
                f"no file system is known for {shown(protocol)} of {place}; give a URL as s3://"
            ) from error
        raise
    if not (path := str(path).rstrip("/")):
        raise UsageError(f"{place} has no path; give the URL of a folder or file, as {protocol}://bucket/faces")
    return filesystem, path


@contextlib.contextmanager
def remote_errors(url: str) -> Iterator[None]:
    """Turn whatever a file system raises into RemoteError; FileNotFoundError passes.

    File systems raise errors of the libraries below them, which have no class in common.
    """
    try:
        yield
    except (FaceaugError, RemoteError):
        raise
    except Exception as error:
        cause = error.__cause__ if is_http(url) and isinstance(error, FileNotFoundError) else None
        # That of HTTP is raised for whatever keeps a server from answering.
        if isinstance(error, FileNotFoundError) and (cause is None or getattr(cause, "status", 0) == _NOT_FOUND):
            raise
        raise RemoteError(
            f"{without_secrets(url)} cannot be reached ({reason_of(cause or error)}); check the address, the "
            "connection and the credentials, and run again"
        ) from error


def reason_of(error: BaseException) -> str:
    """Return what a file system says, in one line and without what opens its places."""
    return one_line(_QUERY.sub("", without_secrets(error))) or type(error).__name__


@contextlib.contextmanager
def writing_errors(url: str) -> Iterator[None]:
    """Turn whatever a file system raises while it writes into RemoteError, also that there is no such bucket.

    A place that refuses to be written is one that was reached.
    """
    try:
        with remote_errors(url):
            yield
    except FileNotFoundError as error:
        raise RemoteError(
            f"{without_secrets(url)} cannot be written ({reason_of(error)}); check that the bucket or "
            "folder is there, and run again"
        ) from error
    except RemoteError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        raise RemoteError(
            f"{without_secrets(url)} cannot be written ({reason_of(error.__cause__)}); check what the credentials "
            "allow, or choose another place"
        ) from error.__cause__


def local_name(url: str, path: str) -> str:
    """Return the name that stands on this machine for what is at a URL, whose path in its file system is given."""
    name = PurePosixPath(unquote(urlsplit(path).path) if is_http(url) else path.partition("?")[0]).name
    return name if name not in ("", "..") else "data"


def remote_name(url: str, name: str) -> str:
    """Return a name below a URL as its file system asks for it: HTTP has some characters escaped."""
    return quote(name) if is_http(url) else name


def is_http(url: str) -> bool:
    """Return whether a URL is of a web server, whose folders are pages of links."""
    return url.startswith(("http://", "https://"))
