"""What is done with a table of labels before it is used: further files joined, one-hot columns, values grouped."""
