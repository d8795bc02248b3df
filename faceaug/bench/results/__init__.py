"""What an experiment gave: statistics over seeds, results.json, the page, and comparisons of experiments."""
