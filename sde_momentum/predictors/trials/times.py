"""Steps until the mean over runs stays below the target, with resamples of the runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from ...core.convergence import settle_time

Floats = NDArray[np.float64]

N_RESAMPLES = 200
_HOLD = 2.7
"""A target counts as met if the mean stays below it until this multiple of the time at which it fell below."""
_SETTLED, _LONGEST = 10.0, 60.0
"""A recommended momentum must hold it for _SETTLED / (1 - beta) steps, in which fluctuations become stationary, but at most until
_LONGEST times its time."""
_SHOWN = 0.6
"""Part of the steps in which fluctuations become stationary after which they nearly are."""
_SWING = 1.5
"""Multiple of a momentum's time from which on its mean must be sure to stay below the level."""
_MAYBE = 2.0
"""Standard errors within which a late mean counts as above the level."""
_TELLING = 128
"""Number of runs from which on a late mean within its errors of the level tells something: of few, most are."""
_SURELY = 0.999
"""Probability at which the mean of few runs bounds that of many: metrics are skewed, three standard errors are not rare."""


@dataclass(eq=False)
class Course:
    """The metric of several runs at one momentum, as far as they have come.

    Attributes:
        one_minus_beta: delta
        level: below which the mean over runs must stay
        n_runs: number of runs
        steps: record times, (n_time,)
        values: metric, (n_run, n_time); NaN after a run diverged
    """

    one_minus_beta: float
    level: float
    n_runs: int = 0
    steps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    values: Floats = field(default_factory=lambda: np.full((1, 1), np.inf))
    _times: dict[float, float] = field(default_factory=dict)

    def go_on(self, steps: NDArray[np.int64], values: Floats) -> None:
        """Replace steps and values by longer ones, or those of more runs."""
        self.steps, self.values = steps, values
        self._times.clear()
        self.__dict__.pop("mean", None)
        self.__dict__.pop("error", None)

    @cached_property
    def mean(self) -> Floats:
        """Mean over runs, (n_time,); inf where one has diverged."""
        return np.nan_to_num(self.values.mean(axis=0), nan=np.inf)

    @cached_property
    def error(self) -> Floats:
        """Standard error of `mean`, (n_time,)."""
        if len(self.values) < 2:
            return np.full(self.steps.shape, np.inf)
        with np.errstate(invalid="ignore"):
            return np.nan_to_num(self.values.std(axis=0, ddof=1) / np.sqrt(len(self.values)), nan=np.inf)

    @property
    def end(self) -> int:
        """Number of steps made."""
        return int(self.steps[-1])

    @property
    def lost(self) -> int:
        """Number of runs that diverged."""
        return int((~np.isfinite(self.values[:, -1])).sum())

    def time(self, errors: float = 0.0) -> float:
        """Steps after which the mean, less this many standard errors of it, stays below the level; inf if it does not yet."""
        if errors not in self._times:
            with np.errstate(invalid="ignore", over="ignore"):
                series = self.mean - errors * self.error if errors else self.mean
            found = settle_time(np.nan_to_num(series, nan=np.inf), self.steps.astype(float), self.level)
            self._times[errors] = float(found)
        return self._times[errors]

    def surely(self) -> float:
        """Steps after which the mean of infinitely many runs stays below the level, but for one case in a thousand."""
        return self.time(-float(student.ppf(_SURELY, max(1, self.n_runs - 1))))

    def last_above(self, errors: float) -> int:
        """The last recorded step at which the mean is above the level by this many standard errors; 0 for none."""
        with np.errstate(invalid="ignore", over="ignore"):
            above = ~(self.mean - errors * self.error < self.level)
        return int(self.steps[np.flatnonzero(above)[-1]]) if above.any() else 0

    def held(self, longest: float) -> bool:
        """Whether the mean fell below the level and stayed there for long enough; a run has at most `longest` steps."""
        time = self.time()
        return np.isfinite(time) and self.end >= min(_HOLD * time, longest)

    def decided(self, best: float) -> bool:
        """Whether it has been followed for as long as a momentum must that meets the target at `best`."""
        return self.end >= _HOLD * best

    def horizon(self, time: float) -> float:
        """Steps until fluctuations are stationary, if the mean falls below the level at `time`."""
        return float(np.clip(_SETTLED / self.one_minus_beta, _HOLD * time, _LONGEST * time))

    @property
    def safe(self) -> bool:
        """Whether the mean is sure to stay below the level, as far as it has come, soon after it fell below."""
        return np.isfinite(self.time()) and self.surely() <= _SWING * self.time()

    @property
    def comes_back(self) -> bool:
        """Whether the mean of many runs may be above the level again late, after the time in which momenta are compared."""
        return self.n_runs >= _TELLING and self._late_above(_MAYBE)

    @property
    def surely_comes_back(self) -> bool:
        """Whether the mean of many runs is above the level again late, beyond its errors."""
        return self._late_above(-_MAYBE)

    def _late_above(self, errors: float) -> bool:
        """Whether the mean, with so many standard errors added, is ever above the level late."""
        late = self.steps > _HOLD * self.time()
        return bool((self.mean + errors * self.error >= self.level)[late].any())

    @property
    def stays(self) -> bool:
        """Whether it is safe until fluctuations are nearly stationary."""
        return self.safe and self.end >= _SHOWN * self.horizon(self.time())

    def resampled(self, weights: Floats) -> Floats:
        """Times under resamples of the runs, (n_resample,), from weights (n_resample, n_run)."""
        if not np.isfinite(self.mean).all():
            return np.full(len(weights), self.time())
        instants = np.broadcast_to(self.steps.astype(float), (len(weights), len(self.steps)))
        return settle_time(weights @ self.values, instants, self.level)

    def time_se(self, seed: int) -> float:
        """Standard error of `time`: half the width of the middle 68 % of resamples; inf for an infinite time or one run."""
        if self.n_runs < 2 or not np.isfinite(self.time()):
            return float("inf")
        low, high = np.quantile(self.resampled(resampling(self.n_runs, seed)), [0.16, 0.84], method="nearest")
        return float(high - low) / 2


def resampling(n_runs: int, seed: int, stretch: float = 1.0) -> Floats:
    """Weights of the runs in each resample, (N_RESAMPLES, n_runs): the same for every momentum with as many runs.

    Deviations from equal weights are multiplied by `stretch`, and by sqrt(n / (n - 1)), so that a resampled mean has the variance
    of the mean.
    """
    rng = np.random.default_rng([seed, 31, n_runs])
    weights = rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=N_RESAMPLES) / n_runs
    return np.asarray(1 / n_runs + (weights - 1 / n_runs) * stretch * np.sqrt(n_runs / max(1, n_runs - 1)))
