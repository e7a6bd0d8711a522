"""The two-factor (UV) model f = u.v / sqrt(n): a linear network with one hidden layer, one input and one output."""

from __future__ import annotations

import numpy as np
import sympy as sp

from sde_momentum.core.errors import InputError, check_integer, check_positive

from ..symbolic_model import SymbolicModel


def two_factor(n: int = 8, target: float = 1.0, imbalance: float = 2.0) -> SymbolicModel:
    """f = u.v / sqrt(n), y = `target`, w = (u, v) in R^2n, P = 1.

    tr H = (|u|^2 + |v|^2) / n; on Gamma it is least, 2 |y| / sqrt(n), where u = +-v, and there it has curvature
    mu = 4 / n along u - v (n directions) and 0 along rotations of both. The known point is flat in no such
    direction: |u| / |v| = `imbalance`, u and v parallel. (Studied under the name UV model by Lewkowycz and
    others, *The large learning rate phase of deep learning*, arXiv 2003.02218.)

    >>> two_factor(2).trace_hessian
    u0**2/2 + u1**2/2 + v0**2/2 + v1**2/2
    """
    n = check_integer(n, "n", 1)
    ratio = float(check_positive(imbalance, "imbalance"))
    if not np.isfinite(target) or target == 0:
        raise InputError("target", target, "a finite number other than 0")
    u, v = sp.symbols(f"u:{n}", real=True), sp.symbols(f"v:{n}", real=True)
    output = sp.Add(*(a * b for a, b in zip(u, v, strict=True))) / sp.sqrt(n)
    direction = np.random.default_rng(0).standard_normal(n)
    direction *= np.sqrt(np.sqrt(n) * abs(target)) / np.linalg.norm(direction)
    point = np.concatenate([direction * np.sqrt(ratio), np.sign(target) * direction / np.sqrt(ratio)])
    return SymbolicModel(output, (*u, *v), [target], name="two-factor", point=point)
