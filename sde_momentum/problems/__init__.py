"""Training problems: models f(w) with targets y, whose zero-loss set is the manifold Gamma [theory: Setting].

problem         `Problem`: the contract; `as_problem`: a problem from whatever can be one
function        `FunctionProblem`: from a function of one's own in NumPy, PyTorch or JAX
metrics         `Metric`, METRICS: what is measured along a run
compiled        `Kernels`: outputs and pullback in machine code, an addition that some problems have
interpolation   `descend_to_manifold`, `project_to_manifold`: from any parameter vector to a point of Gamma
matrix_sensing  `MatrixSensing`: a low-rank matrix from Gaussian measurements
valley          `Valley`: one direction along Gamma, and normal modes whose eigenvalues change along it
registry        the built-in problems with their options and starts
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "METRICS": "metrics",
    "FunctionProblem": "function",
    "Kernels": "compiled",
    "MatrixSensing": "matrix_sensing",
    "Metric": "metrics",
    "Problem": "problem",
    "Valley": "valley",
    "as_problem": "problem",
    "descend_to_manifold": "interpolation",
    "project_to_manifold": "interpolation",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
