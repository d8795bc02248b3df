"""Exports of output folders to formats that other tools open."""
