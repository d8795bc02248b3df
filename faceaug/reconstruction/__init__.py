"""One photograph into canonical depth, albedo, light and view, without labels (method.md, section 2)."""
