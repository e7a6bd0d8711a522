"""Matrix sensing f_i = <A_i, U V>, small, from its formula; `sde_momentum.MatrixSensing` is the same by hand."""

from __future__ import annotations

import sympy as sp

from sde_momentum.problems.matrix_sensing import MatrixSensing

from ..symbolic_model import SymbolicModel


def matrix_sensing(d: int = 4, rank: int = 1, n_measurements: int = 6, width: int | None = None, seed: int = 0) -> SymbolicModel:
    """f_i = sum_jl A_ijl (U V)_jl, w = (U, V) row by row; measurements and hidden matrix of `MatrixSensing`.

    Arguments and source as there: the first experiment of Cowsik, Can, Glorioso (arXiv 2210.16400). The known
    point is `MatrixSensing.interpolating_start()`.

    >>> matrix_sensing()
    SymbolicModel('matrix-sensing', N = 32, P = 6)
    """
    problem = MatrixSensing(d, rank, n_measurements, width=width, seed=seed)
    d, k = problem.d, problem.width
    u = [[sp.Symbol(f"u{i}_{j}", real=True) for j in range(k)] for i in range(d)]
    v = [[sp.Symbol(f"v{i}_{j}", real=True) for j in range(d)] for i in range(k)]
    a = [[sp.Symbol(f"a{i}_{j}", real=True) for j in range(d)] for i in range(d)]
    entries = ((i, j) for i in range(d) for j in range(d))
    output = sp.Add(*(a[i][j] * sp.Add(*(u[i][m] * v[m][j] for m in range(k))) for i, j in entries))
    return SymbolicModel(
        output,
        [symbol for row in (*u, *v) for symbol in row],
        problem.targets,
        inputs=[symbol for row in a for symbol in row],
        data=problem.measurements.reshape(problem.n_outputs, -1),
        name="matrix-sensing",
        point=problem.interpolating_start(),
    )
