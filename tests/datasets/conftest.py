"""Fixtures of the readers' tests; what makes the data sets is in tests/target_faces.py."""

from target_faces import any_kind, faces, make

__all__ = ["any_kind", "faces", "make"]
