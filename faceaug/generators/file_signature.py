"""Files that were saved in place of a generator, recognized by their first bytes: web pages, archives, pointers."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from faceaug.errors import GeneratorError
from faceaug.utils.files import require_regular
from faceaug.utils.text import printable

HEAD_BYTES = 4096
"""Bytes by which a file is recognized."""
_LFS = "version https://git-lfs.github.com/spec/"
_ARCHIVES = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7-Zip", b"(\xb5/\xfd": "zstd"}
_IMAGES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"RIFF": "WebP"}
_OTHERS = {b"\x89HDF": "an HDF5 file", b"%PDF": "a PDF document"}


def read_head(path: Path, expected: str) -> bytes:
    """Return the first bytes of a file, and refuse one that is recognized as something else than a generator.

    Parameters
    ----------
    path
        The file.
    expected
        What the file should be, as "a .pkl file of ...".

    Returns
    -------
    bytes
        `HEAD_BYTES` of them, or the whole file.

    Raises
    ------
    GeneratorError
        When it cannot be read, or is something else.
    """
    try:
        require_regular(path)
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except IsADirectoryError as error:
        raise GeneratorError(f"{path} is a folder, where {expected} was expected: name the file in it") from error
    except OSError as error:
        raise GeneratorError(f"the generator {path} cannot be read: {error.strerror or error}") from error
    recognized = _recognize(head)
    if recognized:
        kind, remedy = recognized
        raise GeneratorError(f"{path} is {kind}, where {expected} was expected: {remedy}")
    return head


def is_safetensors(head: bytes) -> bool:
    """Tell whether a file begins like safetensors: with the length of a header, and the header's brace."""
    return head[4:9] == b"\0\0\0\0{"


def _recognize(head: bytes) -> tuple[str, str] | None:
    """Return the kind of a file and what to do about it, or None."""
    if is_safetensors(head):  # the bytes of its length may equal a signature below
        return None
    if not head:
        return "empty", "the download or the copy broke off, get the file again"
    for start, archive in _ARCHIVES.items():
        if head.startswith(start):
            return f"packed with {archive}", "unpack it first"
    for start, kind in _IMAGES.items():
        if head.startswith(start):
            return f"a {kind} image", "give the file of the weights"
    for start, kind in _OTHERS.items():
        if head.startswith(start):
            return kind, "give the file of the weights"
    text = _text(head)
    return None if text is None else _recognize_text(text)


def _recognize_text(text: str) -> tuple[str, str]:
    if text.startswith(_LFS):
        size = re.search(r"^size (\d{1,15})$", text, re.MULTILINE)
        size_text = f" that stands for {int(size[1]):,} bytes" if size else ""
        return (
            f"a Git LFS pointer{size_text}",
            "get the bytes themselves with `git lfs pull` in its repository, or download the file from its page",
        )
    if re.match(r"<(!doctype html|html|head|!--|\?xml)", text, re.IGNORECASE):
        title = re.search(r"<title[^>]*>([^<]{1,200})</title>", text, re.IGNORECASE)
        title_text = f" ({printable(' '.join(title[1].split()))!r})" if title else ""
        return (
            f"a web page{title_text}",
            "the link led to a page that asks for a login or a confirmation, so open it in a browser and save the file "
            "that it offers",
        )
    first = printable(text.partition("\n")[0].strip())[:60]
    return f"a text file that begins {first!r}", "give the file of the weights, or get it again"


def _text(head: bytes) -> str | None:
    """Return the beginning of a text file, or None for another file."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head).lstrip()  # the last letter may be cut in two
    except UnicodeDecodeError:
        return None
    return text if text and all(c.isprintable() or c.isspace() for c in text) else None
