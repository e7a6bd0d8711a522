"""T2, T7: what the fluctuations across Gamma add to tr H at w, beside those along it."""

from __future__ import annotations

import numpy as np

from ..geometry.manifold_point import ManifoldPoint
from ..theory import formulas


def normal_excess(point: ManifoldPoint, lr: float, one_minus_beta: float, noise: float, above: float = 0.0) -> float:
    """Stationary mean of tr H(w) above tr H at the point of Gamma beneath, from the normal modes alone.

        (1/2) sum_j s_j n_j . (hess tr H - sum_i nu_i hess f_i) n_j,   J^T nu = the normal part of grad tr H

    s_j is the mode's stationary variance [theory: Relaxation]; the second term is the mean displacement that the modes'
    curvature causes. It
    vanishes as lr^(1/3) along 1 - beta = C lr^(2/3).

    Args:
        point: of Gamma
        lr: eta > 0
        one_minus_beta: delta in (0, 1]
        noise: c = sigma^2 / B >= 0
        above: of modes whose eigenvalue is above this
    """
    problem, axes = point.problem, point.normal.T
    h = 1e-5 * (1 + float(np.abs(point.w).max()))
    ahead, behind = (problem.trace_hessian_gradient(point.w + k * h * axes) for k in (1, -1))
    weights = np.einsum("p,jn->jpn", point.multipliers, axes)
    bend = problem.contract_hessians(np.broadcast_to(point.w, axes.shape), weights)
    curvature = (axes * ((ahead - behind) / (2 * h) - bend)).sum(axis=1)
    variance = formulas.heavy_ball_stationary_variance(lr, point.eigenvalues, one_minus_beta, noise)
    return float(np.where(point.eigenvalues > above, variance, 0.0) @ curvature / 2)
