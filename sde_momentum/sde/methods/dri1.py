"""A stochastic Runge-Kutta method of weak order 2 for noise of any kind."""

from __future__ import annotations

from typing import ClassVar

from ..equation import SDE, Equation
from .base import Method

# distance of the two points beside X_n for column k of b, weights of the sum and the difference of b_k there; for the two
# points moved by the other columns the shares of b_j at X_n and beside it, and such weights again
_B = 3.0 * (38.0 / 491.0) ** 0.5
_SUM, _DIFFERENCE = 491.0 / 1368.0, (491.0 / 38.0) ** 0.5 / 12.0
_OWN, _OTHERS = 214.0 / 513.0 * (1105.0 / 991.0) ** 0.5, 491.0 / 513.0 * (221.0 / 4955.0) ** 0.5
_SUM_HAT, _DIFFERENCE_HAT = 4955.0 / 14144.0, (4955.0 / 221.0) ** 0.5 / 8.0

_DRIFT = f"""
a* = drift(x*, t, p)
b* = diffusion(x*, t, p)
y@ = x@ + 0.5 * a@ * h + {(6.0 - 6.0**0.5) / 10.0} * (b.dw)@
c* = drift(y*, t + 0.5 * h, p)
y@ = x@ + (2.0 * c@ - a@) * h + {(3.0 + 2.0 * 6.0**0.5) / 5.0} * (b.dw)@
d* = drift(y*, t + h, p)
near@ = x@ + {342.0 / 491.0} * a@ * h
"""
_LATER = f"t + {342.0 / 491.0} * h"
# one process for each component: what follows is one step of the scalar method in each
_ONE = f"""
{_DRIFT}
e@ = {_B} * root
y@ = near@ + (b.e)@
f* = diffusion(y*, {_LATER}, p)
z@ = near@ - (b.e)@
g* = diffusion(z*, {_LATER}, p)
u@ = {1.0 - 2.0 * _SUM} * dw@
v@ = {_SUM} * dw@ + ({_DIFFERENCE} / root) * (dw@ * dw@ - h)
w@ = {_SUM} * dw@ - ({_DIFFERENCE} / root) * (dw@ * dw@ - h)
new@ = x@ + (a@ + 4.0 * c@ + d@) * (h / 6.0) + (b.u)@ + (f.v)@ + (g.w)@
"""


class DRI1(Method):
    """Debrabant and Rößler's DRI1, a stochastic Runge-Kutta method for expectations, of order 3 without noise.

    Column k of b is taken at X_n, at two points ± c b_k sqrt(h) beside it, and for more than one Wiener process at two more,
    moved by the other columns times (dW_k dW_j ∓ sqrt(h) dU) / 2, with dU independent of dW and of its law. Three drifts
    and 1 + 4 n_noise diffusions a step; for scalar and diagonal noise three diffusions.
    """

    name = "dri1"
    source = "Debrabant, Rößler 2009, Appl. Numer. Math. 59 (DRI1)"
    strong_order: ClassVar[float | None] = None
    weak_order = 2.0
    drift_order = 3
    interpretations = ("ito",)
    draws = 2

    @classmethod
    def text(cls, equation: Equation) -> str:
        assert isinstance(equation, SDE)
        return _ONE if equation.noise != "general" else _many(equation.n_noise)


def _many(m: int) -> str:
    """The step for m Wiener processes, column by column."""
    lines = [_DRIFT]
    for k in range(m):
        for name, sign in (("f", "+"), ("g", "-")):
            lines += [f"y@ = near@ {sign} {_B} * root * b@[{k}]", f"s* = diffusion(y*, {_LATER}, p)", f"{name}{k}@ = s@[{k}]"]
    new = ["x@ + (a@ + 4.0 * c@ + d@) * (h / 6.0)"]
    for k in range(m):
        others = []
        for j in (j for j in range(m) if j != k):
            # I_kj / sqrt(h)
            product = f"dw[{k}] * dw[{j}] " + (f"- root * du[{k}]" if k < j else f"+ root * du[{j}]")
            lines.append(f"i{k}_{j} = (0.5 / root) * ({product})")
            others.append(f"({_OWN} * b@[{j}] + {_OTHERS} * (f{j}@ + g{j}@)) * i{k}_{j}")
        lines += [
            f"v{k} = {_SUM} * dw[{k}] + ({_DIFFERENCE} / root) * (dw[{k}] * dw[{k}] - h)",
            f"w{k} = {_SUM} * dw[{k}] - ({_DIFFERENCE} / root) * (dw[{k}] * dw[{k}] - h)",
        ]
        new.append(f"{1.0 - 2.0 * _SUM} * dw[{k}] * b@[{k}] + v{k} * f{k}@ + w{k} * g{k}@")
        if not others:
            continue
        lines.append(f"moved@ = {' + '.join(others)}")
        for name, sign in (("q", "+"), ("r", "-")):
            lines += [f"y@ = x@ {sign} moved@", "s* = diffusion(y*, t, p)", f"{name}{k}@ = s@[{k}]"]
        new.append(f"{_SUM_HAT} * dw[{k}] * (q{k}@ + r{k}@ - 2.0 * b@[{k}]) + {_DIFFERENCE_HAT} * root * (q{k}@ - r{k}@)")
    return "\n".join([*lines, f"new@ = {' + '.join(new)}"])
