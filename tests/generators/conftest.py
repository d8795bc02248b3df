"""Fixtures: one thread, and generators to test (tests/helpers/generator_fixtures.py)."""

from generator_fixtures import _one_thread, faces, small

__all__ = ["_one_thread", "faces", "small"]
