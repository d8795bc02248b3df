"""Numbers and durations as text for people."""

from __future__ import annotations

import pytest

from faceaug.utils.text_table import duration, number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234567, "1,234,567"),
        (0.5, "0.500"),
        (0.01234, "0.0123"),
        (12.345, "12.3"),
        (1234.56, "1,235"),
        (-2.531, "-2.53"),
        (3.0, "3"),
        (1e-9, "0.0000"),
        ("word", "word"),
    ],
)
def test_numbers_have_three_significant_digits_and_separators(value: float | str, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (42.4, "42 s"), (59.7, "1 min 00 s"), (185, "3 min 05 s"), (3720, "1 h 02 min")],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text
