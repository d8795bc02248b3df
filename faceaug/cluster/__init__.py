"""Parts of a computation on the machines of a Ray cluster, in a fixed order, begun again where they are lost."""
