"""The covariance matrix of all rows at each time, unbiased, with standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import intervals
from ...core.compile import njit
from ...core.intervals import Estimate
from ...core.moments import good_lanes
from .base import Observer, State, Variables, leaf, merge_nodes, total


@dataclass(frozen=True)
class Covariance(Observer):
    """Covariance matrix at each time of all components and functionals, with standard errors.

    s_xy = sum (x - mean x)(y - mean y) / (n - 1) over the n paths that are not faulty.

    Standard error and interval: `core.intervals.covariance`.

    A chunk's moments are taken about its own mean, in two passes, and joined as Pebay does (2008, Sandia
    SAND2008-6212); means are kept relative to one of the values, so that a mean far from 0 loses no digits.

    Variables over (time, row, row_): `covariance` in (unit of row) x (unit of row_), NaN for n < 2, `covariance_se`, NaN
    for n < 4, `covariance_low` and `covariance_high`, a 95 % interval; not finite where fourth powers overflow.
    Memory: 8 (3 rows^2 + 2 rows + 1) bytes per time, in each of at most log2(chunks) + 1 nodes.
    """

    def start(self, times: NDArray[np.float64], names: tuple[str, ...], chunk: int) -> State:
        n, rows = len(times), len(names)
        vectors = {name: np.zeros((n, rows)) for name in ("origin", "mean")}  # the mean is origin + mean
        matrices = {name: np.zeros((n, rows, rows)) for name in ("m11", "m21", "m22")}
        return leaf(chunk, {"count": np.zeros(n)} | vectors | matrices)

    def add(self, state: State, first_time: int, values: NDArray[np.float64], n_active: int) -> None:
        slab = slice(first_time, first_time + values.shape[1])
        parts = [state[name][0, slab] for name in ("count", "origin", "mean", "m11", "m21", "m22")]
        _central_sums(values, n_active, *parts)

    def merge(self, state: State, other: State) -> None:
        merge_nodes(state, other, join)

    def variables(self, state: State, times: NDArray[np.float64], names: tuple[str, ...]) -> Variables:
        dims, attrs = ("time", "row", "row_"), {"units": "unit of row x unit of row_"}
        found = statistics(total(state, join)).named("covariance")
        names_of: Variables = {"row": (("row",), np.array(names), {}), "row_": (("row_",), np.array(names), {})}
        return names_of | {name: (dims, values, attrs) for name, values in found.items()}


def statistics(moments: State) -> Estimate:
    """Covariances (times, rows, rows) from the sums of one node."""
    squares = np.diagonal(moments["m11"], axis1=1, axis2=2)
    n = moments["count"][:, None, None]
    return intervals.covariance(moments["m11"], squares[:, :, None], squares[:, None, :], moments["m22"], n)


def join(low: State, high: State) -> State:
    """The sums of both sets of paths, about their common mean."""
    n_low, n_high = low["count"], high["count"]
    n = np.maximum(n_low + n_high, 1.0)  # no path at all: everything stays 0
    some_low, some_high = (n_low > 0)[:, None], (n_high > 0)[:, None]
    origin = np.where(some_low, low["origin"], high["origin"])
    with np.errstate(all="ignore"):
        gap = np.where(some_low & some_high, high["origin"] - low["origin"], 0.0) + (high["mean"] - low["mean"])
        part = (n_high / n)[:, None]
        below, above = _shifted(low, -part * gap), _shifted(high, (n_low / n)[:, None] * gap)
        sums = {name: below[name] + above[name] for name in ("m11", "m21", "m22")}
        return {"count": n_low + n_high, "origin": origin, "mean": low["mean"] + part * gap} | sums


def _shifted(s: State, a: NDArray[np.float64]) -> State:
    """Sums of (u + a_x)^i (v + a_y)^j, u and v the deviations in x and y, from those of u^i v^j; a (times, rows)."""
    n, ax, ay = s["count"][:, None, None], a[:, :, None], a[:, None, :]
    square = np.diagonal(s["m11"], axis1=1, axis2=2)
    m20, m02, m11, m21, m12 = square[:, :, None], square[:, None, :], s["m11"], s["m21"], s["m21"].transpose(0, 2, 1)
    return {  # grouped so that the matrices stay symmetric to the last bit
        "m11": m11 + n * (ax * ay),
        "m21": m21 + 2 * ax * m11 + ay * m20 + n * ax**2 * ay,
        "m22": s["m22"] + (2 * (ay * m21 + ax * m12) + (ay**2 * m20 + ax**2 * m02) + 4 * (ax * ay) * m11 + n * (ax * ay) ** 2),
    }


# Sums may be regrouped here (and only here) so that they run in SIMD lanes: the compiled order is fixed all the same.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _products(u: Any, v: Any) -> Any:
    """Sums of u, u v, u^2 v, u v^2 and u^2 v^2."""
    s10, s11, s21, s12, s22 = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(u.shape[0]):
        w = u[k] * v[k]
        s10 += u[k]
        s11 += w
        s21 += w * u[k]
        s12 += w * v[k]
        s22 += w * w
    return s10, s11, s21, s12, s22


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _sum(u: Any) -> float:
    s = 0.0
    for k in range(u.shape[0]):
        s += u[k]
    return s


@njit(cache=True, nogil=True, error_model="numpy")
def _central_sums(values: Any, n_active: int, count: Any, origin: Any, mean: Any, m11: Any, m21: Any, m22: Any) -> None:
    """count (slab,), origin and mean (slab, rows), sums of u v, u^2 v, u^2 v^2 (slab, rows, rows) of the chunk, each time."""
    blocks, slab, rows, lanes = values.shape
    good = np.empty((blocks, lanes))
    u = np.empty((rows, lanes))
    rest = np.empty(rows)
    for t in range(slab):
        n = 0.0
        for b in range(blocks):
            found = good_lanes(values[b, t], n_active - b * lanes, good[b])
            if n == 0.0 and found > 0.0:
                first = np.argmax(good[b])
                for i in range(rows):
                    origin[t, i] = values[b, t, i, first]
            n += found
            for i in range(rows):
                a = origin[t, i]
                for k in range(lanes):
                    u[i, k] = values[b, t, i, k] - a if good[b, k] > 0.0 else 0.0
                mean[t, i] += _sum(u[i])
        count[t] = n
        if n == 0.0:
            continue
        for i in range(rows):
            mean[t, i] /= n
            rest[i] = 0.0
        for b in range(blocks):
            for i in range(rows):
                a, c = origin[t, i], mean[t, i]
                for k in range(lanes):
                    u[i, k] = (values[b, t, i, k] - a) - c if good[b, k] > 0.0 else 0.0
            for i in range(rows):
                for j in range(i + 1):
                    s10, s11, s21, s12, s22 = _products(u[i], u[j])
                    m11[t, i, j] += s11
                    m21[t, i, j] += s21
                    m22[t, i, j] += s22
                    if i != j:
                        m21[t, j, i] += s12
                    else:
                        rest[i] += s10
        for i in range(rows):
            mean[t, i] += rest[i] / n  # what rounding left over in the first pass
            for j in range(i):
                m11[t, j, i] = m11[t, i, j]
                m22[t, j, i] = m22[t, i, j]
