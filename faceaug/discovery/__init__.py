"""Discovery: latent directions found in a generator without labels."""
