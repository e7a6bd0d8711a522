"""Decay rates of the motion along Gamma, measured from runs and predicted from a force [theory: Effective loss, eq. 5.4]."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sde_momentum.predictors.forces import Force
from sde_momentum.problems.valley import Valley

Floats = NDArray[np.float64]


class Measured(NamedTuple):
    """A number and its standard error."""

    value: float
    standard_error: float

    def to_dict(self) -> dict[str, float]:
        """Both, and the ends of the 95 % interval."""
        value, error = self
        return {"value": value, "standard_error": error, "low": value - 1.96 * error, "high": value + 1.96 * error}


def decay_rate(first: Floats, last: Floats, n_steps: float) -> Measured:
    """Decay rate of the mean over runs per step, -ln(mean last / mean first) / n_steps; `first` and `last`: (n_runs,)."""
    ratio = last / last.mean() - first / first.mean()
    return Measured(
        float(np.log(first.mean() / last.mean()) / n_steps), float(ratio.std(ddof=1) / np.sqrt(len(first)) / abs(n_steps))
    )


def predicted_rate(force: Force, valley: Valley, lr: float, one_minus_beta: float, theta: float) -> float:
    """Decay rate of the mean of theta per step, at theta: the slower root of r^2 - delta r + k = 0, k = G(theta) / theta.

    NaN where the motion is underdamped, delta^2 < 4 k.
    """
    pull = force.pull(valley, lr, one_minus_beta)(valley.start(theta)[None])[0, 0]
    discriminant = one_minus_beta**2 - 4 * pull / theta
    return float((one_minus_beta - np.sqrt(discriminant)) / 2) if discriminant >= 0 else np.nan


def weighted_slope(x: Floats, y: Floats, error: Floats) -> Measured:
    """Slope of the line y(x) through points of standard error `error`, and the standard error of the slope."""
    weight = error**-2.0
    centre = (weight * x).sum() / weight.sum()
    spread = (weight * (x - centre) ** 2).sum()
    return Measured(float((weight * (x - centre) * y).sum() / spread), float(spread**-0.5))


def worst(measured: Floats, error: Floats, predicted: Floats) -> tuple[float, float]:
    """Largest |measured - predicted| in standard errors, and the largest relative difference."""
    return float(np.max(np.abs(measured - predicted) / error)), float(np.max(np.abs(measured / predicted - 1)))
