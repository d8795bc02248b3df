"""Speed of faceaug beside named alternatives, one row a module (docs/performance.md): `python -m benchmarks.speed`."""
