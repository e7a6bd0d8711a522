"""The recommended momentum: the largest 1 - beta of nearly the shortest predicted time [theory: Ways to predict, eq. 11.3]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Recommendation:
    """The largest 1 - beta whose predicted time is within a tolerance of the shortest [theory: Ways to predict, eq. 11.3].

    Attributes:
        lr: learning rate
        one_minus_beta: the recommended 1 - beta
        time: its predicted convergence time, in steps
        shortest_time: the shortest predicted time, in steps; its momentum may lie close to the cliff, or beyond it for a
            prediction by the effective loss, which does not see the cliff
        tried: 1 - beta of every predicted time, (n,)
        times: predicted convergence times, in steps, (n,)
        low, high: `one_minus_beta` if the shortest time is off by two standard errors; equal to it for a deterministic prediction
    """

    lr: float
    one_minus_beta: float
    time: float
    shortest_time: float
    tried: Floats
    times: Floats
    low: float = np.nan
    high: float = np.nan

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            if np.isnan(getattr(self, name)):
                object.__setattr__(self, name, self.one_minus_beta)

    @property
    def momentum(self) -> float:
        """beta."""
        return 1 - self.one_minus_beta

    def __str__(self) -> str:
        return (
            f"lr = {self.lr:.5g}: momentum {self.momentum:.6g} (1 - beta = {self.one_minus_beta:.4g}), "
            f"{self.time:.4g} steps to the target; the shortest predicted time is {self.shortest_time:.4g}"
        )


def largest_within(x: Floats, times: Floats, goal: float) -> tuple[float, float]:
    """(x, time): the largest x whose time is at most `goal` (at least the shortest), x increasing, (n,).

    Between the points the logarithm of the time is linear in that of x.
    """
    goal = max(goal, float(times.min()))
    good = np.flatnonzero(times <= goal)
    i = int(good[-1])
    if i + 1 < len(x) and np.isfinite(times[i + 1]):
        share = np.log(goal / times[i]) / np.log(times[i + 1] / times[i])
        return float(x[i] * (x[i + 1] / x[i]) ** share), float(goal)
    return float(x[i]), float(times[i])
