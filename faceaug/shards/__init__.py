"""Shards: the images of a balanced output folder, their manifest, and what reads, writes and checks them.

`folder.OutputFolder` is what a run writes through, `reader.ShardReader` what everything else reads through,
`verify.verify` re-reads it all. README.md beside this file gives the layout on disk.
"""
