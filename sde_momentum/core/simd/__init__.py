"""SIMD for Numba kernels, one path or run per lane: arithmetic, functions, matrix products; compiled kernels on disk."""
