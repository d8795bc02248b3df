"""Measurement: view, light and parts of faces on photographs, with the confidence of each value."""
