"""Importers: official and other checkpoints of generators, read without running their code."""
