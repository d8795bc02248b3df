"""Growth of time and memory with the size of the work (docs/performance.md): `python -m benchmarks.growth`."""
