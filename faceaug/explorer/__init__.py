"""The explorer: a local page to edit faces, turn photographs, and look into data sets and output folders."""
