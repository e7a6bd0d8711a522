"""Two-layer tanh network that learns from a smaller network of its kind: student and teacher."""

from __future__ import annotations

import numpy as np
import sympy as sp

from sde_momentum.core.errors import InputError, check_integer

from ..symbolic_model import SymbolicModel


def two_layer_tanh(
    n_inputs: int = 5, n_hidden: int = 20, n_samples: int = 40, n_teacher: int = 3, seed: int = 0
) -> SymbolicModel:
    """f(x) = sum_j a_j tanh(sum_i W_ji x_i), w = (W row by row, a); y by a network with `n_teacher` hidden units.

    `seed` draws X, standard normal, and the weights of the teacher and of a student (W_ji of variance 1, a_j of variance
    1 / units). Gauss-Newton leads from that student to the interpolating point.

    >>> two_layer_tanh()
    SymbolicModel('two-layer-tanh', N = 120, P = 40)
    """
    d, h = check_integer(n_inputs, "n_inputs", 1), check_integer(n_hidden, "n_hidden", 1)
    s, m = check_integer(n_samples, "n_samples", 1), check_integer(n_teacher, "n_teacher", 1)
    if s > h * (d + 1):
        raise InputError("n_samples", s, f"at most the number of parameters, {h * (d + 1)}, so that they can be fitted exactly")
    rng = np.random.default_rng(check_integer(seed, "seed", 0))
    data = rng.standard_normal((s, d))
    teacher, student = (rng.standard_normal((units, d)) for units in (m, h))
    targets = np.tanh(data @ teacher.T) @ (rng.standard_normal(m) / np.sqrt(m))
    weights = [sp.symbols(f"w{j}_:{d}", real=True) for j in range(h)]
    a, x = sp.symbols(f"a:{h}", real=True), sp.symbols(f"x:{d}", real=True)
    hidden = [sp.tanh(sp.Add(*(row[i] * x[i] for i in range(d)))) for row in weights]
    output = sp.Add(*(a[j] * hidden[j] for j in range(h)))
    start = np.concatenate([student.ravel(), rng.standard_normal(h) / np.sqrt(h)])
    parameters = [symbol for row in (*weights, a) for symbol in row]
    return SymbolicModel(output, parameters, targets, inputs=x, data=data, name="two-layer-tanh", point=start)
