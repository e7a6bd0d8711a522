"""The Milstein method: Euler-Maruyama and the term of second order in dW."""

from __future__ import annotations

from typing import ClassVar

from ..equation import SDE, Equation
from .base import Method

_GIVEN = """
a* = drift(x*, t, p)
b* = diffusion(x*, t, p)
slope* = diffusion_derivative(x*, t, p)
rise@ = slope@ * (dw@ * dw@ - h)
new@ = x@ + a@ * h + (b.dw)@ + 0.5 * (b.rise)@
"""
# (b . grad) b by a central difference along b, over a thousandth of the noise of a step: so it has no unit of its own, and
# components without noise do not count; rounding of x and b acts as a change of them by a thousand units in the last place
_DIFFERENCE = """
a* = drift(x*, t, p)
b* = diffusion(x*, t, p)
e@ = 0.001 * root
up@ = x@ + (b.e)@
down@ = x@ - (b.e)@
high* = diffusion(up*, t, p)
low* = diffusion(down*, t, p)
w@ = (dw@ * dw@ - h) * (250.0 / root)
new@ = x@ + a@ * h + (b.dw)@ + ((high.w)@ - (low.w)@)
"""


class Milstein(Method):
    """Milstein: X_{n+1} = X_n + a h + b dW + (b . grad) b (dW^2 - h) / 2.

    For diagonal noise (b . grad) b is b_i ∂b_i/∂x_i, component by component.
    """

    name = "milstein"
    source = "Milstein 1974; Kloeden, Platen 1992, eq. 10.3.6 and 10.3.12"
    strong_order: ClassVar[float | None] = 1.0
    weak_order = 1.0
    drift_order = 1
    interpretations = ("ito",)
    noises = ("diagonal", "scalar")

    @classmethod
    def text(cls, equation: Equation) -> str:
        assert isinstance(equation, SDE)
        return _DIFFERENCE if equation.diffusion_derivative is None else _GIVEN
