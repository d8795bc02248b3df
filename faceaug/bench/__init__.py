"""Experiments: whether synthetic faces help a model, against the ways that need none (docs/bench.md)."""
