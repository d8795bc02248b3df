"""Output folders: shards of images, their manifest, and the code that writes, reads, checks and exports them.

A run writes through `output_folder.OutputFolder`, other code reads through `reader.ShardReader`, and `verify.verify`
reads everything again. docs/formats.md describes the files.
"""
