"""Morphs in the canonical frame: new people from the faces of a data set (docs/method.md, section 9)."""
