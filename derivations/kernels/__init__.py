"""Compiler from a formula to Numba code: expression graph, derivatives, loop detection, and kernels cached on disk."""
