"""The report of a run: an HTML page with contact sheets, which needs no network."""
