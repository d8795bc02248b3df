"""The terminal: output and progress bars, interruption with Ctrl-C, and the summary of a run."""
