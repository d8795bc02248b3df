"""Editing of latents: what a cell asks, where edits begin, and the closed loop that reaches it."""
