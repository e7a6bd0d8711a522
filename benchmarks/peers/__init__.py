"""Other libraries on the same problems, a file each; `benchmarks/engines.py` runs them beside this library.

Every function `p1_*`, `p2_*`, `p3_*` of a peer takes the problem (see `problems.py`) and returns a function of a
seed that does the whole work once and returns NumPy arrays: compilation happens in its first call.
"""
