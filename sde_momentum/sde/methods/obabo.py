"""OBABO: a splitting of the underdamped Langevin equation into parts that are each solved exactly."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..equation import Equation
from ..langevin import Langevin
from .base import Method


class OBABO(Method):
    """OBABO: half a step of friction and noise (O), half a step of force (B), a step of motion (A), then B and O again.

    Of weak order 2. For a harmonic force -k q and h < 2 / sqrt(k) the stationary variances are T exactly for the
    velocity and T / (k (1 - k h^2 / 4)) for the position: what the leap-frog in the middle conserves.
    """

    name = "obabo"
    source = "Bussi, Parrinello 2007, Phys. Rev. E 75; Leimkuhler, Matthews 2015, Molecular Dynamics, sec. 7.3"
    strong_order: ClassVar[float | None] = None
    weak_order = 2.0
    equation = Langevin
    draws = 2
    step = """
    f* = force(q*, t, p)
    u@ = keep * v@ + warm * xi@ + 0.5 * h * f@
    new_q@ = q@ + h * u@
    g* = force(new_q*, t + h, p)
    new_v@ = keep * (u@ + 0.5 * h * g@) + warm * zeta@
    """

    @classmethod
    def unstable(cls, jacobian: NDArray[np.float64], h: float) -> bool:
        return bool(np.any(h * h * -np.linalg.eigvals(jacobian).real >= 4.0))

    @classmethod
    def constants(cls, equation: Equation, h: float) -> dict[str, NDArray[np.float64]]:
        assert isinstance(equation, Langevin)
        decay = np.exp(-0.5 * h * equation.friction)
        return {"keep": np.array(decay), "warm": np.array(np.sqrt(-np.expm1(-h * equation.friction) * equation.temperature))}
