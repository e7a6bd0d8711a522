"""Where momentum begins to matter for averages of gradients: the predicted time to the target, and the 1 - beta at which a time
departs from that without momentum [theory: Averages of gradients]."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

import sde_momentum as sm

Floats = NDArray[np.float64]

TARGET = 0.1
"""Share of the start to which training has to come."""
N_RESAMPLES = 200


@cache
def linear_time(scaled: float, *, adam: bool, decay: float = 0.0, rate: float = 5e-4, fraction: float = TARGET) -> float:
    """Time to the target, over that without momentum, of a linear drift at 1 - beta = 4 k0 `scaled`.

        p <- p + d (b k0 theta - p),   theta <- theta - p - decay k0 theta

    with d = delta, b = 1 - exp(-delta k) for dampened momentum that starts at rest, d and b of (12.9) for Adam.
    `rate`: k0, small.
    """
    delta = 4 * rate * scaled
    theta, p, share, last, step = 1.0, 0.0, 0.0, 0, 0
    while max(abs(theta), abs(p) / rate) > 0.1 * fraction or step < 1 / rate:
        step += 1
        newest = delta / -np.expm1(step * np.log1p(-delta)) if adam else delta
        share += newest * (1 - share) + (0.5 * (newest - delta) * share if adam else 0.0)
        p += newest * (share * rate * theta - p)
        theta -= p + decay * rate * theta
        if abs(theta) >= fraction:
            last = step
    return (last + 0.5) * rate * (1 + decay) / -np.log(fraction)


def edges(delta: Floats, times: Floats, level: float) -> Floats:
    """1 - beta where times / times[0] first crosses the level behind the second entry: (n,), (n, ...) -> (...); NaN: nowhere."""
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample may not arrive: its time is infinite
        ratio = times[1:] / times[0] - level
        crossed = (ratio[1:] > 0) != (ratio[0] > 0)
        first = crossed.argmax(axis=0)
        low, high = (np.take_along_axis(ratio, (first + i)[None], axis=0)[0] for i in (1, 0))
        log = np.log(delta[1:])
        at = np.exp(log[first] + (log[first + 1] - log[first]) * high / (high - low))
    return np.where(crossed.any(axis=0), at, np.nan)


def edge_with_error(delta: Floats, times: Floats, level: float) -> tuple[float, float]:
    """The edge and its standard error, from times (n, 1 + n_resample)."""
    found = edges(delta, times, level)
    logs = np.log(found[1:][np.isfinite(found[1:])])
    return float(found[0]), float(found[0] * logs.std(ddof=1)) if len(logs) > (times.shape[1] - 1) // 2 else np.nan


def times_to_target(clock: NDArray[np.int64], values: Floats, seed: int) -> Floats:
    """Time after which |mean over runs| stays below the target, and those of resamples: (1 + N_RESAMPLES,)."""
    n_runs = values.shape[1]
    weights = np.random.default_rng([seed, 42]).multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=N_RESAMPLES) / n_runs
    means = np.concatenate([values.mean(axis=1)[None], weights @ values.T])
    return sm.convergence_time(np.abs(means) + 1e-300, clock, TARGET)
