"""The methods: one step from X_n to X_{n+1}, as text from which a kernel is generated.

In `step`, a line with `@` stands for one line a component (x@ is x0, x1, ...), and `*` joins the components:
`a* = drift(x*, t, p)` calls the user's function on all of them. `dw@` is the increment, `h` the step.
"""

from __future__ import annotations

from typing import ClassVar

from ..errors import InputError
from .equation import SDE


class Method:
    """What a method states about itself: its orders, the equation it converges to, the noise it accepts.

    `strong_order` and `weak_order` hold for diagonal noise with b_i(x_i, t) and smooth coefficients;
    `strong_order` None: no path is approximated, only expectations. `increments`: the law of dW / sqrt(h),
    "normal" or "rademacher" (two-point, ±1).
    """

    name: ClassVar[str]
    strong_order: ClassVar[float | None]
    weak_order: ClassVar[float]
    interpretation: ClassVar[str]
    noise: ClassVar[str] = "diagonal"
    increments: ClassVar[str] = "normal"
    step: ClassVar[str]
    derivative: ClassVar[bool] = False

    @classmethod
    def check(cls, sde: SDE) -> None:
        """Refuse an equation of the other interpretation."""
        if sde.interpretation != cls.interpretation:
            fitting = ", ".join(m.name for m in METHODS.values() if m.interpretation == sde.interpretation)
            raise InputError("method", f"{cls.name} ({cls.interpretation})", f"for {sde.interpretation}: {fitting}")


class EulerMaruyama(Method):
    """X_{n+1} = X_n + a h + b dW (Maruyama 1955; Kloeden, Platen 1992, eq. 10.2.4)."""

    name = "euler-maruyama"
    strong_order: ClassVar[float | None] = 0.5
    weak_order = 1.0
    interpretation = "ito"
    step = """
    a* = drift(x*, t, p)
    b* = diffusion(x*, t, p)
    new@ = x@ + a@ * h + b@ * dw@
    """


class WeakEuler(EulerMaruyama):
    """X_{n+1} = X_n + a h ± b sqrt(h), either sign with chance 1/2 (Kloeden, Platen 1992, sec. 14.1)."""

    name = "weak-euler"
    strong_order, weak_order = None, 1.0
    increments = "rademacher"


class Milstein(Method):
    """X_{n+1} = X_n + a h + b dW + b b' (dW^2 - h) / 2, b' = ∂b_i/∂x_i (Milstein 1974; Kloeden, Platen 1992, eq. 10.3.12)."""

    name = "milstein"
    strong_order, weak_order = 1.0, 1.0
    interpretation = "ito"
    derivative = True
    step = """
    a* = drift(x*, t, p)
    b* = diffusion(x*, t, p)
    new@ = x@ + a@ * h + b@ * dw@ + 0.5 * b@ * slope@ * (dw@ * dw@ - h)
    """


class Heun(Method):
    """X' = X_n + a h + b dW; X_{n+1} = X_n + (a + a') h / 2 + (b + b') dW / 2, to the Stratonovich solution (Rümelin 1982).

    Strong order 1 for commutative noise, as where b_i depends on x_i and t alone; 1/2 in general.
    """

    name = "heun"
    strong_order, weak_order = 1.0, 1.0
    interpretation = "stratonovich"
    step = """
    a* = drift(x*, t, p)
    b* = diffusion(x*, t, p)
    y@ = x@ + a@ * h + b@ * dw@
    c* = drift(y*, t + h, p)
    d* = diffusion(y*, t + h, p)
    new@ = x@ + 0.5 * (a@ + c@) * h + 0.5 * (b@ + d@) * dw@
    """


METHODS: dict[str, type[Method]] = {m.name: m for m in (EulerMaruyama, WeakEuler, Milstein, Heun)}


def method_named(name: str) -> type[Method]:
    """The method of that name; InputError with the names there are."""
    if name not in METHODS:
        raise InputError("method", name, ", ".join(METHODS))
    return METHODS[name]
