"""The section of the report on whether the people are new, which can be replaced in a page that was written before."""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape
from importlib.resources import files
from typing import Any

import jinja2

from faceaug.identity.summary import IdentitySummary
from faceaug.utils.text_table import duration, number

_SECTION = re.compile(r'<section id="people">.*?</section>', re.DOTALL)
_LINE = re.compile(r'<dt id="people-line">.*?</dd>', re.DOTALL)


def render_people(identity: IdentitySummary | None) -> str:
    """Return the section as HTML; without a comparison, it says how to make one."""
    section: str = page_template("people.html.jinja").render(identity=identity, histograms=_histograms(identity))
    return section.rstrip()


def render_people_line(identity: IdentitySummary | None) -> str:
    """Return the line among the facts at the head of the page."""
    headline = identity.headline() if identity else "not compared with the real ones"
    return f'<dt id="people-line">people</dt><dd>{escape(headline)}</dd>'


def replace_people(page: str, identity: IdentitySummary) -> str:
    """Return a page with line and section of another comparison; unchanged if it has no place for them."""
    page = _LINE.sub(lambda _: render_people_line(identity), page, count=1)
    return _SECTION.sub(lambda _: render_people(identity), page, count=1)


def _histograms(identity: IdentitySummary | None) -> list[dict[str, Any]]:
    """Return, for each kind of distance, the heights of the bars and the place of that of one person, in percent."""
    if identity is None:
        return []
    limit, largest = identity.same_person, identity.edges[-1]
    return [
        {
            "name": name,
            "n": distribution.n,
            "median": distribution.median,
            "below": distribution.share_below,
            "heights": [round(100 * count / max(distribution.counts), 1) for count in distribution.counts],
            "limit": None if limit is None else round(100 * limit / largest, 2),
        }
        for name, distribution in identity.distances.items()
        if distribution.n
    ]


@lru_cache(maxsize=4)
def page_template(name: str, package: str = "faceaug.report") -> jinja2.Template:
    """Return a template of a package; what is filled in is escaped."""
    source = files(package).joinpath(name).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, duration=duration)
    return environment.from_string(source)
