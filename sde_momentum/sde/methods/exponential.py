"""Exponential Euler: the stiff linear part of the drift, given as a matrix, is stepped exactly."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from ..equation import SDE, Equation
from .base import Method
from .ornstein_uhlenbeck import transition


class ExponentialEuler(Method):
    """Exponential Euler: X_{n+1} = X_n + h phi(A h) a(X_n) + S b dW, phi(z) = (e^z - 1) / z, for a drift near A X, A = `linear`.

    S^2 = (1/h) int_0^h e^{A s} e^{A^T s} ds: so a linear drift A X has its exact mean with steps of any size, and its exact
    covariance too where b b^T is a multiple of 1, or A diagonal and the noise diagonal; the step is then stable for any h. What
    the drift has beside A X is stepped as by Euler-Maruyama, and with it the method has the orders of that one, strong order 1
    if the noise is additive; they hold for any A.
    """

    name = "exponential-euler"
    source = "Lord, Tambue 2013, IMA J. Numer. Anal. 33 (SETD1)"
    strong_order: ClassVar[float | None] = 0.5
    weak_order = 1.0
    interpretations = ("ito",)
    requires = "linear"
    step = """
    a* = drift(x*, t, p)
    b* = diffusion(x*, t, p)
    kick@ = (b.dw)@
    new@ = x@ + (gain.a)@ + (spread.kick)@
    """

    @classmethod
    def constants(cls, equation: Equation, h: float) -> dict[str, NDArray[np.float64]]:
        assert isinstance(equation, SDE)
        a, n = np.asarray(equation.linear, dtype=np.float64), equation.dim
        if a.ndim < 2:
            z = h * np.broadcast_to(a, (n,))
            return {"gain": h * _phi(z), "spread": np.sqrt(_phi(2.0 * z))}
        if np.array_equal(a, a.T):
            rates, basis = np.linalg.eigh(a)
            return {
                "gain": (basis * (h * _phi(h * rates))) @ basis.T,
                "spread": (basis * np.sqrt(_phi(2.0 * h * rates))) @ basis.T,
            }
        # the upper right block of the exponential of ((A, 1), (0, 0)) h
        gain = expm(h * np.block([[a, np.eye(n)], [np.zeros((n, 2 * n))]]))[:n, n:]
        _, covariance = transition(-a, np.eye(n), h)
        values, basis = np.linalg.eigh((covariance + covariance.T) / (2.0 * h))
        return {"gain": gain, "spread": (basis * np.sqrt(np.maximum(values, 0.0))) @ basis.T}

    @classmethod
    def unstable(cls, equation: Equation, jacobian: NDArray[np.float64], h: float) -> bool:
        gain = cls.constants(equation, h)["gain"]
        step = np.eye(len(jacobian)) + (gain if gain.ndim == 2 else np.diag(gain)) @ jacobian
        grows = np.any(np.abs(np.linalg.eigvals(step)) > 1.0 + 1e-9)
        return bool(grows and np.all(np.linalg.eigvals(jacobian).real < 0))


def _phi(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """(e^z - 1) / z."""
    return np.where(z == 0.0, 1.0, np.expm1(z) / np.where(z == 0.0, 1.0, z))
