"""Paths of an equation on given Wiener increments, at the end of every step: what several tests compare with."""

from __future__ import annotations

import numpy as np

from sde_momentum import sde


def follow(equation, x0, increments, *, step, method="euler-maruyama", parameters=(), t0=0.0, integrals=None):
    """(n_steps + 1, dim, n_paths) on increments (n_steps, n_noise, n_paths)."""
    n_steps, _, n = np.shape(increments)
    result = sde.solve(
        equation, x0, t0 + step * np.arange(n_steps + 1), step=sde.OnIncrements(increments, step, method, integrals),
        n_paths=n, parameters=parameters, t0=t0, statistics=[sde.KeepPaths(range(n))],
    )  # fmt: skip
    return np.moveaxis(result["path_value"].values.reshape(n, n_steps + 1, -1), 0, -1)
