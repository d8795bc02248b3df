"""Planning: how many samples each cell is to get, by a sampling strategy under a budget."""
