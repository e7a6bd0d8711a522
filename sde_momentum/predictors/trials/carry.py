"""From trials at several learning rates to the best momentum at a smaller one [theory: Ways to predict, eq. 11.4]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Floats = NDArray[np.float64]

_SLOPE = 1.0
"""Standard deviation that a_1 has before the trials: they say little of it where their learning rates are near each other."""
_LEAST_ERROR = 0.03
"""Least error of ln(1 - beta) at each learning rate: the spacing of the momenta tried."""
_ALIKE, _FLAT = 0.005, 0.05
"""Relative difference of time that trials hardly see, and the least slope of time for which it counts: a larger error of
ln(1 - beta) where time is flat."""
_MISS = 0.25
"""What a momentum that does not hold the target costs, as part of its time, where the margin to the cliff is weighed."""
_MARGIN = 1.0, 2.0
"""Least and largest margin, in standard errors of the fit."""


@dataclass(frozen=True)
class Found:
    """The recommendation at one learning rate, as `carry` needs it.

    Attributes:
        slope: d ln(time) / d ln(1 - beta) on the side of less momentum, 0 to 1: what a margin to the cliff costs
    """

    lr: float
    one_minus_beta: float
    low: float
    high: float
    time: float
    time_se: float
    slope: float = 1.0


@dataclass(frozen=True)
class Law:
    """How the best 1 - beta = delta depends on the learning rate eta, but for a scale s near 1 that trials give.

        delta^2 (delta + lambda eta) = s^3 (q eta^2 + e eta (delta + lambda eta))

    Label noise of heavy ball alone: delta ~ eta^(2/3). Nesterov momentum damps the modes by itself, at their mean eigenvalue
    lambda [theory: Forces, eq. 6.13]; weight decay is a second force [theory: Forces, eq. 6.2].

    Attributes:
        damping: lambda >= 0; 0 for heavy ball
        noise: q > 0, c mu zeta^2; any number where e = 0
        decay: e >= 0, 4 zeta^2 times the weight decay

    >>> round(Law().one_minus_beta(0.001, 1.0) / Law().one_minus_beta(0.008, 1.0), 6)
    0.25
    """

    damping: float = 0.0
    noise: float = 1.0
    decay: float = 0.0

    def scale(self, lr: Floats, one_minus_beta: Floats) -> Floats:
        """s, of the shape of the arguments."""
        total = one_minus_beta + self.damping * lr
        return np.cbrt(one_minus_beta**2 * total / (self.noise * lr**2 + self.decay * lr * total))

    def one_minus_beta(self, lr: float, scale: float) -> float:
        """delta, the one positive root."""
        damping, cube = self.damping * lr, scale**3
        decay = cube * self.decay * lr
        roots = np.roots([1.0, damping, -decay, -(cube * self.noise * lr**2 + decay * damping)])
        return float(roots[np.argmax(roots.real)].real)


@dataclass(frozen=True)
class Carried:
    """The recommendation carried to a smaller learning rate.

    Attributes:
        one_minus_beta: one to two standard errors above the fitted one, on the side of less momentum: more of them where time
            is flat there
        low, high: two standard errors around the fitted one, of the trials and of the extrapolation together
        time, time_se: number of steps to the target
    """

    one_minus_beta: float
    low: float
    high: float
    time: float
    time_se: float


def carry(found: Sequence[Found], lr: float, law: Law = Law()) -> Carried:
    """Fit the law's scale with its first correction, s = s_0 exp(a_1 eta^(1/3)), and read it at `lr`.

    Args:
        found: recommendations at one or more learning rates
        lr: eta
        law: of heavy ball with label noise, of Nesterov momentum, or with weight decay

    >>> one = Found(0.01, 0.02, 0.019, 0.021, 100.0, 1.0)
    >>> round(carry([one], 0.01 / 8).time / 100)
    4
    """
    rates, there = np.array([each.lr for each in found]), float(np.cbrt(lr))
    x, delta = np.cbrt(rates), np.array([each.one_minus_beta for each in found])
    scale = np.log(law.scale(rates, delta))
    ranges = np.log([max(each.high / each.low, 1.0) for each in found]) / 4
    unseen = _ALIKE / np.maximum([each.slope for each in found], _FLAT)
    spread = np.maximum(np.maximum(ranges, unseen), _LEAST_ERROR)
    level, error = _line(x, scale, spread, there)
    # at the fitted momenta time times 1 - beta is constant but for a correction of the same order
    fitted = np.exp([_line(x, scale, spread, float(at))[0] for at in x])
    smooth = np.array([law.one_minus_beta(rate, s) for rate, s in zip(rates, fitted, strict=True)])
    times = np.array([each.time for each in found])
    relative = np.maximum([each.time_se / each.time for each in found], 0.01)
    product, product_error = _line(x, np.log(times * smooth), relative, there)
    slope = min(found, key=lambda each: each.lr).slope
    errors = -2, 0, _margin(slope, error), 2
    low, middle, chosen, high = (min(1.0, law.one_minus_beta(lr, float(np.exp(level + k * error)))) for k in errors)
    time = float(np.exp(product) / middle) * (chosen / middle) ** slope
    return Carried(chosen, low, max(high, chosen), time, time * float(np.hypot(product_error, error)))


def _margin(slope: float, error: float) -> float:
    """Standard errors k to the cliff that cost least on average: slope k error + _MISS P(beyond the cliff), of normal errors."""
    odds = _MISS / (np.sqrt(2 * np.pi) * max(slope, 1e-3) * error)
    return float(np.clip(np.sqrt(2 * np.log(max(odds, 1.0))), *_MARGIN))


def _line(x: Floats, y: Floats, errors: Floats, at: float) -> tuple[float, float]:
    """Value and standard error at `at` of the line through the points, its slope a priori 0 +- _SLOPE.

    Where the points miss a line by more than their errors, the next term matters: it is fitted too, a priori 0 +- the least
    size that explains the misfit.
    """
    free = len(x) - 2

    def fit(bend: float) -> tuple[float, float, float]:
        shape = np.stack([np.ones_like(x), x, bend * x**2], axis=1)
        prior = np.diag([0.0, _SLOPE**-2, 1.0])
        covariance = np.linalg.inv((shape.T / errors**2) @ shape + prior)
        terms = covariance @ (shape.T @ (y / errors**2))
        where = np.array([1.0, at, bend * at**2])
        misfit = np.sum(((y - shape @ terms) / errors) ** 2) + terms[2] ** 2
        return float(where @ terms), float(np.sqrt(where @ covariance @ where)), float(misfit)

    bend, most = 0.0, float(2 * np.ptp(y) / np.diff(np.sort(x)).min(initial=1.0) ** 2)
    if free > 0 and fit(0.0)[2] > free:
        bend = most if fit(most)[2] > free else float(brentq(lambda size: fit(size)[2] - free, 0.0, most))
    value, error, misfit = fit(bend)
    return value, error * float(np.sqrt(max(1.0, misfit / max(free, 1))))
