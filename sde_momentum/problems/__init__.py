"""Training problems: models f(w) with targets y, whose zero-loss set is the manifold Gamma [theory: Setting].

problem         `Problem`: the contract; `as_problem`: the same of a SymbolicModel
function        `FunctionProblem`: from a user's function or module, made by `Problem.from_function`
autodiff        functions in PyTorch and JAX, modules of PyTorch: derivatives by the framework
differences     functions in NumPy: derivatives by complex step or central differences
array_functions the common form of these: functions of many points on arrays
load            `load_problem`: from `FILE.py:NAME`, for the command line
metrics         `Metric`, METRICS: the numbers measured along a run
compiled        `Kernels`: outputs, pullback and metrics in machine code, optional; `measures`: how metrics are taken from them
interpolation   `descend_to_manifold`, `project_to_manifold`: from any parameter vector to a point of Gamma
matrix_sensing  `MatrixSensing`: a low-rank matrix from Gaussian measurements
valley          `Valley`: one direction along Gamma, and normal modes whose eigenvalues change along it
registry        the built-in problems with their options and starts
"""

from __future__ import annotations

from ..core.extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
