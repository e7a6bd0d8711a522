"""The best momentum measured in a sweep: at each learning rate, as a power law of it, and the regret of a prediction.

The time of a momentum is the harmonic mean of its runs' convergence times. So it is finite where some run reaches the target,
and smooth across the cliff, beyond which ever fewer do. Intervals are 95 %, from resampling the seeds: the same resamples for
all learning rates and momenta, which share their noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

from ..core.arguments import by_annotations
from ..core.errors import InputError

Floats = NDArray[np.float64]
N_RESAMPLES = 1000
_NEAR = 1.35
"""The optimum is fitted to the momenta whose time is within this factor of the shortest."""
_DENSE = 400
"""Points at which the fitted cubic is searched for its minimum."""


@dataclass(frozen=True)
class Estimate:
    """A measured number, its 95 % interval and its standard error."""

    value: float
    low: float
    high: float
    standard_error: float

    @classmethod
    def of(cls, value: float, resamples: Floats) -> Estimate:
        """From a value and its resamples, of which only the finite ones count."""
        good = resamples[np.isfinite(resamples)]
        if not good.size:
            return cls(float(value), np.nan, np.nan, np.nan)
        low, high = np.quantile(good, [0.025, 0.975])
        return cls(float(value), float(low), float(high), float(good.std(ddof=1)))


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """A power law with corrections at finite lr, fitted to measured optima [theory: Ways to predict, eq. 11.4].

        1 - beta* = prefactor lr^exponent exp(a_1 lr^(1/3) + a_2 lr^(2/3) + ...)

    Attributes:
        exponent, prefactor: with intervals
        corrections: a_1, a_2, ...; none for the plain power law
        chi2, freedom: chi-squared of the fit, and its degrees of freedom
        terms, resamples: (ln prefactor, exponent, a_1, ...), (n_terms,), and their resamples, (n_resamples, n_terms)
    """

    exponent: Estimate
    prefactor: Estimate
    corrections: tuple[Estimate, ...]
    chi2: float
    freedom: int
    terms: Floats
    resamples: Floats

    @property
    def p_value(self) -> float:
        """The p-value of chi2; NaN without a degree of freedom."""
        return float(chdtrc(self.freedom, self.chi2)) if self.freedom else np.nan

    def curve(self, lr: ArrayLike) -> tuple[Floats, Floats, Floats]:
        """(value, low, high) of the fitted optimum at `lr`."""
        design = _design(np.asarray(lr, dtype=np.float64), len(self.corrections))
        low, high = np.quantile(self.resamples @ design.T, [0.025, 0.975], axis=0)
        return np.exp(design @ self.terms), np.exp(low), np.exp(high)


def _design(lr: Floats, order: int) -> Floats:
    powers = [np.cbrt(lr) ** (i + 1) for i in range(order)]
    return np.stack([np.ones_like(lr), np.log(lr), *powers], axis=-1)


class Optima:
    """The measured optima of a sweep, from its convergence times.

    Args:
        lr: learning rates, (n_lr,)
        one_minus_beta: (n_lr, n_momentum), increasing along the momenta
        times: convergence time of each run in steps, (n_lr, n_momentum, n_seed); inf: never
        seed: of the resampling

    Raises:
        InputError: for one seed, or a learning rate at which no run reaches the target.

    >>> delta = np.geomspace(0.01, 0.2, 9)
    >>> runs = np.random.default_rng(0).normal(1.0, 0.02, (1, 9, 16))
    >>> optima = Optima([0.1], delta[None], (0.04 / delta + delta / 0.04)[None, :, None] * 100 * runs)
    >>> best = optima.optimum(0)
    >>> bool(best.low < 0.04 < best.high)
    True
    """

    def __init__(self, lr: Floats, one_minus_beta: Floats, times: Floats, *, seed: int = 0) -> None:
        if times.shape[-1] < 2:
            raise InputError("seeds", times.shape[-1], "at least 2, for intervals")
        self.lr, self.one_minus_beta = lr, one_minus_beta
        self._speed = 1 / times
        if not np.all((self._speed > 0).any(axis=(1, 2))):
            raise InputError("--fraction", "a target that no run reaches at some learning rate", "a larger fraction")
        n_seed = times.shape[-1]
        rng = np.random.default_rng([seed, 20])
        self._weights = rng.multinomial(n_seed, np.full(n_seed, 1 / n_seed), size=N_RESAMPLES) / n_seed

    @cached_property
    def time(self) -> Floats:
        """Harmonic mean of the runs' times in steps, (n_lr, n_momentum); inf where no run reaches the target."""
        with np.errstate(divide="ignore"):
            return 1 / self._speed.mean(axis=-1)

    @cached_property
    def relative_error(self) -> Floats:
        """Standard error of ln `time`, (n_lr, n_momentum)."""
        mean = self._speed.mean(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._speed.std(axis=-1, ddof=1) / np.sqrt(self._speed.shape[-1]) / mean

    @cached_property
    def arrived(self) -> Floats:
        """Share of the runs that reach the target, (n_lr, n_momentum)."""
        return (self._speed > 0).mean(axis=-1)

    @cached_property
    def _resampled(self) -> Floats:
        """ln time under each resample, (n_resamples, n_lr, n_momentum)."""
        with np.errstate(divide="ignore"):
            return -np.log(np.einsum("bs,lms->blm", self._weights, self._speed))

    def _fastest(self, i: int) -> tuple[float, Floats]:
        """ln of the fastest 1 - beta at learning rate i, the minimum of a cubic in ln(1 - beta), and its resamples."""
        x, y = np.log(self.one_minus_beta[i]), np.log(self.time[i])
        k = int(np.argmin(y))
        first, last = k, k
        while first > 0 and (y[first - 1] < y[k] + np.log(_NEAR) or k - first < 2) and np.isfinite(y[first - 1]):
            first -= 1
        while last < len(y) - 1 and (y[last + 1] < y[k] + np.log(_NEAR) or last - k < 2) and np.isfinite(y[last + 1]):
            last += 1
        near = slice(first, last + 1)
        degree = min(3, last - first)
        weight = 1 / np.maximum(self.relative_error[i, near], 1e-6)
        center = x[k]
        design = np.vander(x[near] - center, degree + 1) * weight[:, None]
        solve = np.linalg.pinv(design) * weight
        dense = np.linspace(x[first], x[last], _DENSE)
        shape = np.vander(dense - center, degree + 1)

        def lowest(curves: Floats) -> Floats:
            return dense[np.argmin((curves @ solve.T) @ shape.T, axis=-1)]

        resampled = self._resampled[:, i, near]
        # a resample in which no run reaches the target counts as slower than any in which one run does
        never = y[k] + np.log(10 * self._speed.shape[-1])
        return float(lowest(y[near])), lowest(np.where(np.isfinite(resampled), resampled, never))

    @cached_property
    def _logs(self) -> tuple[Floats, Floats]:
        """ln of the optimum (n_lr,), and its resamples (n_resamples, n_lr)."""
        found = [self._fastest(i) for i in range(len(self.lr))]
        return np.array([value for value, _ in found]), np.stack([resamples for _, resamples in found], axis=1)

    def optimum(self, i: int) -> Estimate:
        """The fastest 1 - beta at learning rate i of `lr`."""
        value, resamples = self._logs
        return Estimate.of(np.exp(value[i]), np.exp(resamples[:, i]))

    def power_law(self, order: int, among: NDArray[np.bool_] | None = None) -> PowerLaw:
        """Fit the optima of the learning rates `among` (n_lr,), weighted by their errors, with corrections to lr^(order / 3).

        Raises InputError for fewer than 2 + `order` learning rates.
        """
        use = np.ones(len(self.lr), dtype=bool) if among is None else among
        if use.sum() < 2 + order:
            raise InputError("--lr", f"{use.sum()} learning rates", f"at least {2 + order}, for the fit")
        value, resamples = (logs[..., use] for logs in self._logs)
        weight = 1 / np.maximum(resamples.std(axis=0, ddof=1), 1e-3)
        plain = _design(self.lr[use], order)
        solve = np.linalg.pinv(plain * weight[:, None]) * weight
        terms, resampled = solve @ value, resamples @ solve.T
        prefactor, exponent, *corrections = (Estimate.of(t, r) for t, r in zip(terms, resampled.T, strict=True))
        return PowerLaw(
            exponent,
            Estimate.of(np.exp(prefactor.value), np.exp(resampled[:, 0])),
            tuple(corrections),
            float(np.sum(((plain @ terms - value) * weight) ** 2)),
            int(use.sum()) - len(terms),
            terms,
            resampled,
        )

    def local_exponent(self, i: int) -> Estimate:
        """Exponent of the best 1 - beta between learning rates i and i + 1 of `lr`."""
        value, resamples = self._logs
        wide = np.log(self.lr[i + 1] / self.lr[i])
        return Estimate.of((value[i + 1] - value[i]) / wide, (resamples[:, i + 1] - resamples[:, i]) / wide)

    def regret(self, i: int, one_minus_beta: float) -> Estimate:
        """Time at `one_minus_beta`, interpolated in logarithms, over the shortest at learning rate i; NaN outside the sweep."""
        x = np.log(self.one_minus_beta[i])
        at = np.log(one_minus_beta)
        if not x[0] - 1e-9 <= at <= x[-1] + 1e-9:
            return Estimate(np.nan, np.nan, np.nan, np.nan)
        j = int(np.clip(np.searchsorted(x, at), 1, len(x) - 1))
        share = np.clip((at - x[j - 1]) / (x[j] - x[j - 1]), 0, 1)

        def over_best(y: Floats) -> Floats:
            # with a share of 0 or 1 the other neighbour may be infinite
            left = y[..., j - 1] * (1 - share) if share < 1 else 0.0
            right = y[..., j] * share if share > 0 else 0.0
            with np.errstate(invalid="ignore"):  # NaN for a resample in which no run reaches the target
                return np.asarray(np.exp(left + right - y.min(axis=-1)))

        return Estimate.of(float(over_best(np.log(self.time[i]))), over_best(self._resampled[:, i]))


def first_correction(sweeps: Sequence[Optima], exponent: float, power: float) -> PowerLaw:
    """1 - beta* = C lr^exponent exp(a lr^power) with both powers given, fitted to the optima of several sweeps
    [theory: Ways to predict, eq. 11.4; Finite learning rate]. Its local exponent is exponent + a power lr^power.

    `exponent` of the law is the given one, without an interval; the sweeps' errors count as independent.
    """
    lr = np.concatenate([sweep.lr for sweep in sweeps])
    value = np.concatenate([sweep._logs[0] for sweep in sweeps])
    resamples = np.concatenate([sweep._logs[1] for sweep in sweeps], axis=1)
    weight = 1 / np.maximum(resamples.std(axis=0, ddof=1), 1e-3)
    design = np.stack([np.ones_like(lr), lr**power], axis=-1)
    solve = np.linalg.pinv(design * weight[:, None]) * weight
    given = exponent * np.log(lr)
    terms, resampled = solve @ (value - given), (resamples - given) @ solve.T
    return PowerLaw(
        Estimate(exponent, exponent, exponent, 0.0),
        Estimate.of(np.exp(terms[0]), np.exp(resampled[:, 0])),
        (Estimate.of(terms[1], resampled[:, 1]),),
        float(np.sum(((design @ terms - value + given) * weight) ** 2)),
        len(lr) - 2,
        terms,
        resampled,
    )


def read_results(path: Path) -> xr.Dataset:
    """Read the results file of a sweep. Raises InputError for another file."""
    wanted = {"convergence_time", "predicted_optimum"}
    try:
        data = xr.load_dataset(path, engine="h5netcdf")
    except Exception:  # whatever the reader makes of a broken file, the user has one thing to do about it
        data = None
    if data is None or not wanted <= set(data.variables) or "configuration" not in data.attrs:
        raise InputError("results", path, "a readable results file of `sde-momentum validate`")
    return data


@by_annotations
def measured_optima(results: xr.Dataset) -> xr.Dataset:
    """The fastest 1 - beta of a sweep with 95 % intervals, and the recommended 1 - beta, over lr.

    Args:
        results: of `sde-momentum validate matrix-sensing`

    Returns:
        Dataset of `measured`, `measured_low`, `measured_high` (lr) and `recommended` (method, lr).
    """
    needed = ("lr", "one_minus_beta", "convergence_time", "predicted_optimum")
    if not isinstance(results, xr.Dataset) or not all(name in results for name in needed):
        raise InputError("results", type(results).__name__, f"a Dataset with {', '.join(needed)}")
    lr = results["lr"].values
    optima = Optima(lr, results["one_minus_beta"].values, results["convergence_time"].values)
    found = [optima.optimum(i) for i in range(len(lr))]
    note = "fastest 1 - beta of the sweep"
    columns = {
        "measured": ([e.value for e in found], note),
        "measured_low": ([e.low for e in found], f"{note}, lower end of the 95 % interval"),
        "measured_high": ([e.high for e in found], f"{note}, upper end of the 95 % interval"),
    }
    data = xr.Dataset(
        {name: ("lr", values, {"long_name": text, "units": "1"}) for name, (values, text) in columns.items()},
        coords={"lr": ("lr", lr, {"long_name": "learning rate", "units": "1"})},
    )
    return data.assign(recommended=results["predicted_optimum"])
