"""Tables of Arrow that hold images: their columns, and the files that are read over a memory map."""
