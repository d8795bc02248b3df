"""Comparison of ways to find directions in one generator: supervised, by components, and faceaug's own."""
