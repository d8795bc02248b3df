"""The engines that edit latents: generated faces, and inverted photographs."""
