"""The search for the best D and the cliff of a universal curve: which D are simulated, how long, with how many runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from ...core.convergence import convergence_time
from ...core.errors import InputError
from ...dynamics.critical_course import CourseRequest, MeanCourse, critical_course
from ...theory import formulas
from ..drift_path import DriftPath
from .settings import CurveSettings
from .universal_curve import LARGEST_ERROR, known_times

Floats = NDArray[np.float64]

_PROBE = 10
"""Steps of a simulation whose computing time is measured."""
_COURSES, _MANY_COURSES = 35, 90
"""Computing time of a search in units of that of its first course; the second with so few modes that chance decides."""
_FEW = 10
"""Number of modes up to which it does."""


@dataclass(frozen=True, eq=False)
class ScaledCourse:
    """The course of one D: the mean of the metric over the runs so far, against tau = (c lr^2)^(1/3) times the steps."""

    scaled: float
    clock: Floats
    course: MeanCourse

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return self.course.n_runs

    @property
    def extensible(self) -> bool:
        """Whether further runs can be added."""
        return self.course.values is not None

    def time(self, fraction: float) -> tuple[float, float]:
        """tau at which the mean stays below the target, and its standard error, from the mean shifted by -1 and +1 errors."""
        middle, early, late = (self.shifted_time(fraction, k) for k in (0, -1, 1))
        return middle, (late - early) / 2 if np.isfinite(middle) and np.isfinite(late) else np.inf

    def shifted_time(self, fraction: float, k: float) -> float:
        """tau at which the mean, shifted up by `k` standard errors, stays below the target."""
        mean, error = self.course.mean, self.course.mean_se
        return float(convergence_time(np.append(mean[0], (mean + k * error)[1:]), self.clock, fraction))

    def still_falls(self, fraction: float) -> bool:
        """Whether the mean, extrapolated at the slope of its last tenth, reaches the target within another such length."""
        mean = self.course.mean
        tenth = len(mean) // 10
        before, last = float(mean[-2 * tenth : -tenth].mean()), float(mean[-tenth:].mean())
        with np.errstate(invalid="ignore"):
            return 0 < last - fraction * mean[0] < 10 * (before - last)

    def more(self, other: ScaledCourse) -> ScaledCourse:
        """This course with the runs of another at the same D and clock."""
        assert self.course.values is not None
        assert other.course.values is not None
        values = np.concatenate([self.course.values, other.course.values])
        return ScaledCourse(self.scaled, self.clock, MeanCourse.of_runs(values))


class CurveSearch:
    """The courses from which a universal curve is made: simulated by increasing need.

    Args:
        path: the drift path to the target
        scaled_lr: c^2 eta of a curve at finite lr; None for the limit lr -> 0
        settings: of the search
        workers: threads, -1 for all cores
        advance: called with 1 after every simulation
    """

    def __init__(
        self,
        path: DriftPath,
        scaled_lr: float | None,
        settings: CurveSettings,
        workers: int,
        advance: Callable[[float], None],
    ) -> None:
        self.path, self.scaled_lr, self.settings = path, scaled_lr, settings
        self.workers, self.advance = workers, advance
        self.critical = critical_course(path.problem)
        self.courses: dict[float, ScaledCourse] = {}
        self.guess = float(self._rough(self.closed_form()))

    def closed_form(self) -> float:
        """D of the damped motion along Gamma, (mu zeta^2)^(1/3) [theory: Effective loss, eq. 5.5]."""
        zeta = formulas.damping_ratio(self.path.amplitude)
        return float(formulas.label_noise_one_minus_beta(1.0, 1.0, self.path.curvature, zeta))

    def _rough(self, scaled: float) -> Floats:
        """A rough tau, from the drift path."""
        return self.path.expected_time(1.0, scaled, 1.0)

    def run(self) -> list[ScaledCourse]:
        """Search; returns the courses by increasing D. Raises InputError if no mean meets the target."""
        start, ratio, most = self.closed_form(), self.settings.ratio, self.settings.max_points
        self._simulate(*(start * ratio**k for k in (1, 0, -1, -2)))
        while not self.settings.above * self._shortest() < self._times()[0] < np.inf:
            if len(self.courses) > self.settings.max_points_above:
                break
            self._simulate(max(self.courses) * ratio)
        if not np.isfinite(self._shortest()):
            raise InputError("fraction", self.path.fraction, "a target above the fluctuations along Gamma, or a longer run")
        while not self._past_the_cliff() and len(self.courses) < most:
            further = min(self.courses) / ratio, min(self.courses) / ratio**2
            if self._promise(further[1]) <= self.settings.precision:
                break
            self._simulate(*further)
        best = self._best()
        self._simulate(best / np.sqrt(ratio), best * np.sqrt(ratio))
        self._refine()
        return [self.courses[d] for d in sorted(self.courses)]

    def seconds(self) -> float:
        """Estimated computing time of `run`, from a few steps at the first D."""
        scaled, n_runs = self.closed_form(), self.settings.first_runs(self.path.problem.n_outputs)
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
        both = np.array([self.courses[d].time(self.path.fraction) for d in sorted(self.courses, reverse=True)])
        return known_times(both[:, 0], both[:, 1])

    def _shortest(self) -> float:
        return float(self._times().min())

    def _best(self) -> float:
        return sorted(self.courses, reverse=True)[int(np.argmin(self._times()))]

    def _past_the_cliff(self) -> bool:
        """Whether the two smallest D are clearly slower than the best."""
        return bool(np.all(self._times()[-2:] > self.settings.slower * self._shortest()))

    def _doubtful(self) -> list[float]:
        """The D that need more runs: those whose time is not precise and may be the shortest.

        Close to the cliff the mean of few runs may return above the target by chance. So the best D needs more runs, too, while
        its mean would return if it were `spread` standard errors higher.
        """
        ask, best, fraction = self.settings, self._best(), self.path.fraction
        shortest, error = self.courses[best].time(fraction)
        allowed = ask.precision * shortest
        found, better = [], []
        for d, course in self.courses.items():
            if not course.extensible or course.n_runs >= ask.most_runs(self.path.problem.n_outputs):
                continue
            time, own = course.time(fraction)
            if d == best:
                late = course.shifted_time(fraction, ask.spread) > (1 + LARGEST_ERROR) * shortest
                if late or own > allowed or course.n_runs < ask.least_at_best:
                    found.append(d)
            elif own > allowed:
                if error > allowed and time < ask.near * shortest:
                    found.append(d)
                elif d < best and course.shifted_time(fraction, -ask.spread) < shortest - allowed:
                    better.append(d)
        if better and self._promise(max(better)) > ask.precision:
            found.append(max(better))
        return found

    def _promise(self, scaled: float) -> float:
        """Relative gain in time at a D below the best if there were no cliff between: extrapolated from larger D."""
        best, times = self._best(), dict(zip(sorted(self.courses, reverse=True), self._times(), strict=True))
        top = self.settings.branch * best
        branch = np.array([(d, time) for d, time in times.items() if best <= d <= top and np.isfinite(time)])
        if len(branch) < 2:
            return np.inf
        slope = np.polyfit(np.log(branch[:, 0]), np.log(branch[:, 1]), 1)[0]
        return float(slope * np.log(best / scaled))

    # -- further simulations ----------------------------------------------------------------------------

    def _refine(self) -> None:
        """More runs where the best D may lie, and a finer grid just below it, where the cliff may be."""
        ask = self.settings
        while True:
            while doubtful := self._doubtful():
                self._add_runs(doubtful)
            best = self._best()
            below = max((d for d in self.courses if d < best), default=0.0)
            if len(self.courses) >= ask.max_points or (
                self._past_the_cliff() and (best <= ask.finest_ratio * below or self._promise(below) <= ask.precision)
            ):
                return
            if self._past_the_cliff():
                parts = min(int(np.ceil(np.log(best / below) / np.log(ask.finest_ratio))), ask.most_parts)
                self._simulate(*np.geomspace(below, best, parts + 1)[1:-1].tolist())
            else:
                self._simulate(min(self.courses) / ask.ratio)

    def _horizon(self, scaled: float) -> float:
        """tau up to which a new D is simulated first: enough to tell whether its time is the shortest.

        `_rough` may be several times too short or too long: it serves until a time is known.
        """
        ask, shortest = self.settings, self._shortest() if self.courses else np.inf
        if not np.isfinite(shortest):
            return ask.horizon * max(self.guess, float(self._rough(scaled)))
        own = float(self._rough(scaled) * shortest / self._rough(self._best()))
        return max(ask.horizon * shortest, ask.guess_horizon * own)

    def _simulate(self, *scaled: float) -> None:
        """Simulate new D side by side, each long enough to tell whether its time is the shortest."""
        ask, n_runs = self.settings, self.settings.first_runs(self.path.problem.n_outputs)
        shortest = self._shortest() if self.courses else np.inf
        best = self._best() if np.isfinite(shortest) else 0.0
        horizons = {d: self._horizon(d) for d in scaled}
        for _ in range(ask.prolongations):
            clocks = {d: np.linspace(0, horizon, ask.n_records) for d, horizon in horizons.items()}
            found = self._means(clocks, 0, n_runs)
            self.courses |= found
            shortest = min(shortest, *(course.time(self.path.fraction)[0] for course in found.values()))
            needed = {d: self._needed(course, shortest, far=d < best) for d, course in found.items()}
            horizons = {d: tau * ask.horizon / ask.overshoot for d, tau in needed.items() if tau > clocks[d][-1]}
            if not horizons:
                break
        self.advance(len(scaled))

    def _needed(self, course: ScaledCourse, shortest: float, *, far: bool) -> float:
        """tau up to which a course must go, if the shortest time is `shortest`; 0 where it is long enough.

        `far`: its D is below the best, so that its time need not be known.
        """
        overshoot, time = self.settings.overshoot, course.time(self.path.fraction)[0]
        if np.isfinite(time):
            return overshoot * min(time, shortest)
        known = far or course.clock[-1] >= self.settings.above * shortest  # that it is slow
        return 0.0 if known or not course.still_falls(self.path.fraction) else 2 * float(course.clock[-1])

    def _add_runs(self, scaled: Sequence[float]) -> None:
        """Double the runs at some D; all are made anew if a course is much longer, and so coarser, than needed by now."""
        horizon = self.settings.horizon * self._shortest()
        for have in sorted({self.courses[d].n_runs for d in scaled}):
            some = {d: self.courses[d] for d in scaled if self.courses[d].n_runs == have}
            long = [d for d, course in some.items() if course.clock[-1] > 2 * horizon]
            clock = np.linspace(0, horizon, self.settings.n_records)
            self.courses |= self._means(dict.fromkeys(long, clock), 0, 2 * have)
            more = self._means({d: course.clock for d, course in some.items() if d not in long}, have, have)
            self.courses |= {d: some[d].more(course) for d, course in more.items()}
        self.advance(len(scaled))

    def _step(self, scaled: float, clock: Floats) -> float:
        """Step of s that divides the time between two records; up to a tenth above the wanted one."""
        record = scaled * (clock[1] - clock[0])
        step = min(self.settings.largest_step, scaled * self.guess / self.settings.n_steps)
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
        return {d: ScaledCourse(d, clocks[d], mean) for d, mean in zip(clocks, means, strict=True)}
