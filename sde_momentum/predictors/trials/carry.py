"""From trials at several learning rates to the best momentum at a smaller one [theory: Ways to predict, eq. 11.4]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SLOPE = 1.0
"""Standard deviation that a_1 has before the trials: they say little of it where their learning rates are near each other."""
_LEAST_ERROR = 0.03
"""Least error of ln(1 - beta) at each learning rate: the spacing of the momenta tried."""


@dataclass(frozen=True)
class Found:
    """The recommendation at one learning rate, as `carry` needs it."""

    lr: float
    one_minus_beta: float
    low: float
    high: float
    time: float
    time_se: float


@dataclass(frozen=True)
class Carried:
    """The recommendation carried to a smaller learning rate.

    Attributes:
        one_minus_beta: one standard error above the fitted one, on the side of less momentum, where time is flat
        low, high: two standard errors around the fitted one, of the trials and of the extrapolation together
        time, time_se: number of steps to the target
    """

    one_minus_beta: float
    low: float
    high: float
    time: float
    time_se: float


def carry(found: Sequence[Found], lr: float, damping: float = 0.0) -> Carried:
    """Fit the law with its first correction, and read it at `lr`.

        delta^2 (delta + a) = K eta^2 exp(3 a_1 eta^(1/3)),   a = eta lambda

    Args:
        found: recommendations at one or more learning rates
        lr: eta
        damping: lambda, the modes' mean eigenvalue, for Nesterov momentum, which damps them by itself
            [theory: Forces, eq. 6.13]; 0 for heavy ball, whose law is delta ~ eta^(2/3)

    >>> one = Found(0.01, 0.02, 0.019, 0.021, 100.0, 1.0)
    >>> round(carry([one], 0.01 / 8).time / 100)
    4
    """
    rates = np.array([each.lr for each in found])
    x = np.cbrt(rates)
    delta = np.array([each.one_minus_beta for each in found])
    scaled = np.log(delta**2 * (delta + damping * rates) / rates**2) / 3
    spread = np.log([max(each.high / each.low, 1.0) for each in found]) / 4
    level, error = _line(x, scaled, np.maximum(spread, _LEAST_ERROR), float(np.cbrt(lr)))
    # at the fitted momenta time times 1 - beta is constant but for a correction of the same order
    smooth = np.array([_momentum(rate, float(np.exp(_line(x, scaled, np.maximum(spread, _LEAST_ERROR), float(at))[0])), damping)
                       for rate, at in zip(rates, x, strict=True)])  # fmt: skip
    times = np.array([each.time for each in found])
    relative = np.maximum([each.time_se / each.time for each in found], 0.01)
    product, product_error = _line(x, np.log(times * smooth), relative, float(np.cbrt(lr)))
    middle = _momentum(lr, float(np.exp(level)), damping)
    low, chosen, high = (min(1.0, _momentum(lr, float(np.exp(level + k * error)), damping)) for k in (-2, 1, 2))
    time = float(np.exp(product) / middle)
    return Carried(chosen, low, high, time, time * float(np.hypot(product_error, error)))


def _line(x: Floats, y: Floats, errors: Floats, at: float) -> tuple[float, float]:
    """Value and standard error at `at` of the line through the points, its slope a priori 0 +- _SLOPE."""
    design = np.stack([np.ones_like(x), x], axis=1)
    precision = (design.T / errors**2) @ design + np.diag([0.0, _SLOPE**-2])
    covariance = np.linalg.inv(precision)
    terms = covariance @ (design.T @ (y / errors**2))
    where = np.array([1.0, at])
    return float(where @ terms), float(np.sqrt(where @ covariance @ where))


def _momentum(lr: float, scaled: float, damping: float) -> float:
    """delta > 0 with delta^2 (delta + a) = (scaled)^3 eta^2."""
    roots = np.roots([1.0, damping * lr, 0.0, -(scaled**3) * lr**2])
    return float(roots[np.argmax(roots.real)].real)
