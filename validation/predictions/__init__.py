"""Tests of every way to predict against training, on all built-in problems."""
