"""Paths or runs side by side in vector registers: the lanes, their functions, and compiled kernels on disk."""
