"""The drift of label-noise SGD along Gamma, without fluctuations: gradient flow of tr H [theory: Drift, eq. 3.7].

dY/dt = -(1/4) grad_Gamma tr H,   t = k c eta^2 / delta^2,   delta = 1 - beta
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.arguments import by_annotations
from ..core.errors import InputError, check_positive
from ..core.threads import one_blas_thread
from ..geometry.along_manifold import Normals, move
from ..geometry.manifold_point import ManifoldPoint
from ..problems.problem import Array, Problem, as_problem

_TOLERANCE = 1e-10  # |f - y| <= _TOLERANCE (1 + |y|) at every point
_STILL = 100
"""Steps within which tr H falls by less than `rest`^2 of itself where the flow has come to rest. Where J loses rank the gradient
along Gamma, which is smoothed there, may stay above its own bound: the step along it and the projection back cancel."""


@dataclass(frozen=True, eq=False)
class DriftFlow:
    """A trajectory of the drift flow, from its start to where it comes to rest.

    Attributes:
        problem: the training problem
        time: t = k c eta^2 / delta^2, in units of 1 / curvature of tr H, (n_time,), from 0
        points: w(t) on Gamma, (n_time, N)
        at_rest: whether it came to rest within `max_steps`

    >>> from sde_momentum import Valley
    >>> valley = Valley([1.0, 2.0], 0.0, curvature=0.5)
    >>> flow = drift_flow(valley, valley.start(1.0))
    >>> flow.at_rest, bool(flow.points[-1, 0] ** 2 < 1e-3)
    (True, True)
    """

    problem: Problem
    time: Array
    points: Array
    at_rest: bool = True

    @property
    def flattest(self) -> ManifoldPoint:
        """The last point; where the flow came to rest, a local minimum of tr H on Gamma.

        Normal directions whose eigenvalue has nearly vanished (J may lose rank there) count as tangent.
        """
        return ManifoldPoint(self.problem, self.points[-1], rank_tolerance=1e-3)

    def __str__(self) -> str:
        start, end = self.problem.trace_hessian(self.points[[0, -1]])
        return f"DriftFlow(t = 0 to {self.time[-1]:.3g}, tr H = {start:.4g} to {end:.4g}, {len(self.time)} points)"


def _velocity(problem: Problem, w: Array, normals: Normals) -> Array:
    """-(1/4) P_T grad tr H at w (1, N); smooth where J loses rank, as `Normals` are."""
    return -normals.tangent(problem.trace_hessian_gradient(w)) / 4


@one_blas_thread()
@by_annotations
def drift_flow(
    problem: Problem,
    start: object,
    *,
    tolerance: float = 1e-3,
    rest: float = 1e-5,
    max_steps: int = 20_000,
    unfinished: str = "refuse",
) -> DriftFlow:
    """The drift flow from `start` to the flattest point that it leads to [theory: Drift, eq. 3.7].

        dY/dt = -(1/4) grad_Gamma tr H,   t = k c eta^2 / delta^2

    Heun steps with projection back to Gamma. The step size keeps the difference from Euler's step below `tolerance` |w|, and the
    change of the velocity within a step below the velocity.

    Args:
        problem: a Problem, or a SymbolicModel
        start: a point of Gamma, (N,)
        tolerance: error per step, relative to |w|
        rest: the flow has come to rest when |grad_Gamma tr H| |w| <= rest * tr H, or when tr H fell by less than
            rest^2 * tr H in the last 100 steps
        max_steps: largest number of steps
        unfinished: "refuse" (InputError) or "accept" a flow that has not come to rest by then

    Raises:
        InputError: for a start off Gamma, or when the flow does not come to rest.

    Source: Li, Wang, Arora (arXiv 2110.06914), their drift under label noise, with the clock t of momentum
    [theory: Drift, eq. 3.7].

    >>> from sde_momentum import MatrixSensing
    >>> problem = MatrixSensing(4, 1, 12)
    >>> flow = drift_flow(problem, problem.interpolating_start())
    >>> bool(problem.test_error(flow.points[-1]) < 1e-6 * problem.test_error(flow.points[0]))
    True
    """
    check_positive(tolerance, "tolerance")
    check_positive(rest, "rest")
    if unfinished not in ("refuse", "accept"):
        raise InputError("unfinished", unfinished, "'refuse' or 'accept'")
    problem = as_problem(problem)
    point = ManifoldPoint(problem, problem.check_point(start)).w
    flow = _follow(problem, point, tolerance, rest, max_steps)
    if not flow.at_rest and unfinished == "refuse":
        given = f"tr H still falls after {max_steps} steps"
        raise InputError("start", given, "another start: from this one the drift reaches no minimum of tr H")
    return flow


def _follow(problem: Problem, point: Array, tolerance: float, rest: float, max_steps: int) -> DriftFlow:
    """The flow from a point of Gamma, (N,)."""
    w, time, step = point[None], 0.0, 0.0
    times, points = [time], [point]
    normals = Normals.at(problem, w)
    velocity = _velocity(problem, w, normals)
    traces = [float(problem.trace_hessian(w)[0])]
    for _ in range(max_steps):
        size, speed = float(np.linalg.norm(w)), float(np.linalg.norm(velocity))
        still = len(traces) > _STILL and traces[-1 - _STILL] - traces[-1] <= rest**2 * traces[-1]
        if still or 4 * speed * size <= rest * traces[-1]:
            return DriftFlow(problem, np.array(times), np.array(points))
        step = step or 0.1 * size / speed
        there = w + step * velocity
        ahead = _velocity(problem, there, Normals.at(problem, there))
        change = float(np.linalg.norm(ahead - velocity))
        # the second term keeps the step below the stability limit of the fastest direction when the others have come to rest
        error = max(step / 2 * change / (tolerance * size), change / speed)
        if error <= 1:
            there, off = move(problem, w, step / 2 * (velocity + ahead), _TOLERANCE, normals)
            if off.any():
                step /= 2
                continue
            w = there
            time += step
            times.append(time)
            points.append(w[0])
            traces.append(float(problem.trace_hessian(w)[0]))
            normals = Normals.at(problem, w)
            velocity = _velocity(problem, w, normals)
        step *= float(np.clip(0.9 * error**-0.5 if error > 0 else 5.0, 0.2, 2.0))
    return DriftFlow(problem, np.array(times), np.array(points), at_rest=False)
