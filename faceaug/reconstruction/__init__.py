"""Reconstruction: from an image to canonical depth, albedo, light and view (docs/method.md, section 2)."""
