"""Acceptance: the gates that every candidate must pass, and the search for near-duplicates."""
