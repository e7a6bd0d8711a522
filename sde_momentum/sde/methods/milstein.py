"""The Milstein method: Euler-Maruyama and the term of second order in dW."""

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


_STEP = """
a* = drift(x*, t, p)
b* = diffusion(x*, t, p)
new@ = x@ + a@ * h + (b.dw)@ + 0.5 * (b.rise)@
"""
# (b . grad) b by a central difference along b, of the same size for all components
_ALONG_B = """
a* = drift(x*, t, p)
b* = diffusion(x*, t, p)
e@ = 6e-6 * {size} / {steep}
up@ = x@ + e@ * b@
down@ = x@ - e@ * b@
high* = diffusion(up*, t, p)
low* = diffusion(down*, t, p)
new@ = x@ + a@ * h + (b.dw)@ + (high@ - low@) / (4.0 * e@) * (dw0 * dw0 - h)
"""


class Milstein(Method):
    """Milstein: X_{n+1} = X_n + a h + b dW + (b . grad) b (dW^2 - h) / 2.

    For diagonal noise (b . grad) b is b_i ∂b_i/∂x_i, component by component.
    """

    name = "milstein"
    source = "Milstein 1974; Kloeden, Platen 1992, eq. 10.3.6 and 10.3.12"
    strong_order: ClassVar[float | None] = 1.0
    weak_order = 1.0
    interpretations = ("ito",)
    noises = ("diagonal", "scalar")

    @classmethod
    def text(cls, equation: Equation) -> str:
        assert isinstance(equation, SDE)
        if equation.noise == "diagonal":
            return (_DIFFERENCE if equation.diffusion_derivative is None else _GIVEN) + _STEP
        size, steep = "1.0", "1e-300"
        for i in range(equation.dim):
            size, steep = f"max({size}, abs(x{i}))", f"max({steep}, abs(b{i}))"
        return _ALONG_B.format(size=size, steep=steep)
