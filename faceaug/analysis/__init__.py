"""Analysis: how the attributes of a data set are distributed."""
