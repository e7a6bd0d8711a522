"""Checks of what the reduced dynamics have in common: the training problem and the noise strength kappa."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import InputError, check_positive
from ..problems.problem import Array, Problem


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
