"""New faces of the data set's own: morphs of a cell's faces, and faces moved from neighbouring cells."""
