"""The best momentum measured in a sweep: at each learning rate, as a power law of it, and the regret of a prediction.

The time of a momentum is the harmonic mean of its runs' convergence times. So it is finite where some run reaches the target,
and smooth across the cliff, beyond which ever fewer do. Intervals are 95 %, from resampling the seeds: the same resamples for
all learning rates and momenta, which share their noise. They are widened as Student's are, for resamples of n seeds spread by
sqrt((n - 1) / n) too little, and their spread is itself uncertain. Fits to times have equal weights: where few seeds agree by
chance, the momentum would count for more than it should.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, fdtrc, stdtrit

from ..core.arguments import by_annotations
from ..core.errors import InputError
from .recommendation import largest_within

Floats = NDArray[np.float64]
N_RESAMPLES = 1000
_NEAR = 1.35
"""The optimum is fitted to the momenta whose time is within this factor of the shortest."""
_NORMAL = float(stdtrit(np.inf, 0.975))
"""The normal distribution's 97.5 % quantile."""
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
    def of(cls, value: float, resamples: Floats, freedom: float = np.inf) -> Estimate:
        """From a value and its resamples, of which only the finite ones count, and whose spread has so many degrees of freedom.

        Resamples of two seeds, of which there are three, have no quantiles: there the interval is Student's.
        """
        good = resamples[np.isfinite(resamples)]
        if not good.size:
            return cls(float(value), np.nan, np.nan, np.nan)
        error = float(good.std(ddof=1))
        ends = np.quantile(good, [0.025, 0.975]) - value if freedom > 1 else np.array([-_NORMAL, _NORMAL]) * error
        low, high = value + float(stdtrit(freedom, 0.975)) / _NORMAL * ends
        return cls(float(value), float(low), float(high), error)

    def exp(self) -> Estimate:
        """That of the exponential."""
        value = float(np.exp(self.value))
        return Estimate(value, float(np.exp(self.low)), float(np.exp(self.high)), value * self.standard_error)


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """A power law with corrections at finite lr, fitted to measured optima [theory: Ways to predict, eq. 11.4].

        1 - beta* = prefactor lr^exponent exp(a_1 lr^(1/3) + a_2 lr^(2/3) + ...)

    Attributes:
        exponent, prefactor: with intervals
        corrections: a_1, a_2, ...; none for the plain power law
        chi2, freedom: chi-squared of the fit, and its degrees of freedom
        terms, resamples: (ln prefactor, exponent, a_1, ...), (n_terms,), and their resamples, (n_resamples, n_terms)
        error_freedom: degrees of freedom of the optima's errors; inf: they are known
    """

    exponent: Estimate
    prefactor: Estimate
    corrections: tuple[Estimate, ...]
    chi2: float
    freedom: int
    terms: Floats
    resamples: Floats
    error_freedom: float

    @property
    def p_value(self) -> float:
        """The p-value of chi2, by the F distribution where errors are those of few seeds; NaN without a degree of freedom."""
        if not self.freedom:
            return np.nan
        known = np.isinf(self.error_freedom)
        return float(
            chdtrc(self.freedom, self.chi2) if known else fdtrc(self.freedom, self.error_freedom, self.chi2 / self.freedom)
        )

    def curve(self, lr: ArrayLike) -> tuple[Floats, Floats, Floats]:
        """(value, low, high) of the fitted optimum at `lr`."""
        design = _design(np.asarray(lr, dtype=np.float64), len(self.corrections))
        value = design @ self.terms
        found = [Estimate.of(v, r, self.error_freedom) for v, r in zip(value, (self.resamples @ design.T).T, strict=True)]
        return np.exp(value), np.exp([each.low for each in found]), np.exp([each.high for each in found])


def _design(lr: Floats, order: int) -> Floats:
    powers = [np.cbrt(lr) ** (i + 1) for i in range(order)]
    return np.stack([np.ones_like(lr), np.log(lr), *powers], axis=-1)


def _lowest(x: Floats, y: Floats, weight: Floats | None = None) -> Floats:
    """Where the cubic through the lowest points of each row of y(x), (n, n_x), is least; x increases.

    It goes through the least point, two on either side, and those beyond within `_NEAR` of the least; less than a cubic goes
    through fewer than four. `weight` (n_x,): of the points; None: equal.
    """
    n, every = len(x), np.arange(len(x))
    least = y.argmin(axis=1)[:, None]
    near = np.isfinite(y) & ((y < np.take_along_axis(y, least, 1) + np.log(_NEAR)) | (np.abs(every - least) <= 2))
    first = np.where(~near & (every < least), every, -1).max(axis=1) + 1
    last = np.where(~near & (every > least), every, n).min(axis=1) - 1
    found = np.empty(len(y))
    for begin, end in {*zip(first.tolist(), last.tolist(), strict=True)}:
        rows, some = (first == begin) & (last == end), slice(begin, end + 1)
        given = np.ones(end + 1 - begin) if weight is None else weight[some]
        degree, middle = min(3, end - begin), x[begin : end + 1].mean()
        solve = np.linalg.pinv(np.vander(x[some] - middle, degree + 1) * given[:, None]) * given
        dense = np.linspace(x[begin], x[end], _DENSE)
        found[rows] = dense[np.argmin((y[rows, some] @ solve.T) @ np.vander(dense - middle, degree + 1).T, axis=-1)]
    return found


def fit_power_law(lr: Floats, value: Floats, resamples: Floats, order: int, freedom: float) -> PowerLaw:
    """A power law with corrections to lr^(order / 3), fitted to logarithms, which are weighted by their errors.

    Args:
        lr: learning rates, (n_lr,); n_lr at least 2 + `order`
        value, resamples: ln of what is fitted, (n_lr,), and the same from resampled runs, (n_resamples, n_lr)
        order: number of corrections
        freedom: degrees of freedom of the spread of the resamples

    >>> lr = np.array([1e-3, 1e-2, 1e-1])
    >>> noise = 0.01 * np.random.default_rng(0).standard_normal((200, 3))
    >>> law = fit_power_law(lr, 0.5 * np.log(lr), 0.5 * np.log(lr) + noise, 0, 100)
    >>> print(f"{law.exponent.value:.3f} ± {law.exponent.standard_error:.3f}")
    0.500 ± 0.003
    """
    weight = 1 / np.maximum(resamples.std(axis=0, ddof=1), 1e-3)
    plain = _design(lr, order)
    solve = np.linalg.pinv(plain * weight[:, None]) * weight
    terms, resampled = solve @ value, resamples @ solve.T
    prefactor, exponent, *corrections = (Estimate.of(t, r, freedom) for t, r in zip(terms, resampled.T, strict=True))
    return PowerLaw(
        exponent,
        prefactor.exp(),
        tuple(corrections),
        float(np.sum(((plain @ terms - value) * weight) ** 2)),
        len(lr) - len(terms),
        terms,
        resampled,
        freedom,
    )


def needed_momenta(
    one_minus_beta: Floats, times: Floats, resampled: Floats, within: float, n_seeds: int
) -> tuple[Floats, Floats]:
    """The least momentum that is fast enough: ln of the largest 1 - beta whose time is at most `within` times the shortest.

    (n_lr,), and its resamples, (n_resamples, n_lr), whose spread is that of so few runs; NaN where no time of one is finite.

    Args:
        one_minus_beta, times: increasing along the momenta, (n_lr, n_momentum)
        resampled: the times from resampled runs, (n_resamples, n_lr, n_momentum)
        within: at least 1
        n_seeds: number of runs of each momentum

    >>> found, _ = needed_momenta(np.array([[0.1, 0.2, 0.4]]), np.array([[9.0, 10.0, 20.0]]), np.ones((2, 1, 3)), 15 / 9, 8)
    >>> float(np.exp(found[0]).round(3))  # 15 steps, between 0.2 and 0.4
    0.3
    """

    def least(deltas: Floats, each: Floats) -> float:
        return largest_within(deltas, each, within * float(each.min()))[0] if np.isfinite(each).any() else np.nan

    value = np.log([least(*pair) for pair in zip(one_minus_beta, times, strict=True)])
    drawn = np.log([[least(*pair) for pair in zip(one_minus_beta, each, strict=True)] for each in resampled])
    return value, value + np.sqrt(n_seeds / (n_seeds - 1)) * (drawn - value)


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

    @property
    def half_width(self) -> Floats:
        """Half of the 95 % interval of ln `time` by Student's t, (n_lr, n_momentum)."""
        return float(stdtrit(self._freedom, 0.975)) * self.relative_error

    @cached_property
    def arrived(self) -> Floats:
        """Share of the runs that reach the target, (n_lr, n_momentum)."""
        return (self._speed > 0).mean(axis=-1)

    @cached_property
    def _resampled(self) -> Floats:
        """ln time under each resample, (n_resamples, n_lr, n_momentum)."""
        with np.errstate(divide="ignore"):
            return -np.log(np.einsum("bs,lms->blm", self._weights, self._speed))

    @cached_property
    def _logs(self) -> tuple[Floats, Floats]:
        """ln of the optimum (n_lr,), and its resamples (n_resamples, n_lr)."""
        x, y, n_seed = np.log(self.one_minus_beta), np.log(self.time), self.n_seeds
        # a resample in which no run reaches the target counts as slower than any in which one run does
        never = y.min(axis=1, keepdims=True) + np.log(10 * n_seed)
        resampled = np.where(np.isfinite(self._resampled), self._resampled, np.where(np.isfinite(y), never, np.inf))
        value = np.array([_lowest(x[i], y[i : i + 1])[0] for i in range(len(x))])
        spread = np.stack([_lowest(x[i], resampled[:, i]) for i in range(len(x))], axis=1) - value
        return value, value + np.sqrt(n_seed / (n_seed - 1)) * spread

    @property
    def n_seeds(self) -> int:
        """Number of runs of each momentum."""
        return self._speed.shape[-1]

    @property
    def _freedom(self) -> int:
        return self.n_seeds - 1

    def weighted_optimum(self, i: int) -> float:
        """The fastest 1 - beta at learning rate i by a fit in which times are weighted by their errors; biased with few seeds.

        A first look places its sweep by it: with `optimum` the stored sweeps could not be made again to the last bit.
        """
        weight = 1 / np.maximum(self.relative_error[i], 1e-6)
        return float(np.exp(_lowest(np.log(self.one_minus_beta[i]), np.log(self.time[i : i + 1]), weight)[0]))

    def optimum(self, i: int) -> Estimate:
        """The fastest 1 - beta at learning rate i of `lr`."""
        value, resamples = self._logs
        return Estimate.of(value[i], resamples[:, i], self._freedom).exp()

    def power_law(self, order: int, among: NDArray[np.bool_] | None = None) -> PowerLaw:
        """Fit the optima of the learning rates `among` (n_lr,), weighted by their errors, with corrections to lr^(order / 3).

        Raises InputError for fewer than 2 + `order` learning rates.
        """
        use = np.ones(len(self.lr), dtype=bool) if among is None else among
        if use.sum() < 2 + order:
            raise InputError("--lr", f"{use.sum()} learning rates", f"at least {2 + order}, for the fit")
        value, resamples = (logs[..., use] for logs in self._logs)
        return fit_power_law(self.lr[use], value, resamples, order, self._freedom)

    def needed(self, within: float) -> tuple[Floats, Floats]:
        """`needed_momenta` of this sweep."""
        return needed_momenta(self.one_minus_beta, self.time, np.exp(self._resampled), within, self.n_seeds)

    def local_exponent(self, i: int) -> Estimate:
        """Exponent of the best 1 - beta between learning rates i and i + 1 of `lr`."""
        value, resamples = self._logs
        wide = np.log(self.lr[i + 1] / self.lr[i])
        slopes = (resamples[:, i + 1] - resamples[:, i]) / wide
        return Estimate.of((value[i + 1] - value[i]) / wide, slopes, self._freedom)

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
                return np.asarray(left + right - y.min(axis=-1))

        value, n_seed = float(over_best(np.log(self.time[i]))), self.n_seeds
        with np.errstate(invalid="ignore"):
            spread = np.sqrt(n_seed / (n_seed - 1)) * (over_best(self._resampled[:, i]) - value)
        found = Estimate.of(value, value + spread, self._freedom)
        return replace(found, low=max(found.low, 0.0)).exp()


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
    freedom = min(sweep._freedom for sweep in sweeps)
    return PowerLaw(
        Estimate(exponent, exponent, exponent, 0.0),
        Estimate.of(terms[0], resampled[:, 0], freedom).exp(),
        (Estimate.of(terms[1], resampled[:, 1], freedom),),
        float(np.sum(((design @ terms - value + given) * weight) ** 2)),
        len(lr) - 2,
        terms,
        resampled,
        freedom,
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
