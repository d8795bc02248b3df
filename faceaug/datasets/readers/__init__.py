"""Readers of data sets, one file a format, each with `detect` and `read`."""
