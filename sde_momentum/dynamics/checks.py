"""Check of kappa = eta^2 c / (4 delta^3), the strength of the energies' force [theory: Critical limit, eq. 7.1]."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import InputError, check_positive
from ..problems.problem import Array


def check_kappa(kappa: ArrayLike) -> Array:
    """kappa = eta^2 c / (4 delta^3) > 0, (n_kappa,)."""
    strengths = np.atleast_1d(check_positive(kappa, "kappa"))
    if strengths.ndim != 1:
        raise InputError("kappa", f"shape {strengths.shape}", "shape (n_kappa,) or one number")
    return strengths
