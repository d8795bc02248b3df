"""Templates of pages: a frame, a style sheet and parts that all pages share. All text that is filled in is escaped.

A page extends ``base.html.jinja`` and takes parts from ``parts.html.jinja``. It fetches nothing from a network, which
its content security policy forbids as well.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from faceaug.utils.text_table import duration, number

_SHARED = "faceaug.pages"
_ESCAPED_IN_SCRIPTS = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


@lru_cache(maxsize=16)
def page_template(name: str, package: str = _SHARED) -> jinja2.Template:
    """Return a template of a package, which may extend and include those of this one."""
    return _environment(package).get_template(name)


def style_sheet() -> str:
    """Return the style sheet of all pages, for one that is not made from a template."""
    return files(_SHARED).joinpath("style.css").read_text(encoding="utf-8")


def script_value(value: Any) -> str:
    """Return a value as JSON that can stand in a script, in a page or beside it: no text in it can end the script.

    Raises
    ------
    ValueError
        When a number is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPED_IN_SCRIPTS)


@lru_cache(maxsize=8)
def _environment(package: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _source(package, name)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, duration=duration, breakable=_breakable)
    environment.globals.update(style_sheet=lambda: Markup(style_sheet()))
    return environment


def _breakable(name: str) -> Markup:
    """Return a name such as morph:two_stage[share=0.2] that may be broken where one of its parts ends."""
    parts = re.split(r"(?<=[:_/])|(?=\[)", name)
    return Markup("<wbr>").join(parts)  # which escapes them


def _source(package: str, name: str) -> str | None:
    """Return the source of a template: of the package, or else of the shared ones."""
    for home in (package, _SHARED):
        file = files(home).joinpath(name)
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return None
