"""The report of a run: pages and contact sheets for people who would rather look than read."""
