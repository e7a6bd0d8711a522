"""A formula as Numba code: its graph, its derivatives, the plan of the loops, and the kernels on disk."""
