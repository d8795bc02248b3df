"""Inversion: the latent whose image is nearest to a photograph, and its distance."""
