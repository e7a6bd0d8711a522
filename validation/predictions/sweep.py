"""Training at many momenta: how long each takes to the target, and what the recommended one loses against the fastest.

First a coarse pass around the recommendation, wide enough to contain the fastest momentum; then a fine one around the fastest
found, with more and more runs until the regret is known well enough. All momenta share their noise, on seeds of the sweep's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

import sde_momentum as sm
from sde_momentum.core.threads import in_order, one_blas_thread

from ..mean_times import mean_times

Floats = NDArray[np.float64]

REGRET_ERROR = 0.015
"""Standard error of the recommendation's regret up to which runs are doubled."""

GROUPS = 32
"""Runs are averaged in groups, which are resampled for the errors; as many groups as this to begin with."""
HORIZON, SETTLED, LONGEST = 3.0, 10.0, 60.0
"""Training with 1 - beta = delta goes on for SETTLED / delta steps, so that fluctuations reach their stationary size, but at
least for HORIZON and at most for LONGEST times the shortest time. A mean that is back above the target by then has not met it."""
_LATE = 10.0
"""Times the shortest time until which a recommendation is run that has not been below the target by the horizon."""
_FINENESS = 100
"""Records while the number of steps grows by a factor e."""
COARSE = np.geomspace(1 / 3, 4, 15)
"""1 - beta of the coarse pass over the recommended one."""
STEP = 0.04
"""Relative step of 1 - beta in the fine pass."""
FINE = (1 + STEP) ** np.arange(-7, 8)
"""1 - beta of the fine pass over the fastest of the coarse one."""
_WIDE = 1.6
"""Factor between neighbouring 1 - beta, up to 1, where no momentum of the coarse pass meets the target."""
_LONGER = 3
"""How often such a pass is repeated, with all 1 - beta up to 1 and then with four times the number of steps."""
_EXTENSIONS = 8
"""How often a pass whose fastest momentum lies at its edge, or whose horizon is too short, is extended."""
_FOLLOWED = 1.5
"""Times the shortest time: momenta of the coarse pass that take longer are not followed beyond `HORIZON`."""
_DOUBLINGS, _TOLD = 5, 0.05
"""Most doublings of the runs, in every profile, while the error of the recommendation's regret is above _TOLD, so that it tells
little: near the cliff the mean of few runs may be back above the target late."""
_CONTENDER = 1.25
"""Times the shortest time: momenta that take longer are not run again when runs are doubled."""
_SURE = 0.975
"""Share of the resamples that meet the target in time from which on a momentum meets it; one with more than 1 - _SURE may."""
_AT_ONCE = 8_000_000
"""Recorded numbers in one call of `solve`, for bounded memory."""


@dataclass(frozen=True)
class Training:
    """What is run at every momentum: training with label noise at one learning rate, from a start to a target.

    Attributes:
        method: training
        start: (N,)
        metric, fraction: the target: the mean of the metric over the runs stays below this fraction of its start
        lr: eta
        first_seed: run i has the seed first_seed + i
        n_runs: number of runs to begin with, a multiple of GROUPS
        workers: threads; -1: every core
        doublings: most doublings of the runs once the error of the regret is small enough to tell
    """

    method: sm.LabelNoiseSGD
    start: Floats
    metric: str
    fraction: float
    lr: float
    first_seed: int
    n_runs: int
    workers: int = -1
    doublings: int = 5

    def courses(self, delta: float, clock: NDArray[np.int64], groups: range, size: int) -> Floats:
        """Mean of the metric over each group of `size` runs, (n_group, n_time); infinite where a run diverged."""
        each = max(1, _AT_ONCE // (size * len(clock)))
        cuts = [range(k, min(k + each, groups.stop)) for k in range(groups.start, groups.stop, each)]
        return np.concatenate([self._mean(delta, clock, cut, size) for cut in cuts])

    def side_by_side(self, asked: Mapping[float, NDArray[np.int64]], groups: Mapping[float, range], size: int) -> list[Floats]:
        """`courses` of several momenta, each with its clock and groups, in threads: a few runs keep one alone busy."""
        alone = replace(self, workers=1)
        jobs = (partial(alone.courses, delta, clock, groups[delta], size) for delta, clock in asked.items())
        with one_blas_thread():
            return list(in_order(jobs, self.workers))

    def _mean(self, delta: float, clock: NDArray[np.int64], groups: range, size: int) -> Floats:
        found = sm.solve(
            self.method,
            self.start,
            clock,
            lr=self.lr,
            momentum=1 - delta,
            seeds=self.first_seed + np.arange(groups.start * size, groups.stop * size),
            metrics=[self.metric],
            workers=self.workers,
            progress=False,
        )
        values = found[self.metric].values[0, 0]
        values = np.where(np.isfinite(values), values, np.inf)
        return np.asarray(values.reshape(len(groups), size, len(clock)).mean(axis=1))


@dataclass(frozen=True)
class Sweep:
    """Times to the target, in steps; infinite where it is not met.

    Attributes:
        one_minus_beta: increasing, (n,)
        time: (n,)
        resampled: the same from resampled runs, (n_resample, n)
        n_runs: number of runs at each of them
        late: time of a recommendation that comes after the horizon; infinite where it does not
        came_back: whether the recommendation's mean was below the target, and came back
    """

    one_minus_beta: Floats
    time: Floats
    resampled: Floats
    n_runs: int
    late: float = np.inf
    came_back: bool = False

    @cached_property
    def prompt(self) -> Floats:
        """Share of the resamples in which a momentum meets the target not long after the fastest does, (n,)."""
        return np.asarray((self.resampled <= _CONTENDER * self.time.min()).mean(axis=0))

    @cached_property
    def meets(self) -> NDArray[np.bool_]:
        """Whether a momentum surely meets the target, not by the chance of these runs, (n,); all where none does."""
        sure = self.prompt >= _SURE
        return sure if sure.any() else np.ones_like(sure)

    @property
    def shortest(self) -> float:
        """The shortest time of a momentum that surely meets the target."""
        return float(self.time[self.meets].min())

    @property
    def undecided(self) -> bool:
        """Whether one that may meet the target, or not, would be faster than all that surely do by more than `REGRET_ERROR`."""
        may = (self.prompt > 1 - _SURE) & ~self.meets
        times = np.where(self.resampled <= _CONTENDER * self.time.min(), self.resampled, np.inf)[:, may]
        return bool(times.size and times.min(axis=0).min() < self.shortest / (1 + REGRET_ERROR))

    @property
    def fastest(self) -> float:
        """The fastest 1 - beta of those that surely meet the target."""
        return float(self.one_minus_beta[np.argmin(np.where(self.meets, self.time, np.inf))])

    def at(self, delta: float) -> tuple[float, float]:
        """Time of a momentum of the sweep, and its standard error."""
        i = self._index(delta)
        return float(self.time[i]), _spread(self.resampled[:, i])

    def regret(self, delta: float) -> tuple[float, float]:
        """Its time over the shortest of the sweep, and the standard error; infinite where the target is not met.

        Errors make the shortest time too short, so the regret is rather too large, by a part of its error.
        """
        i = self._index(delta)
        with np.errstate(invalid="ignore"):
            regrets = self.resampled[:, i] / self.resampled[:, self.meets].min(axis=1)
            return float(self.time[i] / self.shortest), _spread(regrets)

    def _index(self, delta: float) -> int:
        return int(np.argmin(np.abs(np.log(self.one_minus_beta / delta))))


def _spread(values: Floats) -> float:
    """Standard deviation; infinite where more than one resample in forty is."""
    finite = np.isfinite(values)
    return float(values[finite].std()) if finite.mean() > 0.975 else float("inf")


def sweep(training: Training, asked: Sequence[float], guess: float) -> Sweep:
    """Times at every 1 - beta asked for, and around the fastest.

    Args:
        training: what is run
        asked: 1 - beta of the recommendation, whose regret decides the number of runs, and of other answers
        guess: steps to the target, roughly
    """
    coarse, shortest = _coarse(training, asked[0], guess)
    if not np.isfinite(shortest):
        deltas = np.array(sorted({*coarse, *asked}))
        missed = np.full(len(deltas), np.inf)
        return Sweep(deltas, missed, np.tile(missed, (2, 1)), _n_coarse(training))
    found = _fine(training, asked, min(coarse, key=lambda delta: coarse[delta]), shortest)
    if np.isfinite(found.at(asked[0])[0]):
        return found
    clock = clock_until(max(_horizon(asked[0], shortest), _LATE * shortest))
    course = training.courses(asked[0], clock, range(GROUPS), training.n_runs // GROUPS)
    (late,), _ = mean_times([(clock, course)], training.fraction, training.first_seed)
    mean = course.mean(axis=0)
    return replace(found, late=float(late), came_back=bool(late == np.inf and (mean < training.fraction * mean[0]).any()))


def _coarse(training: Training, centre: float, shortest: float) -> tuple[dict[float, float], float]:
    """Times at momenta around `centre` that contain the fastest, and the shortest of them; `shortest` is a guess of it."""
    grid, times, guess, done, missed = _capped(centre * COARSE), dict[float, float](), shortest, 0.0, 0
    for _ in range(_EXTENSIONS):
        times, done = (times if guess == done else {}), guess
        todo = [delta for delta in grid if delta not in times]
        times |= dict(zip(todo, _coarse_times(training, todo, guess), strict=True))
        shortest = min(times.values())
        best = min(times, key=lambda delta: times[delta])
        if shortest == np.inf:
            if missed == _LONGER:
                break
            wide = np.geomspace(grid[0] / 4, 1, 2 + int(np.log(4 / grid[0]) / np.log(_WIDE)))
            grid, guess, missed = _capped(wide), (4 * guess if missed else guess), missed + 1
        elif shortest > 1.05 * guess:
            guess = 1.1 * shortest
        elif best == grid[0]:
            grid = _capped([*(best * COARSE[COARSE < 1]), *grid])
        elif best == grid[-1] and best < 1:
            grid = _capped([*grid, *(best * COARSE[COARSE > 1])])
        else:
            break
    return times, shortest


def _coarse_times(training: Training, deltas: Sequence[float], shortest: float) -> list[float]:
    """Times at these momenta; only those that may be the fastest are followed until fluctuations are stationary."""

    groups = range(_n_coarse(training))

    def time(clock: NDArray[np.int64], course: Floats) -> float:
        return float(mean_times([(clock, course)], training.fraction, training.first_seed)[0][0])

    first = HORIZON * shortest
    clock = clock_until(first)
    courses = training.side_by_side(dict.fromkeys(deltas, clock), dict.fromkeys(deltas, groups), 1)
    times = [time(clock, course) for course in courses]
    for i in np.argsort(times, kind="stable"):
        if times[i] <= _FOLLOWED * min(times) < np.inf and _horizon(deltas[i], shortest) > first:
            clock = clock_until(_horizon(deltas[i], shortest))
            times[i] = time(clock, training.courses(deltas[i], clock, groups, 1))
    return times


def _fine(training: Training, asked: Sequence[float], best: float, shortest: float) -> Sweep:
    """Times around the fastest momentum, with so many runs that the regret of the first one asked for is known."""
    size = training.n_runs // GROUPS
    window, n_groups, means = _capped(best * FINE), GROUPS, dict[float, Floats]()
    low, high = window[0], window[-1]
    for step in range(_EXTENSIONS + max(training.doublings, _DOUBLINGS)):
        deltas = sorted({*window, *asked})
        clocks = {delta: clock_until(_horizon(delta, shortest)) for delta in deltas}
        _fill(training, means, clocks, n_groups, size)
        times, resampled = mean_times([(clocks[delta], means[delta]) for delta in deltas], training.fraction, training.first_seed)
        found = Sweep(np.array(deltas), times, resampled, n_groups * size)
        fastest = found.fastest
        if not low < fastest < high and fastest < 1 and step < _EXTENSIONS:
            window = _capped([*window, *(fastest * FINE)])
            low, high = min(low, window[0]), max(high, window[-1])
            continue
        time, (regret, error) = found.at(asked[0])[0], found.regret(asked[0])
        clear = np.isfinite(time) and error <= REGRET_ERROR * regret and not found.undecided
        hopeless = not np.isfinite(found.resampled[:, found._index(asked[0])]).any()
        told = np.isfinite(time) and error <= _TOLD * regret
        most = training.doublings if told else max(training.doublings, _DOUBLINGS)
        if clear or hopeless or n_groups >= GROUPS * 2**most:
            return found
        n_groups *= 2
        window = [delta for delta, share in zip(deltas, found.prompt, strict=True) if share > 1 - _SURE]
    return found


def _fill(
    training: Training, means: dict[float, Floats], clocks: Mapping[float, NDArray[np.int64]], n_groups: int, size: int
) -> None:
    """Run the groups that are missing."""
    have = {delta: len(means.get(delta, ())) for delta in clocks}
    todo = {delta: clock for delta, clock in clocks.items() if have[delta] < n_groups}
    groups = {delta: range(have[delta], n_groups) for delta in todo}
    for delta, course in zip(todo, training.side_by_side(todo, groups, size), strict=True):
        means[delta] = np.concatenate([means[delta], course]) if have[delta] else course


def _horizon(delta: float, shortest: float) -> float:
    """Steps of training with this momentum."""
    return float(np.clip(SETTLED / delta, HORIZON * shortest, LONGEST * shortest))


def _n_coarse(training: Training) -> int:
    return max(GROUPS, training.n_runs // 4)


def clock_until(until: float) -> NDArray[np.int64]:
    """Steps that are recorded: one apart at first, later by a fixed share of the steps made."""
    steps = [0]
    while steps[-1] < max(until, 8):
        steps.append(steps[-1] + max(1, steps[-1] // _FINENESS))
    return np.array(steps)


def _capped(deltas: Iterable[float]) -> list[float]:
    """Increasing, at most 1."""
    return sorted({min(float(delta), 1.0) for delta in deltas})
