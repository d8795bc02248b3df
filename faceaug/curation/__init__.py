"""Output folders made of others: merged, chosen from by a condition, or divided."""
