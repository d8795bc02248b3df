"""How a shard stores encoded images: a row an image since version 3, one blob in version 2."""
