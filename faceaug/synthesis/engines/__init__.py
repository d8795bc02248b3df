"""Engines: what makes candidates for the cells of a plan."""
