"""Errors of the small-lr limits against the learning rate."""
