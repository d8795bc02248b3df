"""Inversion: the latent whose picture comes nearest to a photograph, and how near that is."""
