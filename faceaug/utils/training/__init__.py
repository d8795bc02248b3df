"""Training loops: steps, checkpoints, and a log of the metrics."""
