<<<<<<< HEAD
"""What every package may use: images, tensors, files, threads, text."""
=======
"""Helpers that any part of faceaug may use."""
>>>>>>> 6fce37a (Bound documents, and the values that messages show)
