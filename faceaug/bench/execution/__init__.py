"""The runs of an experiment, an arm and a seed each: what one computes, and where."""
