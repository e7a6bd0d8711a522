"""T5, T9.3: the convergence time at any learning rate and momentum from the noise-free equivalent, and its recommendation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import formulas
from ..convergence import check_fraction, convergence_time
from ..dynamics.drift_flow import DriftFlow, drift_flow
from ..dynamics.effective_loss import EffectiveLoss
from ..dynamics.label_noise_sgd import check_metric, one_blas_thread
from ..errors import InputError, check, check_lr, check_positive
from ..geometry import ManifoldPoint
from ..problems.base import Problem
from .momentum_rule import MomentumRule

Floats = NDArray[np.float64]

TOLERANCE = 0.15
"""How much more than the shortest predicted time a recommendation may take: L_eff does not see the cliff (T5)."""

_LANES = 8  # momenta stepped together: neighbours, whose times are alike
_SPACING = 1.15  # ratio of neighbouring 1 - beta in a search
_BLOCKS = 200  # force evaluations within the convergence time; 4 times as many change it by less than 0.2 %


@dataclass(frozen=True, eq=False)
class Recommendation:
    """The largest 1 - beta whose predicted time is within `tolerance` of the shortest (T5).

    Attributes:
        lr: learning rate
        one_minus_beta: the recommended 1 - beta
        time: its predicted convergence time, in steps
        shortest_time: the shortest predicted, in steps; its momentum may lie beyond a cliff that L_eff does not see
        tried: 1 - beta of every prediction made, decreasing, (n,)
        times: their convergence times, in steps, (n,)
    """

    lr: float
    one_minus_beta: float
    time: float
    shortest_time: float
    tried: Floats
    times: Floats

    @property
    def momentum(self) -> float:
        """beta."""
        return 1 - self.one_minus_beta

    def __str__(self) -> str:
        return (
            f"lr = {self.lr:.5g}: momentum {self.momentum:.6g} (1 - beta = {self.one_minus_beta:.4g}), "
            f"{self.time:.4g} steps to the target; the shortest predicted time is {self.shortest_time:.4g}"
        )


class EffectiveLossPredictor:
    """How long training takes from a point of Gamma to a target, by heavy ball on L_eff = L + (delta / eta) b V (T5).

    Args:
        problem: what moves
        start: a point of Gamma, (N,)
        noise: c = sigma^2 / B > 0
        metric: one of METRICS
        fraction: the target: the metric stays below this fraction of its start, in (0, 1)
        nesterov: the look-ahead update

    Raises:
        InputError: for a value out of range, or a target that the flattest point does not meet.

    Source: theory sections 3, 5 and 7; at beta = 0 V is the regulariser of Damian, Ma, Lee (arXiv 2106.06530).

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
        self.problem = problem
        self.start = ManifoldPoint(problem, problem.check_point(start)).w
        self.noise = float(check_positive(noise, "noise"))
        self.metric = check_metric(metric)
        self.fraction = float(check_fraction(fraction))
        self.nesterov = bool(nesterov)

    @cached_property
    def flow(self) -> DriftFlow:
        """The drift along Gamma from the start to the flattest point."""
        flow = drift_flow(self.problem, self.start)
        first, last = self.problem.metric(self.metric, flow.points[[0, -1]])
        if self.metric in ("train_loss", "distance") or not np.isfinite(first):
            raise InputError("metric", f"{self.metric} = {first:.3g} at the start", "a metric that does not vanish on Gamma")
        if last >= self.fraction * first:
            raise InputError("fraction", self.fraction, f"more than {last / first:.4g}, what the flattest point reaches")
        return flow

    @cached_property
    def flattest(self) -> ManifoldPoint:
        """Where the drift comes to rest."""
        return self.flow.flattest

    @cached_property
    def amplitude(self) -> float:
        """The fraction of its displacement from the flattest point that w may keep.

        Near that point the metric's excess is quadratic in the displacement: sqrt((x m0 - m1) / (m0 - m1)).
        """
        first, last = self.problem.metric(self.metric, self.flow.points[[0, -1]])
        return float(np.sqrt((self.fraction * first - last) / (first - last)))

    @cached_property
    def curvature(self) -> float:
        """mu that the displacement start - flattest feels (T5, "which mu")."""
        return self.flattest.curvature(self.start - self.flattest.w)

    @cached_property
    def closed_form(self) -> MomentumRule:
        """T5's closed form with this mu and the damping ratio of the target (T9.2)."""
        return MomentumRule.from_geometry(self.noise, self.curvature, target=self.amplitude)

    def check_stable(self, lr: float, one_minus_beta: float) -> None:
        """Raise unless every normal mode is stable at the start (T2)."""
        limit = formulas.nesterov_stability_limit if self.nesterov else formulas.heavy_ball_stability_limit
        edge = float(limit(one_minus_beta)) / float(ManifoldPoint(self.problem, self.start).eigenvalues[0])
        if lr >= edge:
            allowed = f"below {edge:.4g}, the stability limit at the start with 1 - beta = {one_minus_beta:.4g}"
            raise InputError("lr", f"{lr:.6g}", allowed)

    def convergence_time(self, lr: float, one_minus_beta: ArrayLike) -> Floats:
        """Predicted steps to the target, of the shape of `one_minus_beta` in (0, 1]; inf where it is not reached.

        Raises InputError for a value out of range or an unstable learning rate.
        """
        rate = float(check_lr(lr))
        asked = check("one_minus_beta", one_minus_beta, lambda x: (x > 0) & (x <= 1), "numbers in (0, 1]")
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
        """The largest 1 - beta whose predicted time is within `tolerance` of the shortest (T5).

        Raises InputError for a value out of range or an unstable learning rate.
        """
        rate = float(check_lr(lr))
        check_positive(tolerance, "tolerance")
        top = min(1.0, 4 * float(self.closed_form.one_minus_beta(rate)))
        tried, times = np.empty(0), np.empty(0)
        while True:  # upwards until the largest tried is clearly too slow, or there is no momentum left to give up
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
        edge = int(np.argmin(times))
        if edge + 1 < len(tried):  # the shortest time stands at the edge of a jump: look closer
            grid = np.geomspace(tried[edge], tried[edge + 1], _LANES + 2)[1:-1]
            tried = np.insert(tried, edge + 1, grid)
            times = np.insert(times, edge + 1, self.convergence_time(rate, grid))
        shortest = float(times.min())
        if not np.isfinite(shortest):
            raise InputError("lr", lr, "a learning rate at which the noise-free equivalent reaches the target")
        goal = (1 + tolerance) * shortest
        i = int(np.argmax(times <= goal))
        best, time = tried[i], times[i]
        if i and np.isfinite(times[i - 1]):  # between the last that is too slow and the first that is not
            share = np.log(goal / times[i]) / np.log(times[i - 1] / times[i])
            best, time = tried[i] * (tried[i - 1] / tried[i]) ** share, goal
        return Recommendation(rate, float(best), float(time), shortest, tried, times)

    def _times(self, lr: float, one_minus_beta: Floats) -> Floats:
        """Convergence times of up to _LANES neighbouring momenta."""
        expected = self._expected_time(lr, one_minus_beta)
        # After this the envelope of any oscillation is below the target, or the target is out of reach.
        give_up = 3 * (expected + 2 * np.log(1 / self.amplitude) / one_minus_beta).max()
        # An overshoot peaks at 2.5 times the first crossing or earlier (a cosine's; at x -> 0: twice); well above
        # critical damping there is none.
        critical = float(formulas.label_noise_one_minus_beta(lr, self.noise, self.curvature, 1.0))
        patience = np.where(one_minus_beta < 2 * critical, 3.0, 1.2)
        run = EffectiveLoss(
            self.problem, self.start, np.full(len(expected), lr), one_minus_beta, self.noise, nesterov=self.nesterov
        )
        clock, values = [0.0], [run.metric(self.metric)]
        last_above = np.zeros(len(expected))
        with one_blas_thread():
            while run.step < give_up:
                run.advance(max(1, int(max(expected.min(), 2 * run.step) / _BLOCKS)))
                clock.append(run.step)
                values.append(run.metric(self.metric))
                below = values[-1] < self.fraction * values[0]
                last_above[~below] = run.step
                if np.all(below & (run.step > patience * last_above)):
                    break
        return convergence_time(np.array(values).T, np.array(clock), self.fraction)

    def _expected_time(self, lr: float, one_minus_beta: Floats) -> Floats:
        """A rough guess: the drift's own time, and a quarter period of the oscillation along Gamma."""
        metric = self.problem.metric(self.metric, self.flow.points)
        drift = float(convergence_time(metric, self.flow.time, self.fraction))
        stiffness = formulas.longitudinal_stiffness(lr, one_minus_beta, self.noise, self.curvature, 0.0)
        return np.asarray(drift * one_minus_beta**2 / (self.noise * lr**2) + np.pi / 2 / np.sqrt(stiffness))
