"""Readers of data sets: one module per format, each with the functions `detect` and `read`."""
