"""Stochastic Runge-Kutta of strong order 1.5 for additive noise."""

from __future__ import annotations

from typing import ClassVar

from .base import Method


class SRA1(Method):
    """Rößler's SRA1, a stochastic Runge-Kutta method for additive noise:

        X' = X_n + (3/4) a h + (3/2) b(t + h) J,   X_{n+1} = X_n + (a + 2 a') h / 3 + b(t + h) dW + (b(t) - b(t + h)) J

    a' is taken at X' and t + 3 h / 4; J = (1/h) int (W_s - W_t) ds over the step = (dW + dU / sqrt 3) / 2, with dU
    independent of dW and of its law. Ito and Stratonovich are the same for additive noise.
    """

    name = "sra1"
    source = "Rößler 2010, SIAM J. Numer. Anal. 48, sec. 6.2"
    strong_order: ClassVar[float | None] = 1.5
    weak_order = 2.0
    drift_order = 2
    additive = True
    draws = 2
    step = """
    a* = drift(x*, t, p)
    b* = diffusion(x*, t, p)
    d* = diffusion(x*, t + h, p)
    mean@ = 0.5 * (dw@ + 0.57735026918962576 * du@)
    y@ = x@ + 0.75 * a@ * h + 1.5 * (d.mean)@
    c* = drift(y*, t + 0.75 * h, p)
    new@ = x@ + (a@ + 2.0 * c@) * (h / 3.0) + (d.dw)@ + (b.mean)@ - (d.mean)@
    """
