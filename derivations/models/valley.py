"""A straight valley whose normal modes' eigenvalues lambda_j(theta) change along it [theory: Drift; Critical limit]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sympy as sp

from sde_momentum.core.errors import InputError, check_integer, check_positive

from ..symbolic_model import SymbolicModel

theta = sp.Symbol("theta", real=True)
"""Position along the valley."""


def valley(
    n_modes: int = 4, curvature: float = 1.0, eigenvalues: Sequence[sp.Expr] | None = None, start: float = 1.0
) -> SymbolicModel:
    """f_j = sqrt(P lambda_j(theta)) x_j, y = 0: Gamma is x = 0, J J^T / P = diag(lambda_j), tr H = sum_j lambda_j.

    Args:
        n_modes: P, without `eigenvalues`: then all are 1 + mu theta^2 / (2 P), and tr H has curvature mu at its minimum
        curvature: mu of that
        eigenvalues: lambda_1 .. lambda_P > 0, expressions in `valley.theta`
        start: theta of the known point

    w = (theta, x_1 .. x_P).

    >>> valley(3, curvature=6.0).normal_eigenvalues
    (theta**2 + 1, theta**2 + 1, theta**2 + 1)
    """
    if eigenvalues is None:
        p = check_integer(n_modes, "n_modes", 1)
        mu = sp.nsimplify(float(check_positive(curvature, "curvature")), rational=True)
        eigenvalues = [1 + mu * theta**2 / (2 * p)] * p
    p = len(eigenvalues)
    for j, eigenvalue in enumerate(eigenvalues):
        value = sp.sympify(eigenvalue).subs(theta, start)
        if not (value.is_number and value.is_positive):
            raise InputError(f"eigenvalues[{j}]", eigenvalue, f"expressions in theta, > 0 at the start theta = {start:g}")
    x = sp.symbols(f"x1:{p + 1}", real=True)
    outputs = [sp.sqrt(p * eigenvalue) * mode for eigenvalue, mode in zip(eigenvalues, x, strict=True)]
    return SymbolicModel(
        outputs,
        (theta, *x),
        np.zeros(p),
        name="valley",
        point=np.concatenate([[start], np.zeros(p)]),
        manifold=dict.fromkeys(x, sp.Integer(0)),
    )
