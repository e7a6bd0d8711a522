"""Splittings of the underdamped Langevin equation into parts that are each solved exactly: OBABO and BAOAB.

B is half a step of force, A motion, O friction and noise.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..equation import Equation
from ..langevin import Langevin
from .base import Method


class _Splitting(Method):
    """What both have in common: the step of friction and noise, and the bound of stability, that of the leap-frog."""

    strong_order: ClassVar[float | None] = None
    weak_order = 2.0
    equation = Langevin
    share: ClassVar[float]
    """The share of the step that each O takes."""

    @classmethod
    def unstable(cls, equation: Equation, jacobian: NDArray[np.float64], h: float) -> bool:
        assert isinstance(equation, Langevin)
        return bool(np.any(h * h * -np.linalg.eigvals(np.linalg.solve(equation.mass_matrix, jacobian)).real >= 4.0))

    @classmethod
    def constants(cls, equation: Equation, h: float) -> dict[str, NDArray[np.float64]]:
        assert isinstance(equation, Langevin)
        return dict(zip(("keep", "warm", "light"), equation.friction_step(cls.share * h), strict=True))


class OBABO(_Splitting):
    """OBABO: half a step of friction and noise, one of velocity Verlet, half a step of friction and noise.

    Of weak order 2. For a harmonic force -k q, mass 1 and h < 2 / sqrt(k) the stationary variances are T exactly for the
    velocity and T / (k (1 - k h^2 / 4)) for the position: what the leap-frog in the middle conserves.
    """

    name = "obabo"
    source = "Bussi, Parrinello 2007, Phys. Rev. E 75; Leimkuhler, Matthews 2015, Molecular Dynamics, sec. 7.3"
    draws = 2
    share = 0.5
    step = """
    f* = force(q*, t, p)
    u@ = (keep.v)@ + (warm.xi)@ + 0.5 * h * (light.f)@
    new_q@ = q@ + h * u@
    g* = force(new_q*, t + h, p)
    w@ = u@ + 0.5 * h * (light.g)@
    new_v@ = (keep.w)@ + (warm.zeta)@
    """


class BAOAB(_Splitting):
    """BAOAB: half steps of force and motion around one of friction and noise; for averages over positions.

    Of weak order 2. For a harmonic force -k q, mass 1 and h < 2 / sqrt(k) the stationary variances are T / k exactly for the
    position and T (1 - k h^2 / 4) for the velocity. One number a step and coordinate.
    """

    name = "baoab"
    source = "Leimkuhler, Matthews 2013, Appl. Math. Res. Express 2013, 34"
    share = 1.0
    step = """
    f* = force(q*, t, p)
    u@ = v@ + 0.5 * h * (light.f)@
    m@ = q@ + 0.5 * h * u@
    w@ = (keep.u)@ + (warm.xi)@
    new_q@ = m@ + 0.5 * h * w@
    g* = force(new_q*, t + h, p)
    new_v@ = w@ + 0.5 * h * (light.g)@
    """
