"""Stationary excess of tr H from the fluctuations across Gamma [theory: Price of speed, eq. 9.9]."""

from __future__ import annotations

import numpy as np

from ..core.arguments import by_annotations
from ..core.errors import InputError, check_lr, check_non_negative, check_one, check_one_minus_beta
from ..geometry.manifold_point import ManifoldPoint
from ..theory import formulas


@by_annotations
def normal_excess(point: ManifoldPoint, lr: float, one_minus_beta: float, noise: float) -> float:
    """Stationary mean of tr H(w) - tr H(w0), where w fluctuates across Gamma around its point w0.

        (1/2) sum_j s_j (n_j . (hess tr H - sum_i nu_i hess f_i) n_j - grad tr H . H^+ grad lambda_j)

    n_j is the unit vector of normal mode j and s_j its stationary variance [theory: Relaxation, eq. 2.10], nu the multipliers
    with J^T nu = the normal part of grad tr H, H^+ the pseudo-inverse of the Hessian. The first term is the curvature of tr H
    along the mode. The others are the slope of tr H times the mean displacement of w from w0: the curvature of the outputs f_i
    causes one part of it, the mean force towards smaller eigenvalues the other. Along 1 - beta = C lr^(2/3) the excess
    vanishes as lr^(1/3).

    Args:
        point: w0, a point of Gamma
        lr: eta > 0
        one_minus_beta: delta in (0, 1]
        noise: c = sigma^2 / B >= 0

    Returns:
        The excess, in units of curvature.

    Raises:
        InputError: for a value out of range.

    >>> from sde_momentum import ManifoldPoint, Valley
    >>> valley = Valley.balanced(8, curvature=1.0, coupling=0.5)
    >>> point = ManifoldPoint(valley, valley.start(0.0))
    >>> excess = [normal_excess(point, lr, 0.5 * lr ** (2 / 3), noise=1e-3) for lr in (1e-3, 1e-6)]
    >>> excess[0] > 9 * excess[1] > 0  # falls as lr^(1/3)
    True
    """
    lr, noise = check_one(check_lr, lr, "lr"), check_one(check_non_negative, noise, "noise")
    one_minus_beta = check_one(check_one_minus_beta, one_minus_beta, "one_minus_beta")
    problem, axes = point.problem, point.normal.T
    h = 1e-5 * (1 + float(np.abs(point.w).max()))
    ahead, behind = (problem.trace_hessian_gradient(point.w + k * h * axes) for k in (1, -1))
    weights = np.einsum("p,jn->jpn", point.multipliers, axes)
    bend = problem.contract_hessians(np.broadcast_to(point.w, axes.shape), weights)
    toward = axes @ problem.trace_hessian_gradient(point.w) / point.eigenvalues
    each = (axes * ((ahead - behind) / (2 * h) - bend)).sum(axis=1) - point.ambient_eigenvalue_gradients @ (toward @ axes)
    variance = formulas.heavy_ball_stationary_variance(lr, point.eigenvalues, one_minus_beta, noise)
    if not np.isfinite(variance).all():
        raise InputError("lr", lr, f"a learning rate at which every mode is stable with 1 - beta = {one_minus_beta:.6g}")
    return float(variance @ each / 2)
