"""Text for messages: short, in one line, and without control characters."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable
from typing import Any

MOST_SHOWN = 80  # characters of one value in a message
_USER = re.compile(r"""(://)[^\s/'"]*@""")  # a password may hold @ as it is
_QUERY = re.compile(r"""(://[^\s'"<>?]*)\?[^\s'"<>]*?(?=[).,;:]*(?:[\s'"<>]|$))""")  # not the punctuation behind it


class _Repr(reprlib.Repr):
    """`repr` that reads only the beginning of a value, whose length is not known."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = MOST_SHOWN
        self.maxlevel = 3

    def repr_int(self, value: int, level: int) -> str:
        if value.bit_length() > 1_000:  # Python refuses to print very large numbers, and is slow at large ones
            return f"a number of about {value.bit_length() * 301 // 1000:,} digits"
        return super().repr_int(value, level)


def shown(value: object) -> str:
    """Return a value as an error message may print it.

    Parameters
    ----------
    value
        Anything, also from a file that is not trusted; text comes in quotes, as with `repr`.

    Returns
    -------
    str
        At most 80 characters in one line; control characters are escaped, and what is left out is marked with "...".
    """
    plain: Any = value
    if isinstance(value, str):  # numpy has texts and numbers of its own
        plain = str(value)
    elif type(value).__module__ == "numpy" and not getattr(value, "shape", True):
        plain = plain.item()
    return one_line(_Repr().repr(plain), MOST_SHOWN)


def one_line(text: object, most: int = 200) -> str:
    """Return a text, or the message of an exception, in one line of at most `most` characters."""
    whole = str(text)
    line = " ".join(whole[: 4 * most].split()) or type(text).__name__
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)
    return line if len(line) <= most and len(whole) <= 4 * most else line[: most - 3] + "..."


def without_secrets(text: object) -> str:
    """Return a text, or the message of an exception, whose URLs have neither a query nor a user and password.

    A query can be a signature that opens the place to whoever has it. What only looks like a query, as in the file name
    "who?a=b.png", stays.
    """
    return _QUERY.sub(r"\1", _USER.sub(r"\1", str(text)))


def without_formula(text: str) -> str:
    """Return a text as a spreadsheet shows it: one that would be computed or sent has an apostrophe in front.

    Numbers and bins such as "-90 to -25" stay as they are.
    """
    starts = text[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{text}" if starts and not re.fullmatch(r"[-+]?[\d.,]+( to [-+]?[\d.,]+)?", text) else text


def plain_lines(text: str) -> str:
    """Return lines of text as a terminal may show them: control characters but line breaks and tabs are escaped.

    A label or a file name can hold sequences that move the cursor, hide text or rename the window, and characters that
    turn the direction of writing. The escapes are those of JSON where it has one, so JSON stays JSON.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\u{0xD7C0 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def printable(value: object) -> str:
    """Return a text of a file, or what an exception says, as a sentence can carry it, without quotes.

    Returns
    -------
    str
        At most 100 characters in one line, with "?" for a character that cannot be printed; for a value that is neither
        a text nor an exception, the name of its type.
    """
    text = str(value) if isinstance(value, (str, Exception)) else type(value).__name__
    return "".join(c if c.isprintable() else "?" for c in text[:100])


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return a part of a sentence that suggests the name in `choices` nearest to `name`, or lists `choices`."""
    choices = list(choices)
    lowered = {each.lower(): each for each in choices}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    if close:
        return f"did you mean {shown(lowered[close[0]])}?"
    return f"there are: {', '.join(map(shown, choices[:20]))}" if choices else "there are none"
