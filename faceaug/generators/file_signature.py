"""What a file is that is no generator's, told by how it begins: most were saved in the place of a generator."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from faceaug.errors import GeneratorError
from faceaug.utils.text_table import shown

HEAD = 4096
"""Bytes of a file's beginning by which it is told."""
_LFS = "version https://git-lfs.github.com/spec/"
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7-Zip", b"(\xb5/\xfd": "zstd"}
_PICTURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"RIFF": "WebP"}
_OTHERS = {b"\x89HDF": "an HDF5 file", b"%PDF": "a PDF document"}


def head_of(path: Path, expected: str) -> bytes:
    """Return how a file begins, and refuse one that is plainly something else than a generator's.

    Parameters
    ----------
    path
        The file.
    expected
        What should be there, as "a .pkl file of ...".

    Returns
    -------
    bytes
        `HEAD` of them, or as many as there are.

    Raises
    ------
    GeneratorError
        When it cannot be read, or is something else: what was found, what was expected, what to do.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except IsADirectoryError as error:
        raise GeneratorError(f"{path} is a folder, where {expected} was expected: name the file in it") from error
    except OSError as error:
        raise GeneratorError(f"the generator {path} cannot be read: {error.strerror or error}") from error
    found = _found(head)
    if found:
        what, remedy = found
        raise GeneratorError(f"{path} is {what}, where {expected} was expected: {remedy}")
    return head


def is_safetensors(head: bytes) -> bool:
    """Tell whether a file begins as safetensors files do: with the length of a header, and the header's brace."""
    return head[4:9] == b"\0\0\0\0{"


def _found(head: bytes) -> tuple[str, str] | None:
    """Return what a file is and what to do about it, or None."""
    if is_safetensors(head):  # its length may happen to look like the marks below
        return None
    if not head:
        return "empty", "the download or the copy broke off, get the file again"
    for start, packing in _PACKED.items():
        if head.startswith(start):
            return f"packed with {packing}", "unpack it first"
    for start, kind in _PICTURES.items():
        if head.startswith(start):
            return f"a {kind} picture", "give the file of the weights"
    for start, kind in _OTHERS.items():
        if head.startswith(start):
            return kind, "give the file of the weights"
    text = _text(head)
    return None if text is None else _text_found(text)


def _text_found(text: str) -> tuple[str, str]:
    if text.startswith(_LFS):
        size = re.search(r"^size (\d{1,15})$", text, re.MULTILINE)
        stands = f" that stands for {int(size[1]):,} bytes" if size else ""
        return (
            f"a Git LFS pointer{stands}",
            "get the bytes themselves with `git lfs pull` in its repository, or download the file from its page",
        )
    if re.match(r"<(!doctype html|html|head|!--|\?xml)", text, re.IGNORECASE):
        title = re.search(r"<title[^>]*>([^<]{1,200})</title>", text, re.IGNORECASE)
        named = f" ({shown(' '.join(title[1].split()))!r})" if title else ""
        return (
            f"a web page{named}",
            "the link led to a page that asks for a login or a confirmation, so open it in a browser and save the file "
            "that it offers",
        )
    first = shown(text.partition("\n")[0].strip())[:60]
    return f"a text file that begins {first!r}", "give the file of the weights, or get it again"


def _text(head: bytes) -> str | None:
    """Return the beginning of a text file; None of a file that is none."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head).lstrip()  # the last letter may be cut in two
    except UnicodeDecodeError:
        return None
    return text if text and all(c.isprintable() or c.isspace() for c in text) else None
