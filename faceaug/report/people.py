"""The section of the report on whether the people are new, which can be replaced in a page that was written before."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from faceaug.identity.summary import IdentitySummary
from faceaug.pages.template import page_template

_SECTION = re.compile(r'<section id="people">.*?</section>', re.DOTALL)
_LINE = re.compile(r'<dt id="people-line">.*?</dd>', re.DOTALL)


def render_people(identity: IdentitySummary | None) -> str:
    """Return the section as HTML; without a comparison, it says how to make one."""
    section: str = page_template("people.html.jinja", "faceaug.report").render(
        identity=identity, histograms=_histograms(identity)
    )
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
