"""The user's cache of what was learnt and measured."""
