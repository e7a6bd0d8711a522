"""Time courses: the mean of a metric against time in the critical limit, by one contract for all problems.

`critical_course(problem)` gives the simulation that suits the problem: `CriticalLimit`, or a cheaper one that is registered for
the problem's class:

    @critical_course.register
    def _(problem: MyProblem) -> CriticalCourse:
        return MyCourse(problem)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, ClassVar

import numpy as np

from ..problems.problem import Array, Problem
from ..problems.valley import Valley
from .critical_limit import CriticalLimit
from .critical_valley import CriticalValley
from .resolved_course import resolved_metric


@dataclass(frozen=True, eq=False)
class CourseRequest:
    """The settings of a time course.

    Attributes:
        start: a point of Gamma, (N,), which all runs leave at rest and with empty normal modes (a_j = 0)
        times: record times, on the clock s = delta k, increasing, (n_time,)
        metric: one that does not vanish on Gamma
        kappa: eta^2 c / (4 delta^3) > 0, in units of 1 / curvature [theory: Critical limit, eq. 7.1]
        step: largest step in s
        frequency: sqrt(eta) / delta > 0, in units of curvature^(-1/2), for a run at this finite lr; None for the limit lr -> 0,
            and always None where `CriticalCourse.corrected_at_finite_lr` is False
        seed: of the noise
        workers: threads, -1 for all cores; the numbers do not depend on it
        progress: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten
    """

    start: Array
    times: Array
    metric: str
    kappa: float
    step: float
    frequency: float | None = None
    seed: int = 0
    workers: int = -1
    progress: bool | None = False


@dataclass(frozen=True, eq=False)
class MeanCourse:
    """The mean of a metric over runs, against time.

    Attributes:
        mean, mean_se: the mean and its standard error, (n_time,); inf from where a run has diverged
        n_runs: number of runs
        values: the metric of every run, (n_runs, n_time), so that further runs can be added; None where only moments are kept
    """

    mean: Array
    mean_se: Array
    n_runs: int
    values: Array | None = None

    @classmethod
    def of_runs(cls, values: Array) -> MeanCourse:
        """From the metric of every run, (n_runs, n_time), NaN from where it diverged: there it counts as above any target."""
        whole = np.where(np.isfinite(values), values, np.inf)
        with np.errstate(invalid="ignore"):
            mean, error = whole.mean(axis=0), whole.std(axis=0, ddof=1) / np.sqrt(len(whole))
        return cls(mean, np.where(np.isfinite(error), error, 0.0), len(whole), values)


class CriticalCourse(ABC):
    """The simulation of the critical limit of one problem [theory: Critical limit]."""

    corrected_at_finite_lr: ClassVar[bool]
    """Whether the simulation has the corrections at finite lr (`CourseRequest.frequency`)."""

    @abstractmethod
    def mean(self, request: CourseRequest, n_runs: int, first: int = 0) -> MeanCourse:
        """The mean over runs `first`, ..., `first + n_runs - 1`, or over more where runs are cheap."""

    def means(self, requests: Sequence[CourseRequest], n_runs: int, first: int = 0) -> list[MeanCourse]:
        """`mean` of each request. They differ in `kappa`, `frequency`, `step` and a factor on `times` alone."""
        return [self.mean(request, n_runs, first) for request in requests]

    @abstractmethod
    def samples(self, request: CourseRequest, n_runs: int) -> Array:
        """Independent estimates of the mean, of equal weight, from at least `n_runs` runs in all, (n_estimates, n_time)."""


@dataclass(frozen=True, eq=False)
class AmbientCourse(CriticalCourse):
    """The course of any problem: by runs of `CriticalLimit` in the limit lr -> 0, and at finite lr by `resolved_metric`, which
    needs no average over fast modes and costs less."""

    corrected_at_finite_lr: ClassVar[bool] = True

    problem: Problem

    def mean(self, request: CourseRequest, n_runs: int, first: int = 0) -> MeanCourse:
        return self.means([request], n_runs, first)[0]

    def means(self, requests: Sequence[CourseRequest], n_runs: int, first: int = 0) -> list[MeanCourse]:
        return [MeanCourse.of_runs(values) for values in self._runs(requests, n_runs, first)]

    def samples(self, request: CourseRequest, n_runs: int) -> Array:
        return self._runs([request], n_runs, 0)[0]

    def _runs(self, requests: Sequence[CourseRequest], n_runs: int, first: int) -> Array:
        """The metric, (n_requests, n_runs, n_time): side by side, in steps of equal number."""
        one = requests[0]
        pace = np.array([request.times[-1] for request in requests]) / one.times[-1]
        step = float(min(request.step / k for request, k in zip(requests, pace, strict=True)))
        how: dict[str, Any] = {
            "kappa": np.array([request.kappa for request in requests]),
            "pace": pace,
            "seeds": one.seed * 1_000_003 + np.arange(first, first + n_runs),
            "metric": one.metric,
            "workers": one.workers,
            "progress": one.progress,
        }
        if one.frequency is None:
            return CriticalLimit(self.problem).courses(one.start, one.times, step=step * float(pace.max()), **how)
        frequency = np.array([request.frequency for request in requests])
        return resolved_metric(self.problem, one.start, one.times, frequency=frequency, step=step, **how)


@dataclass(frozen=True, eq=False)
class ValleyCourse(CriticalCourse):
    """The course of a valley, by the moments that `CriticalValley` takes over many paths.

    A valley's eigenvectors are constant and its modes count as fast, so there is no correction at finite lr.
    """

    corrected_at_finite_lr: ClassVar[bool] = False
    n_paths: ClassVar[int] = 8192
    """Number of paths of `mean`, for any `n_runs`: a path costs next to nothing."""
    n_groups: ClassVar[int] = 8
    """Number of groups of paths, whose means are the `samples`."""
    step: ClassVar[float] = 0.5
    """Of the requested step: unlike `CriticalLimit` it takes no shorter ones soon after the start."""
    paths_per_run: ClassVar[int] = 32
    """Paths of a group, for each of `n_runs`."""

    valley: Valley

    def mean(self, request: CourseRequest, n_runs: int, first: int = 0) -> MeanCourse:
        rms, rms_se = self._position(request, self.n_paths, request.seed)
        square, error = rms**2, 2 * rms * rms_se
        if request.metric == "trace_hessian":
            square, error = self.valley.mean_trace_hessian(square), self.valley.curvature / 2 * error
        return MeanCourse(square, error, self.n_paths)

    def samples(self, request: CourseRequest, n_runs: int) -> Array:
        seeds = self.n_groups * request.seed + np.arange(self.n_groups)
        groups = [self._position(request, self.paths_per_run * n_runs, int(seed))[0] for seed in seeds]
        squares = np.square(groups)
        return self.valley.mean_trace_hessian(squares) if request.metric == "trace_hessian" else squares

    def _position(self, request: CourseRequest, n_paths: int, seed: int) -> tuple[Array, Array]:
        """Root mean square of theta, and its standard error, (n_time,)."""
        runs = CriticalValley(self.valley).solve(
            float(request.start[0]),
            request.times,
            kappa=request.kappa,
            step=self.step * request.step,
            n_paths=n_paths,
            seed=seed,
            workers=request.workers,
            progress=request.progress,
        )
        return runs["position_rms"].values[0], runs["position_rms_se"].values[0]


@singledispatch
def critical_course(problem: Problem) -> CriticalCourse:
    """The simulation of the critical limit that suits `problem`.

    >>> import sde_momentum as sm
    >>> critical_course(sm.Valley([1.0], 0.0, 1.0)).corrected_at_finite_lr
    False
    """
    return AmbientCourse(problem)


@critical_course.register
def _(problem: Valley) -> CriticalCourse:
    return ValleyCourse(problem)
