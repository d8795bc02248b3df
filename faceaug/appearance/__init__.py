"""Appearance: the look of photographs (framing, colour, sharpness, noise, codec), and samples given that look."""
