"""Discovery: the directions of a generator, found without labels, and their atlas."""
