"""Training at many momenta: how long each takes to the target, and what the recommended one loses against the fastest.

First a coarse pass around the recommendation, wide enough to contain the fastest momentum; then a fine one around the fastest
found, with more and more runs until the regret is known well enough. All momenta share their noise, on seeds of the sweep's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import sde_momentum as sm

from ..mean_times import mean_times

Floats = NDArray[np.float64]

REGRET_ERROR = 0.015
"""Standard error of the recommendation's regret up to which runs are doubled."""
_DOUBLINGS = 5

GROUPS = 32
"""Runs are averaged in groups, which are resampled for the errors; as many groups as this to begin with."""
HORIZON = 3.0
"""Training goes on for so many times the shortest time: a mean that comes back above the target by then has not met it."""
_LATE = 10.0
"""The same for a recommendation that has not met the target by then: does it ever?"""
N_RECORDS = 300
COARSE = np.geomspace(1 / 3, 4, 15)
"""1 - beta of the coarse pass over the recommended one."""
FINE = 1.04 ** np.arange(-7, 8)
"""1 - beta of the fine pass over the fastest of the coarse one."""
_EXTENSIONS = 6
"""How often a pass whose fastest momentum lies at its edge, or whose horizon is too short, is extended."""
_CONTENDER = 1.25
"""Times the shortest time: momenta that take longer are not run again when runs are doubled."""
_AT_ONCE = 8_000_000
"""Recorded numbers of one call of `solve`, for bounded memory."""


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
    """

    method: sm.LabelNoiseSGD
    start: Floats
    metric: str
    fraction: float
    lr: float
    first_seed: int
    n_runs: int
    workers: int = -1

    def courses(self, deltas: Sequence[float], clock: NDArray[np.int64], groups: range, size: int) -> Floats:
        """Mean of the metric over each group of `size` runs, (n_delta, n_group, n_time); infinite where a run diverged."""
        seeds = self.first_seed + np.arange(groups.start * size, groups.stop * size)
        each = max(1, _AT_ONCE // (len(seeds) * len(clock)))
        parts = [self._mean(deltas[i : i + each], clock, seeds, size) for i in range(0, len(deltas), each)]
        return np.concatenate(parts)

    def _mean(self, deltas: Sequence[float], clock: NDArray[np.int64], seeds: NDArray[np.int64], size: int) -> Floats:
        found = sm.solve(
            self.method,
            self.start,
            clock,
            lr=self.lr,
            momentum=1 - np.asarray(deltas),
            seeds=seeds,
            metrics=[self.metric],
            workers=self.workers,
            progress=False,
        )
        values = found[self.metric].values[0]
        values = np.where(np.isfinite(values), values, np.inf)
        return np.asarray(values.reshape(len(deltas), -1, size, len(clock)).mean(axis=2))


@dataclass(frozen=True)
class Sweep:
    """Times to the target, in steps; infinite where it is not met.

    Attributes:
        one_minus_beta: increasing, (n,)
        time: (n,)
        resampled: the same from resampled runs, (n_resample, n)
        n_runs: number of runs at each of them
        late: time of a recommendation that comes after the horizon; infinite where it does not
    """

    one_minus_beta: Floats
    time: Floats
    resampled: Floats
    n_runs: int
    late: float = np.inf

    @property
    def fastest(self) -> float:
        """The fastest 1 - beta."""
        return float(self.one_minus_beta[np.argmin(self.time)])

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
            return float(self.time[i] / self.time.min()), _spread(self.resampled[:, i] / self.resampled.min(axis=1))

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
    coarse, shortest = _coarse(training, asked[0], HORIZON * guess)
    if not np.isfinite(shortest):
        deltas = np.array(sorted({*coarse, *asked}))
        missed = np.full(len(deltas), np.inf)
        return Sweep(deltas, missed, np.tile(missed, (2, 1)), _n_coarse(training))
    best = min(coarse, key=lambda delta: coarse[delta])
    found = _fine(training, asked, best, HORIZON * shortest)
    if np.isfinite(found.at(asked[0])[0]):
        return found
    clock = _clock(_LATE * shortest)
    late = training.courses([asked[0]], clock, range(GROUPS), training.n_runs // GROUPS)
    (time,), _ = mean_times([(clock, late[0])], training.fraction, 0)
    return Sweep(found.one_minus_beta, found.time, found.resampled, found.n_runs, float(time))


def _coarse(training: Training, centre: float, horizon: float) -> tuple[dict[float, float], float]:
    """Times at momenta around `centre` that contain the fastest, and the shortest of them."""
    grid, times, shortest, done = _capped(centre * COARSE), dict[float, float](), np.inf, 0.0
    for _ in range(_EXTENSIONS):
        times, done = (times if horizon == done else {}), horizon
        todo = [delta for delta in grid if delta not in times]
        clock = _clock(horizon)
        courses = training.courses(todo, clock, range(_n_coarse(training)), 1)
        found, _ = mean_times([(clock, course) for course in courses], training.fraction, 0)
        times |= dict(zip(todo, found.tolist(), strict=True))
        shortest = min(times.values())
        best = min(times, key=lambda delta: times[delta])
        if not HORIZON * shortest <= 1.05 * horizon:
            horizon = 4 * horizon if shortest == np.inf else 1.1 * HORIZON * shortest
            if grid[-1] < 1 and shortest == np.inf:
                grid = _capped([*grid, *(grid[-1] * COARSE[COARSE > 1])])
        elif best == grid[0]:
            grid = _capped([*(best * COARSE[COARSE < 1]), *grid])
        elif best == grid[-1] and best < 1:
            grid = _capped([*grid, *(best * COARSE[COARSE > 1])])
        else:
            break
    return times, shortest


def _fine(training: Training, asked: Sequence[float], best: float, horizon: float) -> Sweep:
    """Times around the fastest momentum, with so many runs that the regret of the first one asked for is known."""
    clock, size = _clock(horizon), training.n_runs // GROUPS
    window, n_groups, means = _capped(best * FINE), GROUPS, dict[float, Floats]()
    low, high = window[0], window[-1]
    for step in range(_EXTENSIONS + _DOUBLINGS):
        deltas = sorted({*window, *asked})
        _fill(training, means, deltas, clock, n_groups, size)
        times, resampled = mean_times([(clock, means[delta]) for delta in deltas], training.fraction, training.first_seed)
        found = Sweep(np.array(deltas), times, resampled, n_groups * size)
        fastest = found.fastest
        if not low < fastest < high and fastest < 1 and step < _EXTENSIONS:
            window = _capped([*window, *(fastest * FINE)])
            low, high = min(low, window[0]), max(high, window[-1])
            continue
        time, (regret, error) = found.at(asked[0])[0], found.regret(asked[0])
        clear = np.isfinite(time) and error <= REGRET_ERROR * regret
        hopeless = not np.isfinite(found.resampled[:, found._index(asked[0])]).any()
        if clear or hopeless or n_groups >= GROUPS * 2**_DOUBLINGS:
            return found
        n_groups *= 2
        window = [delta for delta, time in zip(deltas, times, strict=True) if time < _CONTENDER * times.min()]
    return found


def _fill(
    training: Training, means: dict[float, Floats], deltas: Iterable[float], clock: NDArray[np.int64], n_groups: int, size: int
) -> None:
    """Run the groups that are missing."""
    there = {delta: len(means.get(delta, ())) for delta in deltas}
    for first in sorted({n for n in there.values() if n < n_groups}):
        todo = [delta for delta in deltas if there[delta] == first]
        courses = training.courses(todo, clock, range(first, n_groups), size)
        for delta, course in zip(todo, courses, strict=True):
            means[delta] = np.concatenate([means[delta], course]) if first else course


def _n_coarse(training: Training) -> int:
    return max(GROUPS, training.n_runs // 4)


def _clock(horizon: float) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, max(horizon, 8), N_RECORDS + 1).astype(np.int64))


def _capped(deltas: Iterable[float]) -> list[float]:
    """Increasing, at most 1."""
    return sorted({min(float(delta), 1.0) for delta in deltas})
