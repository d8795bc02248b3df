"""Images that were made elsewhere, checked and accounted for like those of every other engine."""
