"""Convergence times of noise-free heavy ball on the effective loss, and the momentum that they recommend
[theory: Effective loss, eq. 5.1]."""

from __future__ import annotations

from functools import cached_property
from time import monotonic

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import by_annotations
from ..core.convergence import convergence_time
from ..core.errors import InputError, check_lr, check_one_minus_beta, check_positive
from ..core.threads import one_blas_thread
from ..dynamics.effective_loss import EffectiveLoss
from ..geometry.manifold_point import ManifoldPoint
from ..problems.problem import Problem
from ..theory import formulas
from .drift_path import DriftPath
from .momentum_rule import MomentumRule
from .recommendation import Recommendation, largest_within

Floats = NDArray[np.float64]

TOLERANCE = 0.15
"""epsilon: a recommended time is at most so much longer than the shortest. Large, for L_eff does not see the cliff
[theory: Ways to predict, eq. 11.3]."""

_LANES = 8
"""Momenta stepped together, neighbours of similar times."""
_SPACING = 1.15
"""Ratio of neighbouring 1 - beta in a search."""
_BLOCKS = 200
"""Evaluations of the regulariser's gradient within the convergence time; 4 times as many change that by less than 0.2 %.

Between two evaluations, a block of steps, the gradient is held at a value extrapolated from the blocks before."""
_BEND = 0.2
"""Relative second difference of that gradient over three blocks beyond which they are halved: it is stiff along Gamma."""
_GROWTH, _CAUTIOUS = 1.5, 1.02
"""Ratio of a block's length to the one before, until blocks have been halved once, and after."""


@by_annotations
class EffectiveLossPredictor:
    """Predicts convergence times from a point of Gamma by noise-free heavy ball on L_eff [theory: Effective loss, eq. 5.1].

        L_eff(w, k) = L(w) + (delta / eta) sum_j b_j(k) V(lambda_j(w))

    V is the potential of the drift, b_j mode j's variance at step k over its stationary variance.

    Args:
        problem: the training problem
        start: a point of Gamma, (N,)
        noise: c = sigma^2 / B > 0, in units of the loss
        metric: name of a metric of the problem
        fraction: the target: the metric stays below this fraction of its start, in (0, 1)
        nesterov: Nesterov momentum in place of heavy ball

    `of_path` makes one from an existing `DriftPath`.

    Raises:
        InputError: for a value out of range, or a target that the flattest point does not meet.

    Source: [theory: Effective loss]; at beta = 0 V is the regulariser of Damian, Ma, Lee (arXiv 2106.06530).

    >>> import sde_momentum as sm
    >>> problem = sm.MatrixSensing(6, 1, 20)
    >>> predictor = sm.EffectiveLossPredictor(problem, problem.interpolating_start(), noise=1e-3)
    >>> best = predictor.recommend(0.01)
    >>> bool(best.shortest_time <= best.time <= 1.15 * best.shortest_time * 1.001)
    True
    """

    def __init__(
        self,
        problem: Problem,
        start: ArrayLike,
        noise: float,
        *,
        metric: str = "test_error",
        fraction: float = 0.1,
        nesterov: bool = False,
    ) -> None:
        self._set(DriftPath(problem, np.asarray(start), metric, fraction), noise, nesterov)

    @classmethod
    def of_path(cls, path: DriftPath, noise: float, *, nesterov: bool = False) -> EffectiveLossPredictor:
        """For the problem, start and target of a drift path."""
        self = cls.__new__(cls)
        self._set(path, noise, nesterov)
        return self

    def _set(self, path: DriftPath, noise: float, nesterov: bool) -> None:
        self.path, self.problem, self.start = path, path.problem, path.start
        self.noise = float(check_positive(noise, "noise"))
        self.metric, self.fraction = path.metric, path.fraction
        self.nesterov = bool(nesterov)

    @cached_property
    def closed_form(self) -> MomentumRule:
        """The rule of the damped motion along Gamma, with the damping ratio of the target [theory: Effective loss, eq. 5.5]."""
        return MomentumRule.from_geometry(self.noise, self.path.curvature, target=self.path.amplitude)

    def check_stable(self, lr: float, one_minus_beta: float) -> None:
        """Raise InputError unless every normal mode is stable at the start [theory: Relaxation, eq. 2.5; Relaxation, eq. 2.6]."""
        limit = formulas.nesterov_stability_limit if self.nesterov else formulas.heavy_ball_stability_limit
        largest = float(limit(one_minus_beta)) / float(ManifoldPoint(self.problem, self.start).eigenvalues[0])
        if lr >= largest:
            allowed = f"below {largest:.4g}, the stability limit at the start with 1 - beta = {one_minus_beta:.4g}"
            raise InputError("lr", f"{lr:.6g}", allowed)

    def seconds_for_evaluation(self, lr: float) -> float:
        """Measured computing time of one step with a new gradient of the regulariser, of all momenta stepped together."""
        delta = min(1.0, float(self.closed_form.one_minus_beta(lr)))
        lanes = np.full(_LANES, float(lr))
        run = EffectiveLoss(self.problem, self.start, lanes, np.full(_LANES, delta), self.noise, nesterov=self.nesterov)
        times = []
        with one_blas_thread():
            for _ in range(4):  # a first call may compile
                began = monotonic()
                run.advance(1)
                times.append(monotonic() - began)
        return min(times)

    def convergence_time(self, lr: float, one_minus_beta: ArrayLike) -> Floats:
        """Predicted steps to the target, of the shape of `one_minus_beta` in (0, 1]; inf where it is not reached.

        Raises InputError for a value out of range or an unstable learning rate.
        """
        rate = float(check_lr(lr))
        asked = check_one_minus_beta(one_minus_beta)
        flat = asked.ravel()
        if flat.size:
            self.check_stable(rate, float(flat.max()))
        times = np.empty(flat.shape)
        left = np.argsort(flat)
        while left.size:
            near = flat[left[:_LANES]] <= flat[left[0]] * _SPACING**_LANES
            chunk, left = np.split(left, [int(near.sum())])
            times[chunk] = self._times(rate, flat[chunk])
        return times.reshape(asked.shape)

    def recommend(self, lr: float, tolerance: float = TOLERANCE) -> Recommendation:
        """The largest 1 - beta of a predicted time within 1 + `tolerance` times the shortest [theory: Ways to predict, eq. 11.3].

        Raises InputError for a value out of range or an unstable learning rate.
        """
        rate = float(check_lr(lr))
        check_positive(tolerance, "tolerance")
        top = min(1.0, 4 * float(self.closed_form.one_minus_beta(rate)))
        tried, times = np.empty(0), np.empty(0)
        while True:  # upwards until the largest tried is clearly too slow, or is plain SGD
            grid = top * _SPACING ** -np.arange(_LANES, dtype=float)
            tried, times = np.append(grid, tried), np.append(self.convergence_time(rate, grid), times)
            if top == 1 or times[0] > (1 + tolerance) * times.min():
                break
            top = min(1.0, top * _SPACING**_LANES)
        while tried[-1] > 0.02 * float(self.closed_form.one_minus_beta(rate)):  # downwards until it is clearly past the best
            if np.all(times[-_LANES // 2 :] > 1.5 * times.min()):
                break
            grid = tried[-1] * _SPACING ** -np.arange(1, _LANES + 1, dtype=float)
            tried, times = np.append(tried, grid), np.append(times, self.convergence_time(rate, grid))
        best = int(np.argmin(times))
        if best + 1 < len(tried):  # just below the fastest 1 - beta an overshoot makes the time jump: a finer grid there
            grid = np.geomspace(tried[best], tried[best + 1], _LANES + 2)[1:-1]
            tried = np.insert(tried, best + 1, grid)
            times = np.insert(times, best + 1, self.convergence_time(rate, grid))
        shortest = float(times.min())
        if not np.isfinite(shortest):
            raise InputError("lr", lr, "a learning rate at which noise-free heavy ball on L_eff reaches the target")
        goal = (1 + tolerance) * shortest
        value, time = largest_within(tried[::-1], times[::-1], goal)
        return Recommendation(rate, value, time, shortest, tried, times)

    def _times(self, lr: float, one_minus_beta: Floats) -> Floats:
        """Convergence times of up to _LANES neighbouring momenta."""
        expected = self.path.expected_time(lr, one_minus_beta, self.noise)
        # After this the envelope of any oscillation is below the target, or the target is out of reach.
        give_up = 3 * (expected + 2 * np.log(1 / self.path.amplitude) / one_minus_beta).max()
        # An overshoot peaks at 2.5 times the first crossing or earlier (a cosine's; at x -> 0: twice); well above
        # critical damping there is none.
        critical = float(formulas.label_noise_one_minus_beta(lr, self.noise, self.path.curvature, 1.0))
        patience = np.where(one_minus_beta < 2 * critical, 3.0, 1.2)
        run = EffectiveLoss(
            self.problem, self.start, np.full(len(expected), lr), one_minus_beta, self.noise, nesterov=self.nesterov
        )
        clock, values = [0.0], [run.metric(self.metric)]
        last_above = np.zeros(len(expected))
        longest, growth = 1.0, _GROWTH
        with one_blas_thread():
            while run.step < give_up:
                block = max(1, int(min(longest, max(expected.min(), 2 * run.step) / _BLOCKS)))
                run.advance(block)
                if run.bend > _BEND:
                    longest, growth = max(1.0, block / 2), _CAUTIOUS
                else:
                    longest *= growth
                clock.append(run.step)
                values.append(run.metric(self.metric))
                below = values[-1] < self.fraction * values[0]
                last_above[~below] = run.step
                if np.all(below & (run.step > patience * last_above)):
                    break
        return convergence_time(np.array(values).T, np.array(clock), self.fraction)
