"""The other ways to do the same work, one file per peer: `benchmarks/engines.py` runs them beside this package.

Every function `p1_*`, `p2_*`, `p3_*` of a peer takes the problem (see `problems.py`) and returns a function of a
seed that does the whole work once and returns NumPy arrays: compilation happens in its first call.
"""
