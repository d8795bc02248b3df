"""What a licence that is stated in free text allows, as far as its words say so."""

from __future__ import annotations

import re

_RESEARCH_ONLY = re.compile(
    r"(?<!commercial and )(?<!commercial or )(?<!not limited to )\bnon[- ]?commercial"
    r"|\b(no|not for) commercial\b"
    r"|\b(research|academic|scientific|educational)\b[- ]*(use|purposes?)?[- ]*only\b"
    r"|\bonly (be used )?for (the purpose of )?[\w -]{0,20}\b(research|academic|scientific)\b"
    r"|\b(only|solely|exclusively) for (research|academic|scientific|educational)\b"
    r"|\bby[-_ ]nc\b|\blicen[cs]e[- (]*nc\b",
    re.IGNORECASE,
)


def is_research_only(licence: str) -> bool:
    """Return whether a licence says in the usual words that it allows research, or no commercial use, alone.

    Examples
    --------
    >>> is_research_only("CC BY-NC-SA 4.0"), is_research_only("CC BY 4.0")
    (True, False)
    """
    return _RESEARCH_ONLY.search(licence) is not None
