"""Convergence time: when a metric falls below a fraction of its initial value for good."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import by_annotations
from .errors import InputError, check

Floats = NDArray[np.float64]


def check_fraction(value: ArrayLike, argument: str = "fraction") -> Floats:
    """Targets as fractions of a metric's initial value: in (0, 1)."""
    return check(argument, value, lambda x: (x > 0) & (x < 1), "numbers in (0, 1)")


@by_annotations
def convergence_time(values: ArrayLike, times: ArrayLike, fraction: float = 0.1) -> Floats:
    """Time after which each series stays below `fraction` of its first value, up to its last record.

    Between the last record above that level and the next one the logarithm of the metric is taken as linear in time.

    Args:
        values: the metric, (..., n_time), > 0 at the start; NaN counts as above (a diverged run)
        times: record times, in any unit, increasing, (..., n_time) or (n_time,)
        fraction: target x in (0, 1)

    Returns:
        (...), in the unit of `times`; inf where the last record is still above.

    Raises:
        InputError: for a fraction out of range or shapes that do not match.

    >>> float(convergence_time([1.0, 0.5, 0.05, 0.01], [0, 1, 2, 3], fraction=0.1).round(3))
    1.699
    """
    series = np.asarray(values, dtype=np.float64)
    target = check_fraction(fraction)
    if series.ndim == 0 or series.shape[-1] == 0:
        raise InputError("values", f"shape {series.shape}", "shape (..., n_time)")
    try:
        instants = np.broadcast_to(np.asarray(times, dtype=np.float64), series.shape)
    except ValueError:
        raise InputError("times", f"shape {np.shape(times)}", f"a shape that broadcasts to {series.shape}") from None
    return settle_time(series, instants, target * series[..., 0])


def settle_time(series: Floats, instants: Floats, level: ArrayLike) -> Floats:
    """Time after which each series stays below `level`, as `convergence_time`, without checks.

    Args:
        series: (..., n_time), > 0; NaN counts as above
        instants: record times, increasing, (..., n_time)
        level: > 0, (...)

    Returns:
        (...); the first record time where the series is never above, inf where the last record is.

    >>> settle_time(np.array([0.5, 2.0, 0.5]), np.array([0.0, 1.0, 2.0]), 1.0).item()
    1.5
    """
    limit = np.asarray(level, dtype=np.float64)[..., None]
    above = ~(series < limit)
    n = series.shape[-1]
    last = n - 1 - np.argmax(above[..., ::-1], axis=-1)
    after = np.minimum(last + 1, n - 1)

    def at(array: Floats, index: NDArray[np.intp]) -> Floats:
        return np.take_along_axis(array, index[..., None], axis=-1)[..., 0]

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        high, low = (np.log(at(series, i) / limit[..., 0]) for i in (last, after))
        share = np.where(np.isfinite(high) & np.isfinite(low) & (high > low), high / (high - low), 1.0)
    start, end = at(instants, last), at(instants, after)
    found = np.where(last == n - 1, np.inf, start + share * (end - start))
    return np.where(above.any(axis=-1), found, instants[..., 0])
