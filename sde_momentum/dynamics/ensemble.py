"""What is asked of an ensemble, checked: of which problem, which seeds, how strong the noise, and when to record."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import InputError, check_non_negative, check_positive
from ..problems.problem import Array, Problem


def check_times(times: ArrayLike, step: float) -> tuple[Array, NDArray[np.int64], Array]:
    """Record times >= 0, increasing; the number of steps before each, and their size, at most `step`."""
    given = np.atleast_1d(check_non_negative(times, "times"))
    if given.ndim != 1 or given.size == 0 or np.any(np.diff(given) <= 0):
        raise InputError("times", times, "a 1-D array of increasing numbers >= 0")
    gaps = np.diff(given, prepend=0.0)
    n_steps = np.ceil(gaps / float(check_positive(step, "step")) * (1 - 1e-12)).astype(np.int64)
    return given, n_steps, gaps / np.maximum(n_steps, 1)


def check_seeds(seeds: ArrayLike) -> NDArray[np.integer[Any]]:
    """Whole numbers >= 0, (n_seed,)."""
    labels = np.atleast_1d(np.asarray(seeds))
    if labels.ndim != 1 or labels.size == 0 or not np.issubdtype(labels.dtype, np.integer) or np.any(labels < 0):
        raise InputError("seeds", seeds, "a 1-D array of whole numbers >= 0")
    return labels


def check_kappa(kappa: ArrayLike) -> Array:
    """kappa = eta^2 c / (4 delta^3) > 0, (n_kappa,)."""
    strengths = np.atleast_1d(check_positive(kappa, "kappa"))
    if strengths.ndim != 1:
        raise InputError("kappa", f"shape {strengths.shape}", "shape (n_kappa,) or one number")
    return strengths


def check_problem(problem: object) -> None:
    """A problem of the library's kind."""
    if not isinstance(problem, Problem):
        raise InputError("problem", problem, "a Problem, such as MatrixSensing or Valley")
