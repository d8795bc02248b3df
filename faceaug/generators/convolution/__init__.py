"""Convolutions of StyleGAN2: up and down with a filter, and quick ones on CPUs."""
