"""Commands that read output folders."""
