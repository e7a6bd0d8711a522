"""Diagonal linear network f(x) = sum_i (u_i^2 - v_i^2) x_i: label noise makes it find sparse solutions."""

from __future__ import annotations

import numpy as np
import sympy as sp

from sde_momentum.core.errors import InputError, check_integer

from ..symbolic_model import SymbolicModel


def diagonal_linear(n_features: int = 10, n_samples: int = 4, n_relevant: int = 1, seed: int = 0) -> SymbolicModel:
    """f_s = sum_i (u_i^2 - v_i^2) x_si, w = (u, v); y = the first `n_relevant` features, weight 1 each.

    `seed` draws X, standard normal, (n_samples, n_features). On Gamma tr H = 4 sum_i (u_i^2 + v_i^2) mean_s x_si^2:
    flattest where a weighted l1 norm of the coefficients is least. Source: Li, Wang, Arora (arXiv 2110.06914),
    section 6. The known point has the coefficients b of least l2 norm, u_i v_i = 1/4.

    >>> diagonal_linear(6, 3)
    SymbolicModel('diagonal-linear', N = 12, P = 3)
    """
    d = check_integer(n_features, "n_features", 1)
    p = check_integer(n_samples, "n_samples", 1)
    if p > d:
        raise InputError("n_samples", p, f"at most n_features = {d}, so that the samples can be fitted exactly")
    if check_integer(n_relevant, "n_relevant", 1) > d:
        raise InputError("n_relevant", n_relevant, f"a whole number from 1 to n_features = {d}")
    data = np.random.default_rng(check_integer(seed, "seed", 0)).standard_normal((p, d))
    targets = data[:, :n_relevant].sum(axis=1)
    u, v, x = (sp.symbols(f"{letter}:{d}", real=True) for letter in "uvx")
    output = sp.Add(*((a**2 - b**2) * c for a, b, c in zip(u, v, x, strict=True)))
    b = np.linalg.lstsq(data, targets, rcond=None)[0]
    norm = np.sqrt(b**2 + 0.25)  # u^2 + v^2 where u^2 - v^2 = b and u v = 1/4
    point = np.sqrt(np.concatenate([norm + b, norm - b]) / 2)
    return SymbolicModel(output, (*u, *v), targets, inputs=x, data=data, name="diagonal-linear", point=point)
