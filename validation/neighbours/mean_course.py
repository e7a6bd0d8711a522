"""The mean of label-noise SGD against time in a valley of equal modes at finite lr, with exact second moments of the modes
[theory: Effective loss, eq. 5.4; Relaxation, eq. 2.1]."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sde_momentum.core.compile import njit

Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def _course(
    lr: float, delta: float, noise: float, curvature: float, eigenvalue: float, modes: int, start: float, times: Any
) -> Any:
    beta = 1.0 - delta
    theta, velocity, xx, xv, vv = start, 0.0, 0.0, 0.0, 0.0
    out = np.empty(len(times))
    step = 0
    for t in range(len(times)):
        while step < times[t]:
            # sum_j lambda_j' E x_j^2 / 2, the same in every mode
            velocity = beta * velocity - lr * (0.5 * curvature * theta * xx)
            a = lr * (eigenvalue + 0.5 * curvature / modes * theta * theta)
            vv = beta * beta * vv - 2.0 * beta * a * xv + a * a * xx + lr * noise * a
            moved = beta * xv - a * xx  # E x (v' - noise)
            xx, xv = xx + 2.0 * moved + vv, moved + vv
            theta += velocity
            step += 1
        out[t] = theta
    return out


def mean_course(
    lr: float,
    one_minus_beta: float,
    times: NDArray[np.int64],
    *,
    noise: float,
    curvature: float,
    eigenvalue: float,
    n_modes: int,
    start: float,
) -> Floats:
    """Mean of theta at `times` in steps, (n_time,), in a valley lambda_j = l + (m / P) theta^2 / 2, from Gamma at rest.

    Heavy ball on theta in the mean force of the modes, (m theta / 2) E x^2, whose second moments follow their own exact
    recursion. It leaves out the energies' fluctuations, of relative size P^(-1/2).

    >>> steps = np.array([0, 10, 1000])
    >>> mean_course(0.01, 0.1, steps, noise=1.0, curvature=1.0, eigenvalue=1.0, n_modes=8, start=1.0).round(3).tolist()
    [1.0, 0.999, 0.081]
    """
    return np.asarray(_course(lr, one_minus_beta, noise, curvature, eigenvalue, n_modes, start, times))
