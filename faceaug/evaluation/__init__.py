"""How good samples are, whatever made them: fidelity, diversity, separability, copies and labels, by cell."""
