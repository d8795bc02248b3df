"""Editing of latents: what a cell requests, where edits begin, and the closed loop that reaches it."""
