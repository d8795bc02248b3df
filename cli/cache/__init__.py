"""`faceaug cache` and its commands."""
