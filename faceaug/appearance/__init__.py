"""Appearance of photographs (framing, colour, sharpness, noise, codec): measured on a data set, given to samples."""
