"""Data sets and outputs behind URLs: listed, read when they are needed, and written whole."""
