"""Files that describe the samples of an output folder: table, Croissant description and data card."""
