"""What every package may use: images, tensors, files, threads, text."""
