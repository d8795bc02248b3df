"""Training of the reconstruction network on a generator, and its fine-tuning on photographs."""
