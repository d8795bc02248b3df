"""What the words of a licence allow."""

from __future__ import annotations

import pytest

from faceaug.generators.importers.convert import UNKNOWN_LICENCE
from faceaug.generators.registry import load_generator
from faceaug.shards.description.licence import is_research_only


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        *(
            (text, True)
            for text in ("CC BY-NC 4.0", "Non-commercial use", "research only", "for research purposes only")
        ),
        *((text, True) for text in ("Only for academic research", "NVIDIA Source Code License (non commercial)")),
        *((text, True) for text in ("may only be used for non-profit research", "Academic Use Only")),
        *((text, False) for text in ("", "MIT", "CC BY 4.0", "CC0", "my own photographs", "research and other uses")),
        *((text, True) for text in ("NVIDIA Source Code License-NC", "CC BY NC 4.0", "not for commercial use")),
        *((text, True) for text in ("no commercial use", "solely for research")),
        ("free for research and for commercial use", False),
        ("Free for commercial and non-commercial use", False),
        ("MIT, not limited to non-commercial use", False),
        ("Collected for research purposes; CC BY 4.0", False),
        (UNKNOWN_LICENCE, False),
    ],
)
def test_what_a_licence_says_in_the_usual_words_is_understood(licence: str, expected: bool) -> None:
    assert is_research_only(licence) is expected


def test_the_licence_of_the_embedded_generator_needs_no_consent() -> None:
    assert not is_research_only(load_generator("embedded").licence)
