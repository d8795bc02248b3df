"""Fixtures: generators to test (tests/helpers/generator_fixtures.py)."""

from generator_fixtures import faces

__all__ = ["faces"]
