"""The search for the best D and the cliff of a universal curve: which D are simulated, how long, with how many runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from ...core.convergence import convergence_time
from ...core.errors import InputError
from ...core.simd.matrix import WIDTH
from ...dynamics.critical_course import CourseRequest, MeanCourse, critical_course
from ...problems.problem import Problem
from ...theory import formulas
from ..drift_path import DriftPath
from ..recommendation import largest_within
from .settings import CurveSettings
from .universal_curve import LARGEST_ERROR, TOLERANCE, known_times

Floats = NDArray[np.float64]

_PROBE = 10
"""Steps of a simulation whose computing time is measured."""
_COURSES, _MANY_COURSES = 35, 90
"""Computing time of a search in units of that of its first course; the second with so few modes that chance decides."""
_FEW = 10
"""Number of modes up to which it does."""


@dataclass(frozen=True, eq=False)
class ScaledCourse:
    """The course of one D: the mean of the metric over the runs so far, against tau = (c lr^2)^(1/3) times the steps.

    Attributes:
        scaled: D
        clock: tau of the records, (n_time,)
        course: the mean
        fraction: the target: the mean stays below this fraction of its start
    """

    scaled: float
    clock: Floats
    course: MeanCourse
    fraction: float

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return self.course.n_runs

    @property
    def extensible(self) -> bool:
        """Whether further runs can be added."""
        return self.course.values is not None

    @cached_property
    def time(self) -> tuple[float, float]:
        """tau at which the mean stays below the target, and its standard error, from the mean shifted by -1 and +1 errors."""
        middle, early, late = (self.shifted_time(k) for k in (0, -1, 1))
        return middle, (late - early) / 2 if np.isfinite(middle) and np.isfinite(late) else np.inf

    def shifted_time(self, k: float) -> float:
        """tau at which the mean, shifted up by `k` standard errors, stays below the target."""
        mean, error = self.course.mean, self.course.mean_se
        return float(convergence_time(np.append(mean[0], (mean + k * error)[1:]), self.clock, self.fraction))

    def time_without(self, group: int, n_groups: int) -> float:
        """tau at which the mean over the runs outside one of `n_groups` groups stays below the target."""
        values = self.course.values
        if values is None:
            return self.time[0]
        mean = MeanCourse.of_runs(values[np.arange(len(values)) % n_groups != group]).mean
        return float(convergence_time(mean, self.clock, self.fraction))

    def time_of_first(self, n_runs: int) -> float:
        """tau at which the mean over the first `n_runs` runs stays below the target."""
        assert self.course.values is not None
        return float(convergence_time(MeanCourse.of_runs(self.course.values[:n_runs]).mean, self.clock, self.fraction))

    def still_falls(self) -> bool:
        """Whether the mean, extrapolated at the slope of its last tenth, reaches the target within another such length."""
        mean = self.course.mean
        tenth = len(mean) // 10
        before, last = float(mean[-2 * tenth : -tenth].mean()), float(mean[-tenth:].mean())
        with np.errstate(invalid="ignore"):
            return 0 < last - self.fraction * mean[0] < 10 * (before - last)

    def more(self, other: ScaledCourse) -> ScaledCourse:
        """This course with the runs of another at the same D and clock."""
        assert self.course.values is not None
        assert other.course.values is not None
        values = np.concatenate([self.course.values, other.course.values])
        return replace(self, course=MeanCourse.of_runs(values))


def _filled(n_runs: int, n_points: int) -> int:
    """Number of runs at each of some D that cost no more than `n_runs`: they fill the lanes."""
    return -(-n_runs * n_points // WIDTH) * WIDTH // n_points


def common_noise(courses: Sequence[ScaledCourse]) -> Floats:
    """Factors on the times of courses of fewer runs, (n,): what the further runs changed at the D of the most runs.

    Runs of one number share their noise at every D, so that the times of neighbouring D err alike. A time that jumps by more than
    LARGEST_ERROR, as at the cliff, says nothing of the others.
    """
    found = np.ones(len(courses))
    finite = [course for course in courses if course.extensible and np.isfinite(course.time[0])]
    if finite:
        most = max(finite, key=lambda course: (course.n_runs, -course.time[0]))
        for n in {course.n_runs for course in courses if course.n_runs < most.n_runs}:
            factor = most.time[0] / most.time_of_first(n)
            if abs(factor - 1) < LARGEST_ERROR:
                found[[course.n_runs == n for course in courses]] = factor
    return found


@dataclass(frozen=True, eq=False)
class Guess:
    """A target with a guess of D and tau in place of the drift to it, where Gamma cannot be told to double precision.

    Attributes:
        problem, start, metric, fraction: as in `DriftPath`, but that `start` need not be on Gamma
        scaled_one_minus_beta: D from which the search begins
        time: tau there, to a factor of a few
    """

    problem: Problem
    start: Floats
    metric: str
    fraction: float
    scaled_one_minus_beta: float
    time: float

    def expected_time(self, lr: float, scaled: float, noise: float) -> Floats:
        """tau at D = `scaled`, lr and noise being 1."""
        return np.asarray(self.time * np.sqrt(scaled / self.scaled_one_minus_beta))


class CurveSearch:
    """The courses from which a universal curve is made: simulated by increasing need.

    Args:
        path: the drift path to the target, or a guess
        scaled_lr: c^2 eta of a curve at finite lr; None for the limit lr -> 0
        settings: of the search
        workers: threads, -1 for all cores
        advance: called with 1 after every simulation
    """

    def __init__(
        self,
        path: DriftPath | Guess,
        scaled_lr: float | None,
        settings: CurveSettings,
        workers: int,
        advance: Callable[[float], None],
    ) -> None:
        self.path, self.scaled_lr, self.settings = path, scaled_lr, settings
        self.workers, self.advance = workers, advance
        self.critical = critical_course(path.problem)
        self.courses: dict[float, ScaledCourse] = {}
        self.guess = float(self._rough(path.scaled_one_minus_beta))

    def _rough(self, scaled: float) -> Floats:
        """A rough tau, from the drift path."""
        return self.path.expected_time(1.0, scaled, 1.0)

    def run(self) -> list[ScaledCourse]:
        """Search; returns the courses by increasing D. Raises InputError if no mean meets the target."""
        start, ratio, most = self.path.scaled_one_minus_beta, self.settings.ratio, self.settings.max_points
        self._simulate(*(start * ratio**k for k in (1, 0, -1, -2)))
        while not self.settings.above * self._shortest() < self._times()[0] < np.inf:
            if len(self.courses) > self.settings.max_points_above:
                break
            self._simulate(max(self.courses) * ratio)
        if not np.isfinite(self._shortest()):
            raise InputError(
                "fraction",
                self.path.fraction,
                "a larger fraction: fluctuations along the manifold of minimizers keep the metric above this one",
            )
        while not self._past_the_cliff() and len(self.courses) < most:
            lowest, best = min(self.courses), self._best()
            if self._promise(lowest / ratio**2) <= self.settings.gain:
                break
            self._simulate(
                *{best * np.sqrt(ratio), lowest / np.sqrt(ratio), lowest / ratio, lowest / ratio**2} - set(self.courses)
            )
        best = self._best()
        around = best / np.sqrt(ratio), best * np.sqrt(ratio)
        self._simulate(*(d for d in around if not any(np.isclose(d, other, rtol=0.05) for other in self.courses)))
        self._refine()
        return [self.courses[d] for d in sorted(self.courses)]

    def seconds(self) -> float:
        """Estimated computing time of `run`, from a few steps at the first D."""
        scaled, n_runs = self.path.scaled_one_minus_beta, self.settings.first_runs(self.path.problem.n_outputs)
        clock = np.linspace(0, self.settings.horizon * self.guess, self.settings.n_records)
        n_steps = clock[-1] * scaled / self._step(scaled, clock)
        few = max(2, int(_PROBE * len(clock) / n_steps))
        each = []
        for records in (2, few + 1):  # the first call may compile, and prepares what the steps share
            began = monotonic()
            self._means({scaled: clock[:records]}, 0, n_runs)
            each.append(monotonic() - began)
        n_courses = _MANY_COURSES if self.path.problem.n_outputs <= _FEW else _COURSES
        return float(n_courses * max(each[1] * len(clock) / few, 0.0))

    # -- the state of the search ------------------------------------------------------------------

    def _times(self) -> Floats:
        """tau at every D, by decreasing D; inf where it is not known."""
        courses = [self.courses[d] for d in sorted(self.courses, reverse=True)]
        both = np.array([course.time for course in courses])
        return known_times(both[:, 0] * common_noise(courses), both[:, 1])

    def _shortest(self) -> float:
        return float(self._times().min())

    def _best(self) -> float:
        return sorted(self.courses, reverse=True)[int(np.argmin(self._times()))]

    def _past_the_cliff(self) -> bool:
        """Whether the two smallest D are clearly slower than the best."""
        return bool(np.all(self._times()[-2:] > self.settings.slower * self._shortest()))

    def _doubtful(self) -> list[float]:
        """The D that need more runs: close to the best while the recommendation is not precise, and those that may be better.

        Close to the cliff the mean of few runs may return above the target by chance. So the best D needs more runs, too, while
        its mean would return if it were `spread` standard errors higher.
        """
        ask, best = self.settings, self._best()
        n_outputs = self.path.problem.n_outputs
        shortest = self._shortest()
        allowed = ask.precision * shortest
        late = self.courses[best].shifted_time(ask.spread) > (1 + LARGEST_ERROR) * shortest
        vague = self._error() > ask.precision
        found, better = [], []
        for d, course in self.courses.items():
            if not course.extensible or course.n_runs >= ask.most_runs(n_outputs):
                continue
            time, own = course.time
            few = course.n_runs < ask.least_at_best(n_outputs)
            near = d > best and vague and time < ask.near * shortest
            if (d == best and (late or vague or few)) or (own > allowed and (d == best or near)):
                found.append(d)
            if best / ask.finest_ratio**4 <= d < best and own > allowed and course.shifted_time(-ask.spread) < shortest - allowed:
                better.append(d)
        if better and self._promise(min(better)) > ask.gain:
            found.append(max(better))
        return found

    def _error(self) -> float:
        """Standard error of the logarithm of the recommended D's time over the shortest, by a jackknife over groups of runs.

        Runs of one number share their noise at every D, so that it is smaller than the errors of the times themselves.
        """
        best, shortest = self._best(), self._shortest()
        above = sorted(d for d, course in self.courses.items() if d >= best and course.time[0] < self.settings.above * shortest)
        courses = [self.courses[d] for d in above]
        logs = np.log(above)

        def excess(times: Floats, scaled: float) -> float:
            return float(np.interp(np.log(scaled), logs, np.log(times)) - np.log(times.min()))

        factors = common_noise(courses)
        times = factors * np.array([course.time[0] for course in courses])
        scaled, _ = largest_within(np.array(above), times, (1 + TOLERANCE) * float(times.min()))
        n = min(self.settings.n_groups, *(course.n_runs for course in courses))
        without = [factors * [course.time_without(k, n) for course in courses] for k in range(n)]
        with np.errstate(invalid="ignore"):
            each = np.array([excess(some, scaled) for some in without])
        spread = float(np.sqrt((n - 1) * each.var()))
        return spread if np.isfinite(spread) else np.inf

    def _promise(self, scaled: float) -> float:
        """Relative gain in time at a D below the best if there were no cliff between: extrapolated from larger D."""
        best, times = self._best(), dict(zip(sorted(self.courses, reverse=True), self._times(), strict=True))
        top, slow = self.settings.branch * best, self.settings.slower * times[best]  # slower: missed the target by chance
        branch = np.array([(d, time) for d, time in times.items() if best <= d <= top and time < slow])
        if len(branch) < 2:
            return np.inf
        slope = np.polyfit(np.log(branch[:, 0]), np.log(branch[:, 1]), 1)[0]
        return float(slope * np.log(best / scaled))

    # -- further simulations ----------------------------------------------------------------------------

    def _refine(self) -> None:
        """More runs where the best D may lie, and a finer grid just below it, where the cliff may be."""
        ask = self.settings
        while True:
            best, past = self._best(), self._past_the_cliff()
            below = max((d for d in self.courses if d < best), default=best / ask.ratio)
            fine = past and best <= ask.finest_ratio * below * (1 + 1e-9)
            if not fine and len(self.courses) < ask.max_points and self._promise(below) > ask.gain:
                if past:
                    parts = min(int(np.ceil(np.log(best / below) / np.log(ask.finest_ratio))), ask.most_parts)
                    between = np.geomspace(below, best, parts + 1)[1:-1].tolist()
                    self._simulate(*between, n_runs=_filled(ask.least_at_best(self.path.problem.n_outputs), len(between)))
                else:
                    self._simulate(min(self.courses) / ask.ratio)
            elif doubtful := self._doubtful():
                self._add_runs(doubtful)
            else:
                return

    def _expected(self, scaled: float) -> float:
        """The expected tau at D: `_rough`, which may be several times too short or too long, until a time is known."""
        shortest = self._shortest() if self.courses else np.inf
        if not np.isfinite(shortest):
            return max(self.guess, float(self._rough(scaled)))
        return float(self._rough(scaled) * shortest / self._rough(self._best()))

    def _horizon(self, scaled: float) -> float:
        """tau up to which a new D is simulated first: enough to tell whether its time is the shortest."""
        ask, own, shortest = self.settings, self._expected(scaled), self._shortest() if self.courses else np.inf
        return max(ask.horizon * shortest, ask.guess_horizon * own) if np.isfinite(shortest) else ask.horizon * own

    def _simulate(self, *scaled: float, n_runs: int | None = None) -> None:
        """Simulate new D side by side, each long enough to tell whether its time is the shortest."""
        if not scaled:
            return
        ask, n_runs = self.settings, n_runs or self.settings.first_runs(self.path.problem.n_outputs)
        shortest = self._shortest() if self.courses else np.inf
        best = self._best() if np.isfinite(shortest) else 0.0
        horizons = {d: self._horizon(d) for d in scaled}
        for _ in range(ask.prolongations):
            clocks = {d: np.linspace(0, horizon, ask.n_records) for d, horizon in horizons.items()}
            found = self._means(clocks, 0, n_runs)
            self.courses |= found
            shortest = min(shortest, *(course.time[0] for course in found.values()))
            needed = {d: self._needed(course, shortest, far=d < best) for d, course in found.items()}
            horizons = {d: tau * ask.horizon / ask.overshoot for d, tau in needed.items() if tau > clocks[d][-1]}
            if not horizons:
                break
        self.advance(len(scaled))

    def _needed(self, course: ScaledCourse, shortest: float, *, far: bool) -> float:
        """tau up to which a course must go, if the shortest time is `shortest`; 0 where it is long enough.

        `far`: its D is below the best, so that its time need not be known.
        """
        overshoot, time = self.settings.overshoot, course.time[0]
        if np.isfinite(time):
            return overshoot * min(time, shortest)
        known = far or course.clock[-1] >= self.settings.above * shortest  # that it is slow
        return 0.0 if known or not course.still_falls() else 2 * float(course.clock[-1])

    def _add_runs(self, scaled: Sequence[float]) -> None:
        """At least double the runs at some D; all are made anew where a course is so long that this costs less."""
        horizon = self.settings.horizon * self._shortest()
        for have in sorted({self.courses[d].n_runs for d in scaled}):
            some = {d: self.courses[d] for d in scaled if self.courses[d].n_runs == have}
            new = _filled(have, len(some))
            long = [d for d, course in some.items() if new * course.clock[-1] > (have + new) * horizon]
            clock = np.linspace(0, horizon, self.settings.n_records)
            self.courses |= self._means(dict.fromkeys(long, clock), 0, have + new)
            more = self._means({d: course.clock for d, course in some.items() if d not in long}, have, new)
            self.courses |= {d: some[d].more(course) for d, course in more.items()}
        self.advance(len(scaled))

    def _step(self, scaled: float, clock: Floats) -> float:
        """Step of s that divides the time between two records; up to a tenth above the wanted one."""
        record, expected = scaled * (clock[1] - clock[0]), self._expected(scaled)
        if self.courses and np.isfinite(self._shortest()):
            expected = max(expected, self._shortest())
        ask, limit = self.settings, self.scaled_lr is None
        n_steps = ask.n_steps if limit else ask.steps_at_finite_lr
        step = min(ask.largest_step if limit else ask.largest_at_finite_lr, scaled * expected / n_steps)
        return float(record / max(np.ceil(record / (1.1 * step)), 1) * (1 + 1e-9))

    def _means(self, clocks: dict[float, Floats], first: int, count: int) -> dict[float, ScaledCourse]:
        """Simulate `count` runs at each D, from run number `first` on, at D's clock, uniform from 0."""
        if not clocks:
            return {}
        requests = [
            CourseRequest(
                self.path.start,
                clock * scaled,
                self.path.metric,
                kappa=float(formulas.critical_kappa(1.0, scaled, 1.0)),
                step=self._step(scaled, clock),
                frequency=None if self.scaled_lr is None else 1 / (scaled * self.scaled_lr ** (1 / 6)),
                seed=self.settings.seed,
                workers=self.workers,
                progress=False,
            )
            for scaled, clock in clocks.items()
        ]
        means = self.critical.means(requests, count, first)
        return {d: ScaledCourse(d, clocks[d], mean, self.path.fraction) for d, mean in zip(clocks, means, strict=True)}
