"""Generators: networks that synthesize a face from a latent vector, found by name or file."""

from faceaug.generators.base import Generator, sample_z
from faceaug.generators.registry import load_generator

__all__ = ["Generator", "load_generator", "sample_z"]
