"""Mean and variance with errors and intervals, from power sums about a shift; sets of paths are merged without loss of digits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import intervals
from .compile import njit


@njit(cache=True, nogil=True, error_model="numpy")
def good_lanes(x: Any, n_active: int, good: Any) -> float:
    """good (lanes,) <- 1 for the first n_active lanes whose rows of x (rows, lanes) are finite, else 0; returns their number."""
    for k in range(good.shape[0]):
        good[k] = 0.0
    for i in range(x.shape[0]):
        for k in range(good.shape[0]):
            good[k] += x[i, k] * 0.0  # NaN if x is not finite
    n = 0.0
    for k in range(good.shape[0]):
        good[k] = 1.0 if good[k] == 0.0 and k < n_active else 0.0
        n += good[k]
    return n


# Sums may be regrouped here (and only here) so that they run in SIMD lanes: the compiled order is fixed all the same.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _power_sums(row: Any, shift: float, sums: Any) -> None:
    """sums (4,) <- sum of (x - shift)^1..4."""
    s1, s2, s3, s4 = 0.0, 0.0, 0.0, 0.0
    for n in range(row.shape[0]):
        d = row[n] - shift
        s1 += d
        s2 += d * d
        s3 += d * d * d
        s4 += (d * d) * (d * d)
    sums[0], sums[1], sums[2], sums[3] = s1, s2, s3, s4


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _power_sums_of(row: Any, shift: float, good: Any, sums: Any) -> None:
    """The same over the paths with good[n] = 1."""
    s1, s2, s3, s4 = 0.0, 0.0, 0.0, 0.0
    for n in range(row.shape[0]):
        d = row[n] - shift if good[n] > 0.0 else 0.0
        s1 += d
        s2 += d * d
        s3 += d * d * d
        s4 += (d * d) * (d * d)
    sums[0], sums[1], sums[2], sums[3] = s1, s2, s3, s4


@njit(cache=True, nogil=True, error_model="numpy")
def add(values: Any, n_active: int, count: Any, shift: Any, sums: Any) -> None:
    """Add values (blocks, times, rows, lanes), the first n_active paths, to count (times,) and sums (times, rows, 4).

    `shift` (times, rows) is set by the first path that is finite. Paths that are not finite at a time are left out there.
    """
    n_rows, lanes = values.shape[2], values.shape[3]
    good, here = np.empty(lanes), np.empty((n_rows, 4))
    for block in range(values.shape[0]):
        n_active_here = min(lanes, n_active - block * lanes)
        for t in range(values.shape[1]):
            rows = values[block, t]
            if count[t] == 0.0 and good_lanes(rows, n_active_here, good) > 0.0:
                first = 0
                while good[first] == 0.0:
                    first += 1
                for i in range(n_rows):
                    shift[t, i] = rows[i, first]
            whole = n_active_here == lanes
            if whole:
                finite = 0.0
                for i in range(n_rows):
                    _power_sums(rows[i], shift[t, i], here[i])
                    finite += here[i, 0] * 0.0
                whole = finite == 0.0
            n = float(lanes)
            if not whole:
                n = good_lanes(rows, n_active_here, good)
                for i in range(n_rows):
                    _power_sums_of(rows[i], shift[t, i], good, here[i])
            count[t] += n
            for i in range(n_rows):
                for power in range(4):
                    sums[t, i, power] += here[i, power]


@njit(cache=True, nogil=True, error_model="numpy")
def centre(count: Any, shift: Any, sums: Any) -> None:
    """sums (times, rows, 4) about the shift -> the mean, and the sums of powers 2, 3, 4 of x - mean."""
    for t in range(count.shape[0]):
        if count[t] == 0.0:
            continue
        for i in range(sums.shape[1]):
            s1, s2, s3, s4 = sums[t, i]
            e = s1 / count[t]  # the mean's distance from the shift
            sums[t, i, 0] = shift[t, i] + e
            sums[t, i, 1] = s2 - e * s1
            sums[t, i, 2] = s3 - 3.0 * e * s2 + 2.0 * e * e * s1
            sums[t, i, 3] = s4 - 4.0 * e * s3 + 6.0 * e * e * s2 - 3.0 * e * e * e * s1


@njit(cache=True, nogil=True, error_model="numpy")
def merge(count: Any, central: Any, other_count: Any, other: Any) -> None:
    """count (times,), central (times, rows, 4) <- those of both sets of paths (Pébay 2008, Sandia SAND2008-6212)."""
    for t in range(count.shape[0]):
        na, nb = count[t], other_count[t]
        if nb == 0.0:
            continue
        n = na + nb
        fa, fb = na / n, nb / n
        for i in range(central.shape[1]):
            c, o = central[t, i], other[t, i]
            if na == 0.0:
                c[:] = o
                continue
            d = o[0] - c[0]
            cross = d * d * na * fb
            c[3] += o[3] + cross * d * d * (fa * fa - fa * fb + fb * fb)
            c[3] += 6.0 * d * d * (fa * fa * o[1] + fb * fb * c[1]) + 4.0 * d * (fa * o[2] - fb * c[2])
            c[2] += o[2] + cross * d * (fa - fb) + 3.0 * d * (fa * o[1] - fb * c[1])
            c[1] += o[1] + cross
            c[0] += d * fb
        count[t] = n


def statistics(count: NDArray[np.float64], central: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Mean and variance with errors and intervals, each (times, rows), from count (times,) and central (times, rows, 4)."""
    n, squares, fourths = count[:, None], np.maximum(central[..., 1], 0.0), central[..., 3]
    variance = intervals.covariance(squares, squares, squares, fourths, n)
    mean = intervals.mean(np.where(n >= 1, central[..., 0], np.nan), variance.value, n)
    return mean.named("mean") | variance.named("variance")
