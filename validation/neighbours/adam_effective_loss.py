"""Adam without noise on the effective loss: a prediction of its mean course [theory: Averages of gradients, eq. 12.5]."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sde_momentum.problems.problem import Problem

Floats = NDArray[np.float64]


def adam_effective_course(
    problem: Problem, start: ArrayLike, lr: float, one_minus_beta: ArrayLike, beta2: float, noise: float, times: ArrayLike
) -> Floats:
    """w at `times` (increasing steps) for each 1 - beta1: (n_time, n_momentum, N).

        gradient:  grad L + b (eta c / 4) sum_i D_i grad H_ii,  D held;   u: of c H_ii + b (eta c / 2) (H D H)_ii

    with D_i = 1 / sqrt(u^_i), u^ the average of `beta2` with bias correction, and b the energies' share of (12.9), the same for
    all modes. `noise` is c.
    """
    delta, clock = np.atleast_1d(np.asarray(one_minus_beta, float)), np.asarray(times)
    w = np.repeat(np.asarray(start, float)[None], len(delta), axis=0)
    m, u, share = np.zeros_like(w), np.zeros_like(w), np.zeros(len(delta))
    out = np.empty((len(clock), *w.shape))
    out[clock == 0] = w
    p, scale = problem.n_outputs, None
    for step in range(1, int(clock[-1]) + 1):
        newest = delta / -np.expm1(step * np.log1p(-delta))
        share += newest * (1 - share) + 0.5 * (newest - delta) * share
        jacobian = problem.jacobian(w)
        diagonal = np.square(jacobian).sum(axis=1) / p
        if scale is None:
            scale = 1 / np.sqrt(noise * diagonal)
        scaled = jacobian * scale[:, None]
        if step % 5 == 1:  # both change slowly
            force = (lr * noise / 4) * problem.contract_hessians(w, scaled) * (2 / p)
            mixed = (scaled @ jacobian.swapaxes(1, 2)) @ jacobian
            signal = (lr * noise / 2) * (jacobian * mixed).sum(axis=1) / p**2
        gradient = (problem.residual(w)[:, None] @ jacobian)[:, 0] / p + share[:, None] * force
        u = beta2 * u + (1 - beta2) * (noise * diagonal + share[:, None] * signal)
        scale = 1 / np.sqrt(u / (1 - beta2**step))
        m += delta[:, None] * (gradient - m)
        w = w - lr * scale * m * (newest / delta)[:, None]
        out[clock == step] = w
    return out
