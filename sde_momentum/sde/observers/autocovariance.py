"""The autocovariance of components and functionals, averaged over record times, with standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import intervals
from ...core.arguments import by_annotations
from ...core.errors import InputError, check_integer
from ...core.intervals import Estimate
from ...core.threads import one_blas_thread
from .base import Extras, Observer, State, Variables, leaf, merge_nodes, total

_MOST = 1000
"""Record times, at most: memory grows with their square."""


@by_annotations
@dataclass(frozen=True)
class Autocovariance(Observer):
    """Autocovariance and autocorrelation in time, with standard errors.

    C(l) is the covariance of X_t and X_{t+l} over the paths, averaged over the record times t that have a t + l among them: for
    a stationary process its autocovariance, if the first record time is late enough. R(l) = C(l) / C(0). Record times are
    equally spaced, at most 1000.

    `max_lag`: the greatest lag, in intervals of the record times; None: as many as there are. `row`: the name of one component or
    functional, or None for every one.

    Paths are independent, so standard errors hold whatever the correlation in time (`core.intervals.mean_covariance`,
    `mean_correlation`); the mean at each time is that of the paths. A path that is faulty at any time is left out.

    Variables over (row, lag): `autocovariance` in (unit of row)^2, `autocorrelation`, each with `_se`, `_low` and `_high`, NaN
    for less than 4 paths; coordinate `lag` in the equation's own t. For one row over (lag), all names begin with that of the row.
    Memory: 8 n_times (n_times + max_lag) bytes a row, and all times of a chunk's paths while it runs. Raises InputError.

    >>> Autocovariance(max_lag=20).row is None
    True
    """

    max_lag: int | None = None
    row: str | None = None

    def __post_init__(self) -> None:
        if self.max_lag is not None:
            check_integer(self.max_lag, "max_lag", 0)

    def _rows(self, names: tuple[str, ...]) -> slice:
        if self.row is None:
            return slice(0, len(names))
        if self.row not in names:
            raise InputError("row", self.row, "one of " + ", ".join(names))
        return slice(names.index(self.row), names.index(self.row) + 1)

    def start(self, times: NDArray[np.float64], names: tuple[str, ...], chunk: int) -> State:
        n, gaps = len(times), np.diff(times)
        if not 2 <= n <= _MOST or np.ptp(gaps) > 1e-6 * gaps.min() + 4.0 * np.spacing(np.abs(times).max()):
            raise InputError("times", f"{n} times", f"2 to {_MOST} equally spaced ones, for an Autocovariance")
        if self.max_lag is not None and self.max_lag >= n:
            raise InputError("max_lag", self.max_lag, f"a whole number from 0 to {n - 1}, as there are {n} times")
        lags = n if self.max_lag is None else self.max_lag + 1
        rows = self._rows(names)
        shape = (rows.stop - rows.start,)
        sizes = {"origin": (n,), "mean": (n,), "products": (n, n), "totals": (lags,), "squares": (lags,), "with_first": (lags,)}
        sums = {name: np.zeros(shape + size) for name, size in (sizes | {"crossed": (lags, n)}).items()}
        return leaf(chunk, {"count": np.zeros(()), "first_row": np.array(rows.start)} | sums)

    def add(self, state: State, first_time: int, values: NDArray[np.float64], n_active: int) -> None:
        first, (_, rows, n) = int(state["first_row"][0]), state["origin"].shape
        if "values" not in state:  # the chunk's paths, until their last time is there
            state["values"], state["good"] = np.empty((rows, n, n_active)), np.full(n_active, True)
        flat = values.transpose(2, 1, 0, 3).reshape(values.shape[2], values.shape[1], -1)[..., :n_active]
        state["good"] &= np.isfinite(flat).all(axis=(0, 1))
        state["values"][:, first_time : first_time + values.shape[1]] = flat[first : first + rows]

    @one_blas_thread()
    def add_extras(self, state: State, extras: Extras, n_active: int) -> None:
        x = state.pop("values")[..., state.pop("good")]
        state["count"] = np.array([float(x.shape[2])])
        for i, path in enumerate(x if x.shape[2] else ()):
            origin = path[:, 0].copy()
            u = path - origin[:, None]
            mean = u.mean(axis=1)
            u -= mean[:, None]
            rest = u.mean(axis=1)  # what rounding left over
            u -= rest[:, None]
            n, lags = len(u), state["totals"].shape[-1]
            own = np.stack([(u[: n - lag] * u[lag:]).mean(axis=0) for lag in range(lags)])
            found = {"origin": origin, "mean": mean + rest, "products": u @ u.T, "crossed": own @ u.T}
            found |= {"totals": own.sum(axis=1), "squares": (own * own).sum(axis=1), "with_first": own @ own[0]}
            for name, value in found.items():
                state[name][0, i] = value

    def merge(self, state: State, other: State) -> None:
        merge_nodes(state, other, join)

    def variables(self, state: State, times: NDArray[np.float64], names: tuple[str, ...]) -> Variables:
        moments = total(state, join)
        n, totals = moments["count"], moments["totals"]
        lags = totals.shape[-1]
        with np.errstate(all="ignore"):
            spread = (moments["squares"] - totals**2 / n) / (n - 1)
            covariances = moments["products"] / (n - 1)
            pairs = np.stack([_pair_products(covariances, lag) for lag in range(lags)], axis=-1)
            squares = np.diagonal(covariances, axis1=1, axis2=2)
            count = squares.shape[1] - np.arange(lags)
            before, after = np.cumsum(squares, axis=1)[:, count - 1], np.cumsum(squares[:, ::-1], axis=1)[:, count - 1]
            covariance = intervals.mean_covariance(totals, spread, pairs, np.sqrt(before * after) / count, n)
            ratio = totals / totals[:, :1]
            crossed = (moments["with_first"] - totals * totals[:, :1] / n) / (n - 1)
            linear = spread - 2.0 * ratio * crossed + ratio**2 * spread[:, :1]
            linear[:, 0] = np.where(np.isnan(linear[:, 0]), np.nan, 0.0)  # not what rounding leaves
            correlation = intervals.mean_correlation(ratio, np.maximum(linear, 0.0) * ((n - 1) / totals[:, :1]) ** 2, n)
        prefix = "" if self.row is None else f"{self.row}_"
        axis = f"{prefix}lag"
        dims: tuple[str, ...] = ("row", axis)
        if self.row is not None:
            dims = (axis,)
            covariance, correlation = (Estimate(*(part[0] for part in one)) for one in (covariance, correlation))
        lag = np.arange(lags) * ((times[-1] - times[0]) / (len(times) - 1))
        table: Variables = {axis: ((axis,), lag, {"units": "the equation's own t", "long_name": "lag"})}
        for name, one, unit in (("autocovariance", covariance, "unit of row, squared"), ("autocorrelation", correlation, "1")):
            table |= {key: (dims, values, {"units": unit}) for key, values in one.named(prefix + name).items()}
        return table if self.row is not None else table | {"row": (("row",), np.array(names), {})}


def _pair_products(c: NDArray[np.float64], lag: int) -> Any:
    """The average over t and t' of c(t, t') c(t + lag, t' + lag) + c(t, t' + lag) c(t', t + lag), for each row."""
    n = c.shape[-1] - lag
    one = c[:, :n, lag:]
    return (c[:, :n, :n] * c[:, lag:, lag:] + one * one.transpose(0, 2, 1)).mean(axis=(1, 2))


def join(low: State, high: State) -> State:
    """The sums of both sets of paths, about their common mean."""
    n = np.maximum(low["count"] + high["count"], 1.0)
    origin = low["origin"] if low["count"] else high["origin"]
    with np.errstate(all="ignore"):
        both = low["count"] and high["count"]
        gap = (high["origin"] - low["origin"] if both else 0.0) + (high["mean"] - low["mean"])
        part = high["count"] / n
        below, above = _shifted(low, -part * gap), _shifted(high, (low["count"] / n) * gap)
        sums = {name: below[name] + above[name] for name in below}
        kept = {"count": low["count"] + high["count"], "first_row": low["first_row"]}
        return kept | {"origin": origin, "mean": low["mean"] + part * gap} | sums


def _shifted(s: State, a: NDArray[np.float64]) -> State:
    """Sums for the deviations x + a, a (rows, times), from those for x: a path's averages u change by g . x + c."""
    count, lags, n = s["count"], s["totals"].shape[-1], a.shape[1]
    g = np.zeros((*a.shape[:1], lags, n))
    c = np.empty((*a.shape[:1], lags))
    for lag in range(lags):
        g[:, lag, : n - lag] += a[:, lag:]
        g[:, lag, lag:] += a[:, : n - lag]
        g[:, lag] /= n - lag
        c[:, lag] = (a[:, : n - lag] * a[:, lag:]).mean(axis=1)
    moved = g @ s["products"]
    totals = s["totals"] + count * c

    def product(name: str, first: Any) -> Any:
        """Sums of u_l u_m, m = l or 0."""
        crossed = (g[:, first] * s["crossed"]).sum(axis=2) + (g * s["crossed"][:, first]).sum(axis=2)
        linear = c[:, first] * s["totals"] + c * s["totals"][:, first]
        return s[name] + crossed + linear + (moved * g[:, first]).sum(axis=2) + count * c * c[:, first]

    return {
        "products": s["products"] + count * a[:, :, None] * a[:, None, :],
        "totals": totals,
        "squares": product("squares", slice(None)),
        "with_first": product("with_first", slice(0, 1)),
        "crossed": s["crossed"] + moved + totals[:, :, None] * a[:, None, :],
    }
