"""Fixtures of the readers' tests; what makes the data sets is in tests/dataset_files.py."""

from dataset_files import any_kind, faces, make

__all__ = ["any_kind", "faces", "make"]
