"""One learning rate of one case: the predictions of every way, and the times measured in a sweep of momenta.

A time is the number of steps after which the mean of the metric over the runs stays below the target. All momenta of a learning
rate share their noise; standard errors come from resampling the runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sde_momentum as sm
from sde_momentum.core.files import json_value
from sde_momentum.dynamics.critical_course import critical_course
from sde_momentum.predictors.ways.critical_limit import ByCriticalLimit
from sde_momentum.predictors.ways.finite_lr import ByFiniteLr
from sde_momentum.predictors.ways.registry import WAYS as ALL_WAYS
from sde_momentum.problems.problem import Problem

from ..cases import CASES, Case
from ..mean_times import mean_times

Floats = NDArray[np.float64]

CRITICAL_LIMIT, AT_FINITE_LR = ByCriticalLimit.name, ByFiniteLr.name
WAYS = tuple(name for name in ALL_WAYS if name not in ("transfer", "moment closure"))
"""The ways tested: those that need no tuned pair and allow problems of any size."""

_GRID = np.array([0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.07, 1.15, 1.35, 1.7, 2.2, 3.0, 4.0])
"""1 - beta of the sweep over that recommended by the critical limit (at finite lr where available)."""

N_RECORDS = 200


@dataclass(frozen=True)
class Work:
    """One learning rate of one case."""

    case: Case
    lr: float
    n_seeds: int
    seed: int

    @property
    def file(self) -> str:
        """Name of its results."""
        words = "".join(letter if letter.isalnum() else "-" for letter in self.case.name)
        return f"{words}-lr{self.lr:.3g}.json"

    @cached_property
    def _made(self) -> tuple[Problem, Floats]:
        return self.case.make()

    @property
    def problem(self) -> Problem:
        """The training problem."""
        return self._made[0]

    @property
    def start(self) -> Floats:
        """A point of Gamma, (N,)."""
        return self._made[1]

    @property
    def method(self) -> sm.LabelNoiseSGD:
        """Training with the case's label noise."""
        return sm.LabelNoiseSGD(self.problem, self.case.label_noise)


def works(n_lr: int, share: float, names: Sequence[str] | None, seed: int) -> list[Work]:
    """`n_lr` learning rates of each case of these names (None: of all), with this share of its runs."""
    cases = [case for case in CASES if not names or case.name in names]
    return [
        Work(case, float(f"{lr:.3g}"), max(32, int(share * case.n_seeds)), seed)
        for case in cases
        for lr in np.geomspace(*case.lr, n_lr)
    ]


def measure(work: Work, curves: Path, workers: int, report: Callable[[float], object]) -> dict[str, Any]:
    """Recommendations and predicted times of every way, and measured times in a sweep of momenta around them.

    Args:
        work: the learning rate and the case
        curves: folder where simulated curves of the critical limit are kept
        workers: threads; -1: every core
        report: called with shares of the work, of sum 1
    """
    answers = _answers(work, curves, workers)
    best = answers[AT_FINITE_LR if AT_FINITE_LR in answers else CRITICAL_LIMIT].best
    asked = {way: answer.one_minus_beta for way, answer in answers.items()}
    deltas = np.unique(np.minimum(np.concatenate([best.one_minus_beta * _GRID, list(asked.values())]), 1.0))
    predicted = {way: _predicted(work, curves, deltas, way) for way in (CRITICAL_LIMIT, AT_FINITE_LR) if way in answers}
    limit = np.where(np.isfinite(predicted[CRITICAL_LIMIT]), predicted[CRITICAL_LIMIT], 0)
    goal = (work.case.metric, work.case.fraction)
    rough = sm.predictors.DriftPath(work.problem, work.start, *goal).expected_time(work.lr, deltas, work.method.noise)
    horizon = np.maximum(2.7 * float(best.time or 0), 1.5 * np.maximum(limit, rough))
    courses = []
    for delta, steps in zip(deltas, horizon, strict=True):
        courses.append(_course(work, float(delta), float(steps), workers))
        report(1 / len(deltas))
    times, resampled = mean_times(courses, work.case.fraction, work.seed)
    with np.errstate(invalid="ignore"):  # a time may be infinite
        time_se = resampled.std(axis=0)
    return {
        "case": work.case.name,
        "lr": work.lr,
        "n_seeds": work.n_seeds,
        "one_minus_beta": deltas.tolist(),
        "time": json_value(times),
        "time_se": json_value(time_se),
        "predicted": {way: json_value(steps) for way, steps in predicted.items()},
        "cliff": answers[CRITICAL_LIMIT].cliff,
        "ways": {way: _row(deltas, times, resampled, value, answers[way]) for way, value in asked.items()},
        "checks": {check.name: check.holds for check in answers[CRITICAL_LIMIT].checks},
    }


def _answers(work: Work, curves: Path, workers: int) -> dict[str, sm.Prediction]:
    """The prediction of every way that is tried on this case."""
    return {
        way: sm.predict(
            work.problem,
            work.lr,
            noise=work.method.noise,
            start=work.start,
            target=(work.case.metric, work.case.fraction),
            methods=[way],
            store=curves if "store" in ALL_WAYS[way].uses else None,
            workers=workers,
            progress=False,
        )
        for way in WAYS
        if way != AT_FINITE_LR or critical_course(work.problem).corrected_at_finite_lr
    }


def _course(work: Work, delta: float, n_steps: float, workers: int) -> tuple[NDArray[np.int64], Floats]:
    """Steps, and the metric of every run in training with this momentum, (n_run, n_time)."""
    clock = np.unique(np.linspace(0, n_steps, N_RECORDS).astype(int))
    found = sm.solve(
        work.method,
        work.start,
        clock,
        lr=work.lr,
        momentum=1 - delta,
        seeds=work.seed * 1_000_003 + np.arange(work.n_seeds),
        metrics=[work.case.metric],
        workers=workers,
        progress=False,
    )
    return clock, found[work.case.metric].values[0, 0]


def _predicted(work: Work, curves: Path, deltas: Floats, way: str) -> Floats:
    """Times of a way's universal curve at every momentum."""
    noise = work.method.noise
    curve = sm.universal_curve(
        work.problem,
        work.start,
        (work.case.metric, work.case.fraction),
        scaled_lr=noise**2 * work.lr if way == AT_FINITE_LR else None,
        store=curves,
        progress=False,
    )
    return curve.convergence_time(work.lr, deltas, noise)[0]


def _row(deltas: Floats, times: Floats, resampled: Floats, value: float, answer: sm.Prediction) -> dict[str, Any]:
    i = int(np.argmin(np.abs(np.log(deltas / value))))
    with np.errstate(invalid="ignore"):
        regret, regrets = times[i] / times.min(), resampled[:, i] / resampled.min(axis=1)
    best = float(deltas[np.argmin(times)])
    return {
        "one_minus_beta": value,
        "over_fastest": value / best,
        "regret": json_value(float(regret)),
        "regret_se": json_value(float(np.std(regrets[np.isfinite(regrets)]))) if np.isfinite(regrets).any() else None,
        "predicted_time": json_value(answer.time),
        "measured_time": json_value(float(times[i])),
    }
