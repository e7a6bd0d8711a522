"""Time to the target of the mean over many runs, with resamples of the runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import sde_momentum as sm

Floats = NDArray[np.float64]

N_RESAMPLES = 200


def mean_times(courses: Sequence[tuple[NDArray[np.int64], Floats]], fraction: float, seed: int) -> tuple[Floats, Floats]:
    """Steps after which the mean of a metric over the runs stays below a fraction of its start.

    Args:
        courses: n pairs (steps (n_time,), metric (n_run, n_time)), with the same runs in each
        fraction: of the start, in (0, 1)
        seed: of the resampling

    Returns:
        The times in steps, (n,), and those of the resamples, (N_RESAMPLES, n), the same for each course. A time is infinite where
        a run of the mean diverged.
    """
    n_seed = len(courses[0][1])
    rng = np.random.default_rng([seed, 30])
    weights = rng.multinomial(n_seed, np.full(n_seed, 1 / n_seed), size=N_RESAMPLES) / n_seed
    times, resampled = [], []
    for clock, measured in courses:
        values = np.where(np.isfinite(measured), measured, np.inf)
        times.append(float(sm.convergence_time(values.mean(axis=0), clock, fraction)))
        finite = np.isfinite(values).all()
        means = weights @ values if finite else np.full((N_RESAMPLES, len(clock)), values.mean(axis=0))
        resampled.append(sm.convergence_time(means, clock, fraction))
    return np.array(times), np.stack(resampled, axis=1)
