"""Explanation: which parts of the face carry a label."""
