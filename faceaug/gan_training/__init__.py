"""Training of generators: StyleGAN2 with adaptive discriminator augmentation, and its evaluation."""
