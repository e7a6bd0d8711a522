"""Checks of record times, with the steps that lead to them, and of seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError, check, check_positive

Array = NDArray[np.float64]


def check_times(times: ArrayLike, step: float, t0: float = 0.0) -> tuple[Array, NDArray[np.int64]]:
    """Record times on the grid t0, t0 + step, ..., and the number of steps from t0 to each.

    >>> check_times([0.2, 0.5], step=0.1)[1]
    array([2, 5])
    """
    allowed = f"increasing times >= t0 = {t0:g}, each a whole number of steps of {step:g} after it"
    instants = _increasing(times, t0, allowed)
    rounding = 4.0 * np.spacing(np.maximum(np.abs(instants), abs(t0))) / step
    if rounding[-1] > 0.01:
        raise InputError("t0", t0, f"a clock that resolves steps of {step:g}: one that begins near 0")
    ratio = (instants - t0) / step
    steps = np.rint(ratio)
    # times such as 0.1 * 3 are off by rounding; a real mismatch is far larger than a millionth of a step
    if np.any(np.abs(ratio - steps) > 1e-6 + rounding) or np.any(np.diff(steps) <= 0):
        raise InputError("times", times, allowed)
    return instants, steps.astype(np.int64)


def fit_steps(times: ArrayLike, step: float) -> tuple[Array, NDArray[np.int64], Array]:
    """Record times >= 0; the number of equal steps from each to the next (from 0 to the first), and their size, at most `step`.

    >>> fit_steps([0.25, 1.0], step=0.5)[1:]
    (array([1, 2]), array([0.25 , 0.375]))
    """
    instants = _increasing(times, 0.0, "a 1-D array of increasing numbers >= 0")
    gaps = np.diff(instants, prepend=0.0)
    n_steps = np.ceil(gaps / float(check_positive(step, "step")) * (1 - 1e-12)).astype(np.int64)
    return instants, n_steps, gaps / np.maximum(n_steps, 1)


def _increasing(times: ArrayLike, least: float, allowed: str) -> Array:
    instants = np.atleast_1d(check("times", times, lambda t: t >= least, allowed))
    if instants.ndim != 1 or instants.size == 0 or np.any(np.diff(instants) <= 0):
        raise InputError("times", times, allowed)
    return instants


def check_seeds(seeds: ArrayLike) -> NDArray[np.integer[Any]]:
    """Seeds, one for each run: whole numbers >= 0, (n_seed,)."""
    labels = np.atleast_1d(np.asarray(seeds))
    if labels.ndim != 1 or labels.size == 0 or not np.issubdtype(labels.dtype, np.integer) or np.any(labels < 0):
        raise InputError("seeds", seeds, "a 1-D array of whole numbers >= 0")
    return labels
