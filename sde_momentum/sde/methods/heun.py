"""Stochastic Heun: the trapezoidal rule in drift and noise, to the Stratonovich solution."""

from __future__ import annotations

from typing import ClassVar

from .base import Method


class Heun(Method):
    """Stochastic Heun: X' = X_n + a h + b dW; X_{n+1} = X_n + (a + a') h / 2 + (b + b') dW / 2.

    Strong order 1 for commutative noise, as scalar noise or b_i of x_i and t alone; 1/2 in general.
    """

    name = "heun"
    source = "Rümelin 1982, SIAM J. Numer. Anal. 19"
    strong_order: ClassVar[float | None] = 1.0
    weak_order = 1.0
    drift_order = 2
    interpretations = ("stratonovich",)
    step = """
    a* = drift(x*, t, p)
    b* = diffusion(x*, t, p)
    y@ = x@ + a@ * h + (b.dw)@
    c* = drift(y*, t + h, p)
    d* = diffusion(y*, t + h, p)
    new@ = x@ + 0.5 * (a@ + c@) * h + 0.5 * ((b.dw)@ + (d.dw)@)
    """
