"""Two-layer linear network f(x) = W2 W1 x: its hidden representation drifts along Gamma while f stays."""

from __future__ import annotations

import numpy as np
import sympy as sp

from sde_momentum.core.errors import InputError, check_integer

from ..symbolic_model import SymbolicModel


def two_layer_linear(
    n_inputs: int = 4, n_hidden: int = 4, n_outputs: int = 2, n_samples: int = 3, seed: int = 0
) -> SymbolicModel:
    """f(x) = W2 W1 x, w = (W1, W2) row by row; y = A x with a random A of spectral norm 1.

    `seed` draws X (n_samples, n_inputs) and A. n_samples <= n_inputs and n_outputs <= n_hidden, so that J has full
    rank at the known point, the balanced factors of A (W1 W1^T = W2^T W2), plus a change of W1 and W2 that leaves
    W2 W1 as it is and unbalances them. Source: Pashakhanloo, Koulakov, *Stochastic gradient descent-induced drift
    of representation in a two-layer neural network* (arXiv 2302.02563).

    >>> two_layer_linear()
    SymbolicModel('two-layer-linear', N = 24, P = 6)
    """
    d, h = check_integer(n_inputs, "n_inputs", 1), check_integer(n_hidden, "n_hidden", 1)
    k, s = check_integer(n_outputs, "n_outputs", 1), check_integer(n_samples, "n_samples", 1)
    if s > d:
        raise InputError("n_samples", s, f"at most n_inputs = {d}")
    if min(k, d) > h:
        raise InputError("n_hidden", h, f"at least min(n_inputs, n_outputs) = {min(k, d)}")
    rng = np.random.default_rng(check_integer(seed, "seed", 0))
    data, a = rng.standard_normal((s, d)), rng.standard_normal((k, d))
    a /= np.linalg.norm(a, 2)
    w1, w2 = _names("a", h, d), _names("b", k, h)
    x = sp.symbols(f"x:{d}", real=True)
    hidden = [sp.Add(*(w1[j][i] * x[i] for i in range(d))) for j in range(h)]
    outputs = [sp.Add(*(w2[i][j] * hidden[j] for j in range(h))) for i in range(k)]
    left, values, right = np.linalg.svd(a, full_matrices=False)
    first, second = np.zeros((h, d)), np.zeros((k, h))
    first[: len(values)] = np.sqrt(values)[:, None] * right
    second[:, : len(values)] = left * np.sqrt(values)
    mix = np.eye(h) + 0.3 * rng.standard_normal((h, h)) / np.sqrt(h)
    point = np.concatenate([(mix @ first).ravel(), np.linalg.solve(mix.T, second.T).T.ravel()])
    parameters = [symbol for row in (*w1, *w2) for symbol in row]
    return SymbolicModel(outputs, parameters, data @ a.T, inputs=x, data=data, name="two-layer-linear", point=point)


def _names(letter: str, rows: int, columns: int) -> list[list[sp.Symbol]]:
    return [[sp.Symbol(f"{letter}{i}_{j}", real=True) for j in range(columns)] for i in range(rows)]
