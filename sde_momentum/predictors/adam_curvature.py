"""The curvature along Gamma that Adam feels under label noise [theory: Averages of gradients, eq. 12.6]."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..core.arguments import by_annotations
from ..core.errors import InputError
from ..geometry.manifold_point import ManifoldPoint
from ..problems.problem import Array, Problem

_STATIONARY = 1e-3
"""Largest part along Gamma of grad sum_i sqrt(H_ii), over all of it, at a point that counts as the least."""


def root_gradient(problem: Problem, w: Array) -> Array:
    """Ambient gradient of sum_i sqrt(H_ii), H_ii the diagonal of H: (..., N) -> (..., N).

    Elements i on which no output depends, H_ii = 0, count 0.
    """
    jacobian = problem.jacobian(w)
    roots = np.sqrt(np.square(jacobian).sum(axis=-2, keepdims=True) / problem.n_outputs)
    scaled = np.divide(jacobian, roots, out=np.zeros_like(jacobian), where=roots > 0)
    return problem.contract_hessians(w, scaled / problem.n_outputs)


@by_annotations
def adam_curvature(point: ManifoldPoint, displacement: ArrayLike) -> float:
    """mu_A, the curvature along Gamma that Adam feels, in 1 / parameter^2: its drift decays at the rate eta^2 mu_A / 4.

        mu_A = 2 x . (hess S - sum_i nu_i hess f_i) x / sum_i x_i^2 sqrt(H_ii),   S = sum_i sqrt(H_ii),  J^T nu = grad S

    with x the unit displacement along Gamma [theory: Averages of gradients, eq. 12.6]. It depends on the coordinates, for Adam
    normalises element by element, and not on the noise. `MomentumRule.for_adam` makes it a bound on beta1.

    Args:
        point: where S is least along Gamma, and no H_ii vanishes
        displacement: (N,), of which only the part along Gamma counts

    Raises:
        InputError: for a point where S is not stationary along Gamma or an H_ii is 0, or a displacement that is normal to Gamma.

    >>> import sde_momentum as sm
    >>> problem = sm.Problem.from_function(lambda w: w[:1] * w[1:], [1.0], 2)
    >>> point = sm.ManifoldPoint(problem, np.array([1.0, 1.0]))
    >>> round(adam_curvature(point, np.array([1.0, -1.0])), 6)
    2.0
    """
    problem = point.problem
    diagonal = np.square(problem.jacobian(point.w)).sum(axis=0) / problem.n_outputs
    if not np.all(diagonal > 1e-12 * diagonal.max()):
        which = f"element {int(diagonal.argmin())} with H_ii = {diagonal.min():.3g}"
        raise InputError("point", which, "a point where every H_ii > 0: there Adam's step is unbounded")
    gradient = root_gradient(problem, point.w)
    size, along = (float(np.linalg.norm(each)) for each in (gradient, point.along(gradient)))
    if along > _STATIONARY * size + 1e-9 * float(np.sqrt(diagonal).sum()):
        share = f"{along / size:.2g} of grad sum_i sqrt(H_ii) along Gamma"
        raise InputError("point", share, "a point where sum_i sqrt(H_ii) is least along Gamma")
    given = np.asarray(displacement, dtype=np.float64)
    stiffness = point.stiffness(lambda w: root_gradient(problem, w), given)
    unit = point.along(given) / np.linalg.norm(point.along(given))
    return 2 * stiffness / float(np.square(unit) @ np.sqrt(diagonal))
