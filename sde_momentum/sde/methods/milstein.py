"""Milstein: Euler and the term of the second order in dW."""

from __future__ import annotations

from typing import ClassVar

from ..equation import SDE, Equation
from .base import Method

_GIVEN = """
slope* = diffusion_derivative(x*, t, p)
rise@ = slope@ * (dw@ * dw@ - h)
"""
# the cube root of the rounding error balances truncation and cancellation in a central difference
_DIFFERENCE = """
e@ = 6e-6 * (1.0 + abs(x@))
up@ = x@ + e@
down@ = x@ - e@
high* = diffusion(up*, t, p)
low* = diffusion(down*, t, p)
rise@ = (high@ - low@) / (2.0 * e@) * (dw@ * dw@ - h)
"""


class Milstein(Method):
    """X_{n+1} = X_n + a h + b dW + b b' (dW^2 - h) / 2, b' = ∂b_i/∂x_i, for diagonal noise."""

    name = "milstein"
    source = "Milstein 1974; Kloeden, Platen 1992, eq. 10.3.12"
    strong_order: ClassVar[float | None] = 1.0
    weak_order = 1.0
    interpretations = ("ito",)
    noises = ("diagonal",)
    step = """
    a* = drift(x*, t, p)
    b* = diffusion(x*, t, p)
    new@ = x@ + a@ * h + (b.dw)@ + 0.5 * (b.rise)@
    """

    @classmethod
    def text(cls, equation: Equation) -> str:
        given = isinstance(equation, SDE) and equation.diffusion_derivative is not None
        return (_GIVEN if given else _DIFFERENCE) + cls.step
