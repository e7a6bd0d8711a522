"""The universal curve: time to a target against momentum in the critical limit, for every lr and noise strength.

    delta = D (c eta^2)^(1/3),   kappa = 1 / (4 D^3),   steps = tau(D) (c eta^2)^(-1/3)      [theory: Critical limit, eq. 7.9]

tau(D) belongs to a problem, a start and a target. At finite lr it also depends on c^2 eta, through the frequencies of the modes,
which decide on modes in step and on soft modes: a curve at a given c^2 eta has this correction
[theory: Finite learning rate, eq. 8.5].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ...core.errors import check_lr, check_one, check_one_minus_beta, check_positive
from ...core.files import sealed, write_whole
from ..drift_path import DriftPath
from ..momentum_rule import MomentumRule
from ..recommendation import Recommendation, largest_within

Floats = NDArray[np.float64]

TOLERANCE = 0.03
"""epsilon: a recommended time is at most so much longer than the shortest [theory: Ways to predict, eq. 11.3]."""

LARGEST_ERROR = 0.1
"""Relative standard error above which a time may not be called the shortest."""


@dataclass(frozen=True, eq=False)
class UniversalCurve:
    """tau(D), the time to the target in the critical limit; made by `universal_curve` [theory: Critical limit, eq. 7.9].

    Attributes:
        data: Dataset of dims (point, record): `scaled_one_minus_beta`, D (point), increasing, in curvature^(1/3); `time`, tau,
            and `time_se` (point), in curvature^(-1/3), inf where the mean does not stay below the target; `clock`, tau of the
            records, and `mean`, `mean_se` of the metric (point, record)
        path: the drift path to the target
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
        """Index of the shortest time, among those of a relative error of at most a tenth (if there are none, of a finite one)."""
        return int(np.argmin(known_times(self.scaled_time, self.scaled_time_se)))

    @cached_property
    def cliff(self) -> tuple[float, float]:
        """(low, high): the D below which the time exceeds twice the shortest lies between them; (0, lowest D): none was found."""
        good = self.scaled_time <= 2 * self.scaled_time[self.best]
        first = int(np.argmax(good))
        return (float(self.scaled_one_minus_beta[first - 1]) if first else 0.0), float(self.scaled_one_minus_beta[first])

    def band(self, tolerance: float = 0.1) -> tuple[float, float]:
        """(low, high) D between which the time is at most 1 + `tolerance` times the shortest."""
        goal = (1 + float(check_positive(tolerance, "tolerance"))) * self.scaled_time[self.best]
        high = largest_within(self.scaled_one_minus_beta, self.scaled_time, goal)[0]
        low = 1 / largest_within(1 / self.scaled_one_minus_beta[::-1], self.scaled_time[::-1], goal)[0]
        return low, high

    def scale(self, lr: float, one_minus_beta: float, noise: float) -> float:
        """(c rho eta^2)^(1/3), rho the finite-lr factor `DriftPath.drift_ratio` on c [theory: Finite learning rate]."""
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
        NaN below the smallest D. Above the largest tau^2 grows as t^2 D^4, t the drift's time: far above it has no inertia.
        Raises InputError for a value out of range.
        """
        rate, c = check_one(check_lr, lr, "lr"), float(check_positive(noise, "noise"))
        asked = check_one_minus_beta(one_minus_beta)
        scale = np.array([self.scale(rate, float(delta), c) for delta in asked.ravel()])
        at = np.log(asked.ravel() / scale)
        x = np.log(self.scaled_one_minus_beta)
        with np.errstate(invalid="ignore"):
            tau = np.exp(_between(at, x, np.log(self.scaled_time)))
            error = _between(at, x, self.scaled_time_se)
        beyond = at > x[-1]
        drift = self.path.time**2 * (np.exp(4 * at[beyond]) - np.exp(4 * x[-1]))
        tau[beyond] = np.sqrt(self.scaled_time[-1] ** 2 + drift)
        error[beyond] = self.scaled_time_se[-1]
        return (tau / scale).reshape(asked.shape), (error / scale).reshape(asked.shape)

    def recommend(self, lr: float, noise: float, tolerance: float = TOLERANCE) -> Recommendation:
        """The largest 1 - beta whose time is at most 1 + `tolerance` times the shortest [theory: Ways to predict, eq. 11.3].

        Its `low` and `high`: with a shortest time that is off by two standard errors. Raises InputError for a value out of range.
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
        """The power law 1 - beta = D c^(1/3) lr^(2/3) of the recommended D, without corrections at finite lr."""
        d, tau = self.scaled_one_minus_beta, self.scaled_time
        scaled, _ = largest_within(d, tau, (1 + float(check_positive(tolerance, "tolerance"))) * tau[self.best])
        return MomentumRule.from_sweep({"exponent": 2 / 3, "prefactor": scaled * np.cbrt(float(check_positive(noise, "noise")))})

    def save(self, path: str | Path) -> None:
        """Write the data to a netCDF-4 file, with a checksum after its end; an interrupted write leaves none."""
        content = sealed(bytes(self.data.to_netcdf(engine="h5netcdf")))
        write_whole(Path(path), lambda file: file.write(content))

    def __str__(self) -> str:
        low, high = self.band()
        d, tau, error = self.scaled_one_minus_beta, self.scaled_time, self.scaled_time_se
        lines = [
            f"UniversalCurve ({self.path.problem.name}: {self.path.metric} to {self.path.fraction:g} of its start)",
            f"  shortest time {tau[self.best]:.4g} ± {error[self.best]:.2g} at D = {d[self.best]:.4g}, in (c lr^2)^(-1/3) steps",
            f"  within 10 % of it for D from {low:.4g} to {high:.4g}; 1 - beta = D (c lr^2)^(1/3)",
            f"  cliff: D = {self.cliff[0]:.4g} to {self.cliff[1]:.4g}",
        ]
        return "\n".join(lines)


def known_times(times: Floats, errors: Floats) -> Floats:
    """The times whose error is small enough to be called the shortest, inf for the others: near the cliff chance decides."""
    for most in (LARGEST_ERROR, np.inf):
        with np.errstate(invalid="ignore"):
            known = np.where((errors <= most * times) & np.isfinite(errors), times, np.inf)
        if np.isfinite(known).any():
            break
    return known


def _between(at: Floats, x: Floats, y: Floats) -> Floats:
    """Linear interpolation; NaN outside, inf between a finite and an infinite point."""
    i = np.clip(np.searchsorted(x, at), 1, len(x) - 1)
    share = np.clip((at - x[i - 1]) / (x[i] - x[i - 1]), 0, 1)
    left = np.where(share < 1, y[i - 1], 0.0) * np.where(share < 1, 1 - share, 0.0)
    right = np.where(share > 0, y[i], 0.0) * np.where(share > 0, share, 0.0)
    outside = (at < x[0] - 1e-9) | (at > x[-1] + 1e-9)
    return np.where(outside, np.nan, left + right)
