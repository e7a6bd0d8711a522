"""The drift along Gamma from a start to a target: its curvature, amplitude and time [theory: Drift]."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.convergence import check_fraction, convergence_time
from ..core.errors import InputError
from ..core.threads import one_blas_thread
from ..dynamics.drift_flow import DriftFlow, drift_flow
from ..geometry.manifold_point import ManifoldPoint
from ..problems.problem import Array, Problem, as_problem
from ..theory import formulas

Floats = NDArray[np.float64]

_LONGEST = 1_000
"""Most steps of the drift flow; where tr H still falls after them, the target has been met or will not be."""
_ARRIVAL = 0.01
"""Remaining share of the displacement at which the direction of arrival is taken."""
_FLAT = 1e-5
"""Curvature of tr H along Gamma, times 1 + |w|^2 and over tr H, up to which tr H counts as constant."""
_SAMPLES = 6
"""Points of the path at which each mode's share of the force is taken."""


@dataclass(frozen=True, eq=False)
class DriftPath:
    """The drift flow from `start` to the flattest point, and the target on it: `metric` stays below `fraction` of its start.

    Args:
        problem: the training problem
        start: a point of Gamma, (N,)
        metric: name of a metric of the problem that does not vanish on Gamma
        fraction: q in (0, 1)

    Raises:
        InputError: for a value out of range, or (from `flow`) a target that the drift does not meet.

    >>> from sde_momentum import Valley
    >>> valley = Valley.balanced(8, curvature=1.0, coupling=0.0)
    >>> path = DriftPath(valley, valley.start(1.0), "test_error", 0.1)
    >>> round(path.curvature, 6)  # mu
    1.0
    """

    problem: Problem
    start: Array
    metric: str
    fraction: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "problem", as_problem(self.problem))
        object.__setattr__(self, "start", ManifoldPoint(self.problem, self.problem.check_point(self.start)).w)
        object.__setattr__(self, "metric", self.problem.metric_name(self.metric))
        object.__setattr__(self, "fraction", float(check_fraction(self.fraction)))

    @classmethod
    def to_default_target(cls, problem: Problem, start: Array) -> DriftPath:
        """The path to the target that holds where none is given: the test error at a tenth of its start or, for a problem
        without one, tr H after nine tenths of its fall.

        Raises InputError where there is no drift along Gamma: no tangent direction, tr H constant or at its least.
        """
        problem = as_problem(problem)
        error = float(problem.test_error(start))
        if np.isfinite(error) and error > 0:
            return cls(problem, start, "test_error", 0.1)
        flow = _flow(problem, ManifoldPoint(problem, start))
        first, last = problem.trace_hessian(flow.points[[0, -1]])
        path = cls(problem, start, "trace_hessian", float((last + 0.1 * (first - last)) / first))
        path.__dict__["flow"] = flow  # it need not be computed again
        return path

    @cached_property
    def flow(self) -> DriftFlow:
        """The drift flow to the flattest point, or its first 1,000 steps [theory: Drift, eq. 3.7]."""
        flow = _flow(self.problem, ManifoldPoint(self.problem, self.start))
        first, last = self.problem.metric(self.metric, flow.points[[0, -1]])
        if self.problem.find_metric(self.metric).vanishes_on_manifold or not np.isfinite(first):
            allowed = "a metric that does not vanish on Gamma, such as trace_hessian, which every problem has"
            raise InputError("metric", f"{self.metric} = {first:.3g} at the start", allowed)
        if last >= self.fraction * first:
            reached = "the flattest point reaches" if flow.at_rest else f"the drift reaches in {_LONGEST} steps"
            raise InputError("fraction", self.fraction, f"more than {last / first:.4g}, what {reached}")
        return flow

    def same_as(self, other: DriftPath) -> bool:
        """Whether the other path has the same problem, start and target."""
        same = self.problem.settings() == other.problem.settings()
        same = same and (self.metric, self.fraction) == (other.metric, other.fraction)
        same = same and self.problem.metric_fingerprint(self.metric) == other.problem.metric_fingerprint(other.metric)
        return same and np.allclose(self.start, other.start, rtol=1e-9, atol=1e-12)

    @cached_property
    def values(self) -> Floats:
        """The metric along the flow, (n_time,), in its own units."""
        return self.problem.metric(self.metric, self.flow.points)

    @property
    def flattest(self) -> ManifoldPoint:
        """Where the drift comes to rest."""
        return self.flow.flattest

    @cached_property
    def amplitude(self) -> float:
        """x = sqrt((q m_0 - m_1) / (m_0 - m_1)), the target as a share of the displacement from the flattest point.

        The metric, m_0 at the start and m_1 at that point, is taken as quadratic [theory: Effective loss, eq. 5.7].
        """
        first, last = self.values[[0, -1]]
        return float(np.sqrt((self.fraction * first - last) / (first - last)))

    @cached_property
    def curvature(self) -> float:
        """mu: curvature of tr H at the flattest point along the displacement start - flattest [theory: Drift, eq. 3.10]."""
        return self.flattest.curvature(self.start - self.flattest.w)

    @cached_property
    def arrival(self) -> Array:
        """The direction in which the drift reaches the flattest point: the displacement when a hundredth of it is left, (N,)."""
        left = self.flow.points - self.flattest.w
        size = np.linalg.norm(left, axis=1)
        return np.asarray(left[np.flatnonzero(size > _ARRIVAL * size[0])[-1]])

    @cached_property
    def time(self) -> float:
        """When the drift meets the target, on the clock t = k c eta^2 / delta^2, in units of 1 / curvature."""
        return float(convergence_time(self.values, self.flow.time, self.fraction))

    @property
    def arrived(self) -> ManifoldPoint:
        """The last point of the path that does not meet the target yet."""
        return ManifoldPoint(self.problem, self.flow.points[np.searchsorted(self.flow.time, self.time, side="right") - 1])

    def expected_time(self, lr: ArrayLike, one_minus_beta: ArrayLike, noise: ArrayLike) -> Floats:
        """A rough number of steps to the target: the drift's `time`, and a quarter period of the oscillation along Gamma."""
        rate, delta, c = (np.asarray(x, dtype=np.float64) for x in (lr, one_minus_beta, noise))
        stiffness = formulas.longitudinal_stiffness(rate, delta, c, self.curvature, 0.0)
        return np.asarray(self.time * delta**2 / (c * rate**2) + np.pi / 2 / np.sqrt(stiffness))

    @property
    def scaled_one_minus_beta(self) -> float:
        """D of the damped motion along Gamma, (mu zeta^2)^(1/3) [theory: Effective loss, eq. 5.5]."""
        return float(formulas.label_noise_one_minus_beta(1.0, 1.0, self.curvature, formulas.damping_ratio(self.amplitude)))

    @cached_property
    def _force(self) -> tuple[Floats, Floats]:
        """Eigenvalues at points of the path to the target, and each mode's share of the power of the force there, both (n,)."""
        until = np.linspace(0, self.time, _SAMPLES)
        where = np.searchsorted(self.flow.time, until, side="right") - 1
        values, powers = [], []
        for w in self.flow.points[where]:
            jacobian = self.problem.jacobian(w)
            eigenvalues, u = np.linalg.eigh(jacobian @ jacobian.T / self.problem.n_outputs)
            force = ManifoldPoint(self.problem, w).gradient
            # d lambda_j / d direction = (2 / P) (J^T u_j) . (d (J^T u_j)): through the derivative of J along the force
            h = 1e-6 * (1 + float(np.abs(w).max())) / max(float(np.linalg.norm(force)), np.finfo(float).tiny)
            slope = (self.problem.jacobian(w + h * force) - self.problem.jacobian(w - h * force)) / (2 * h)
            powers.append(2 / self.problem.n_outputs * ((u.T @ jacobian) * (u.T @ slope)).sum(axis=1))
            values.append(np.maximum(eigenvalues, 1e-12 * eigenvalues[-1]))
        share = np.concatenate(powers)
        return np.concatenate(values), share / share.sum()

    def drift_ratio(self, lr: float, one_minus_beta: float, *, nesterov: bool = False) -> float:
        """The exact drift over its small-lr form, averaged over the path to the target: the factor on c at finite lr
        [theory: Drift, eq. 3.2; Drift, eq. 3.4; Drift, eq. 3.6; Finite learning rate]."""
        eigenvalues, share = self._force
        weight = formulas.nesterov_drift_weight if nesterov else formulas.heavy_ball_drift_weight
        exact = weight(lr, eigenvalues, one_minus_beta, 1.0) / formulas.small_lr_drift_weight(lr, one_minus_beta, 1.0)
        return float(share @ exact)

    def overdamped_share(self, lr: float, one_minus_beta: float) -> float:
        """Share of the force along Gamma that comes from overdamped modes, in [0, 1] [theory: Relaxation, eq. 2.7]."""
        eigenvalues, share = self._force
        over = formulas.heavy_ball_discriminant(lr, eigenvalues, one_minus_beta) > 0
        return float(np.abs(share)[over].sum() / np.abs(share).sum())


def _flow(problem: Problem, start: ManifoldPoint) -> DriftFlow:
    """The drift flow, or its first 1,000 steps. InputError where there is none."""
    if start.rank == problem.n_parameters:
        allowed = "more parameters than independent outputs, so that the minimizers form a manifold"
        raise InputError("problem", f"{start.rank} independent outputs of {problem.n_parameters} parameters", allowed)
    with one_blas_thread():  # many small products: threads would wait for each other
        flow = drift_flow(problem, start.w, max_steps=_LONGEST, unfinished="accept")
    if len(flow.time) > 1:
        return flow
    if _is_flat(start):
        allowed = "tr H that changes along Gamma: here no momentum is better than another by its drift"
        raise InputError("problem", f"the same tr H = {start.trace_hessian:.4g} on all of Gamma around the start", allowed)
    given = f"tr H = {start.trace_hessian:.4g}, at rest along Gamma"
    raise InputError("start", given, "a start from which tr H falls along Gamma")


def _is_flat(point: ManifoldPoint) -> bool:
    """Whether tr H has neither slope nor curvature along Gamma, in a random direction."""
    direction = np.random.default_rng([41, len(point.w)]).standard_normal(len(point.w))
    size = 1 + float(point.w @ point.w)
    return abs(point.curvature(direction)) * size <= _FLAT * point.trace_hessian
