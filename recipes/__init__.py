"""Recipes that come with faceaug; `--recipe NAME` finds them by name."""
