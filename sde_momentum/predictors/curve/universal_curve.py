"""Time to a target against momentum in the critical limit: one curve serves every lr and noise [theory: Critical limit].

With delta = 1 - beta = D (c eta^2)^(1/3) the strength of the force along Gamma is kappa = 1 / (4 D^3), and a time s = delta k is
tau = s / D in units of (c eta^2)^(-1/3) steps: neither eta nor c is left. tau(D) is the universal curve of a problem, a start
and a target.

What is left of them at finite lr is the modes' frequency sqrt(eta) / delta = 1 / (D (c^2 eta)^(1/6)). It decides how long
modes of neighbouring frequencies stay in step and which modes are too slow to be averaged over: a curve at a given c^2 eta has
this correction [theory: Finite learning rate].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ...core.errors import check, check_lr, check_one, check_positive
from ...core.files import write_whole
from ..drift_path import DriftPath
from ..momentum_rule import MomentumRule
from ..recommendation import Recommendation, largest_within

Floats = NDArray[np.float64]

TOLERANCE = 0.03
"""How much more than the shortest predicted time a recommendation may take: this way sees the cliff [theory: Effective loss]."""

LARGEST_ERROR = 0.1
"""Relative standard error above which a time may not be called the shortest."""


@dataclass(frozen=True, eq=False)
class UniversalCurve:
    """tau(D): the time to the target in the critical limit, made by `universal_curve` [theory: Critical limit].

    Attributes:
        data: dims (point, record). `scaled_one_minus_beta` D (point), increasing, in units of curvature^(1/3); `time` tau and
            `time_se` (point), in units of curvature^(-1/3), inf where the mean does not come to stay below the target;
            `clock` (point, record) and `mean`, `mean_se` (point, record) of the metric
        path: the drift along Gamma to the target
    """

    data: xr.Dataset
    path: DriftPath

    @property
    def scaled_one_minus_beta(self) -> Floats:
        """D = delta / (c eta^2)^(1/3), (n,), increasing."""
        return np.asarray(self.data["scaled_one_minus_beta"].values)

    @property
    def scaled_time(self) -> Floats:
        """tau = (c eta^2)^(1/3) times the steps, (n,)."""
        return np.asarray(self.data["time"].values)

    @property
    def scaled_time_se(self) -> Floats:
        """Standard error of tau, (n,)."""
        return np.asarray(self.data["time_se"].values)

    @cached_property
    def best(self) -> int:
        """Index of the shortest time, among those known to a tenth (or, if none is, with a standard error)."""
        return int(np.argmin(known_times(self.scaled_time, self.scaled_time_se)))

    @cached_property
    def edge(self) -> tuple[float, float]:
        """(low, high): the D below which the target is out of reach, or twice the best time away, lies between them.

        (0, lowest D) if no such D was found.
        """
        good = self.scaled_time <= 2 * self.scaled_time[self.best]
        first = int(np.argmax(good))
        return (float(self.scaled_one_minus_beta[first - 1]) if first else 0.0), float(self.scaled_one_minus_beta[first])

    def band(self, tolerance: float = 0.1) -> tuple[float, float]:
        """The D between which the time is within `tolerance` of the shortest: how exactly momentum must be set."""
        goal = (1 + float(check_positive(tolerance, "tolerance"))) * self.scaled_time[self.best]
        high = largest_within(self.scaled_one_minus_beta, self.scaled_time, goal)[0]
        low = 1 / largest_within(1 / self.scaled_one_minus_beta[::-1], self.scaled_time[::-1], goal)[0]
        return low, high

    def scale(self, lr: float, one_minus_beta: float, noise: float) -> float:
        """(c eta^2)^(1/3), c times the finite-lr ratio of the drift [theory: Drift]."""
        return float(np.cbrt(noise * self.path.drift_ratio(lr, one_minus_beta) * lr**2))

    def one_minus_beta(self, lr: float, scaled: float, noise: float) -> float:
        """delta at D = `scaled`: the fixed point of delta = D (c rho(delta) eta^2)^(1/3)."""
        delta = float(scaled * np.cbrt(noise * lr**2))
        for _ in range(4):  # rho depends on delta through 1 + beta only
            delta = min(1.0, scaled * self.scale(lr, min(delta, 1.0), noise))
        return delta

    def convergence_time(self, lr: float, one_minus_beta: ArrayLike, noise: float) -> tuple[Floats, Floats]:
        """Predicted steps to the target and their standard error, of the shape of `one_minus_beta` in (0, 1].

        Between the simulated points the logarithm of tau is linear in that of D; inf between a finite and an infinite one;
        NaN below the points. Above them, where w drifts without inertia, tau grows by the drift's own time, t D^2.
        Raises InputError for a value out of range.
        """
        rate, c = check_one(check_lr, lr, "lr"), float(check_positive(noise, "noise"))
        asked = check("one_minus_beta", one_minus_beta, lambda x: (x > 0) & (x <= 1), "numbers in (0, 1]")
        scale = np.array([self.scale(rate, float(delta), c) for delta in asked.ravel()])
        at = np.log(asked.ravel() / scale)
        x = np.log(self.scaled_one_minus_beta)
        with np.errstate(invalid="ignore"):
            tau = np.exp(_between(at, x, np.log(self.scaled_time)))
            error = _between(at, x, self.scaled_time_se)
        beyond = at > x[-1]
        tau[beyond] = self.scaled_time[-1] + self.path.time * (np.exp(2 * at[beyond]) - np.exp(2 * x[-1]))
        error[beyond] = self.scaled_time_se[-1]
        return (tau / scale).reshape(asked.shape), (error / scale).reshape(asked.shape)

    def recommend(self, lr: float, noise: float, tolerance: float = TOLERANCE) -> Recommendation:
        """The largest 1 - beta whose time is within `tolerance` of the shortest
        [theory: Effective loss; Critical limit], with its uncertainty.

        `low` and `high`: what a shortest time off by two standard errors would make of it. Raises InputError.
        """
        rate, c = check_one(check_lr, lr, "lr"), float(check_positive(noise, "noise"))
        slack = 1 + float(check_positive(tolerance, "tolerance"))
        d, tau = self.scaled_one_minus_beta, self.scaled_time
        shortest, error = tau[self.best], self.scaled_time_se[self.best]
        goals = slack * np.array([shortest, max(shortest - 2 * error, shortest / slack), shortest + 2 * error])
        found = [largest_within(d, tau, goal) for goal in goals]
        value, low, high = (self.one_minus_beta(rate, scaled, c) for scaled, _ in found)
        scale = self.scale(rate, value, c)
        return Recommendation(
            rate, value, float(found[0][1] / scale), float(shortest / scale), d * scale, tau / scale, low=low, high=high
        )

    def rule(self, noise: float, tolerance: float = TOLERANCE) -> MomentumRule:
        """The power law of the critical limit: 1 - beta = D (c)^(1/3) lr^(2/3), without corrections at finite lr."""
        d, tau = self.scaled_one_minus_beta, self.scaled_time
        scaled, _ = largest_within(d, tau, (1 + float(check_positive(tolerance, "tolerance"))) * tau[self.best])
        return MomentumRule.from_sweep({"exponent": 2 / 3, "prefactor": scaled * np.cbrt(float(check_positive(noise, "noise")))})

    def save(self, path: str | Path) -> None:
        """Write netCDF-4, whole or not at all."""
        content = self.data.to_netcdf(engine="h5netcdf")
        write_whole(Path(path), lambda file: file.write(content))

    def __str__(self) -> str:
        low, high = self.band()
        d, tau, error = self.scaled_one_minus_beta, self.scaled_time, self.scaled_time_se
        lines = [
            f"UniversalCurve ({self.path.problem.name}: {self.path.metric} to {self.path.fraction:g} of its start)",
            f"  shortest time {tau[self.best]:.4g} ± {error[self.best]:.2g} at D = {d[self.best]:.4g}, in (c lr^2)^(-1/3) steps",
            f"  within 10 % of it for D from {low:.4g} to {high:.4g}; 1 - beta = D (c lr^2)^(1/3)",
            f"  edge: D = {self.edge[0]:.4g} to {self.edge[1]:.4g}",
        ]
        return "\n".join(lines)


def known_times(times: Floats, errors: Floats) -> Floats:
    """The times that may be called the shortest, inf for the others: close to the cliff some arrive, or do not, by chance."""
    for most in (LARGEST_ERROR, np.inf):
        with np.errstate(invalid="ignore"):
            known = np.where((errors <= most * times) & np.isfinite(errors), times, np.inf)
        if np.isfinite(known).any():
            break
    return known


def _between(at: Floats, x: Floats, y: Floats) -> Floats:
    """Linear interpolation; NaN outside, inf where a neighbour of unequal place is inf."""
    i = np.clip(np.searchsorted(x, at), 1, len(x) - 1)
    share = np.clip((at - x[i - 1]) / (x[i] - x[i - 1]), 0, 1)
    left = np.where(share < 1, y[i - 1], 0.0) * np.where(share < 1, 1 - share, 0.0)
    right = np.where(share > 0, y[i], 0.0) * np.where(share > 0, share, 0.0)
    outside = (at < x[0] - 1e-9) | (at > x[-1] + 1e-9)
    return np.where(outside, np.nan, left + right)
