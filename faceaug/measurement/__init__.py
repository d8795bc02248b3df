"""Measurement: view, light and parts of the face read off photographs, with how sure the reading is."""
