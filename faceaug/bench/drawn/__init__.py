"""Closed worlds: experiments on faces that are drawn from a generator."""
