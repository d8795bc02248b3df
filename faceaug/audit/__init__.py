"""Audit of the labels and images of a data set before it is balanced."""
