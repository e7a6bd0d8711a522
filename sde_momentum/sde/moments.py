"""Streaming moments: central sums per block, merged pairwise in a fixed order (Pébay 2008, Sandia SAND2008-6212)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


# Sums may be regrouped here (and only here) so that they run in SIMD lanes: the compiled order is fixed all the same.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _central_sums(row: Any, good: Any, n: float) -> Any:
    """Mean and sums of the 2nd, 3rd and 4th powers of the deviations of the n lanes with good[k] = 1."""
    total = 0.0
    for k in range(row.shape[0]):
        total += row[k] if good[k] > 0.0 else 0.0
    mean = total / n
    m2, m3, m4 = 0.0, 0.0, 0.0
    for k in range(row.shape[0]):
        d = row[k] - mean if good[k] > 0.0 else 0.0
        m2 += d * d
        m3 += d * d * d
        m4 += (d * d) * (d * d)
    return mean, m2, m3, m4


@njit(cache=True, nogil=True, error_model="numpy")
def _merge(sums: Any, na: float, nb: float, mean: float, m2: float, m3: float, m4: float) -> None:
    """sums (4,) of na values <- those of na + nb values, the nb having the moments given (Pébay 2008)."""
    n = na + nb
    d = mean - sums[0]
    fa, fb = na / n, nb / n
    cross = d * d * na * fb
    sums[3] += m4 + cross * d * d * (fa * fa - fa * fb + fb * fb)
    sums[3] += 6.0 * d * d * (fa * fa * m2 + fb * fb * sums[1]) + 4.0 * d * (fa * m3 - fb * sums[2])
    sums[2] += m3 + cross * d * (fa - fb) + 3.0 * d * (fa * m2 - fb * sums[1])
    sums[1] += m2 + cross
    sums[0] += d * fb


@njit(cache=True, nogil=True, error_model="numpy")
def record(x: Any, n_active: int, count: Any, sums: Any, good: Any) -> None:
    """Add the first n_active lanes of x (dim, lanes) to count (1,) and sums (dim, 4); non-finite paths are left out."""
    for k in range(good.shape[0]):
        finite = 0.0
        for i in range(x.shape[0]):
            finite += x[i, k] * 0.0  # NaN if x is not finite
        good[k] = 1.0 if finite == 0.0 and k < n_active else 0.0
    n = 0.0
    for k in range(good.shape[0]):
        n += good[k]
    if n > 0.0:
        for i in range(x.shape[0]):
            mean, m2, m3, m4 = _central_sums(x[i], good, n)
            _merge(sums[i], count[0], n, mean, m2, m3, m4)
        count[0] += n


@njit(cache=True, nogil=True, error_model="numpy")
def merge_tasks(count: Any, sums: Any, other_count: Any, other_sums: Any) -> None:
    """count (times,), sums (times, dim, 4) <- merged with those of another task."""
    for t in range(count.shape[0]):
        if other_count[t] > 0.0:
            for i in range(sums.shape[1]):
                o = other_sums[t, i]
                _merge(sums[t, i], count[t], other_count[t], o[0], o[1], o[2], o[3])
            count[t] += other_count[t]


def statistics(count: NDArray[np.float64], sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Mean, unbiased variance and their standard errors, each (times, dim), from count (times,) and sums (times, dim, 4).

    se(mean)^2 = s^2 / n; se(s^2)^2 = (m4 - (n - 3) / (n - 1) s^4) / n with m4 the 4th central moment
    (Mood, Graybill, Boes 1974, ch. VI). NaN where fewer than two (four for the last) paths are left.
    """
    n = count[:, None]
    with np.errstate(all="ignore"):  # too few paths, or fourth powers that overflow, leave NaN or inf: as documented
        mean = np.where(n >= 1, sums[..., 0], np.nan)
        variance = np.where(n >= 2, sums[..., 1] / (n - 1), np.nan)
        spread = sums[..., 3] / n - (n - 3) / (n - 1) * variance**2
        variance_se = np.where(n >= 4, np.sqrt(np.maximum(spread, 0.0) / n), np.nan)
        return {"mean": mean, "variance": variance, "mean_se": np.sqrt(variance / n), "variance_se": variance_se}
