"""Engines: they propose candidates for the cells of a plan."""
