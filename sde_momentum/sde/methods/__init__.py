"""Numerical methods for one step, one family per file; each states its orders and the noise that it accepts."""

from __future__ import annotations

import math

from ...core.errors import InputError
from ..equation import SDE, Equation
from .base import Method, describe
from .dri1 import DRI1
from .euler import EulerMaruyama, WeakEuler
from .exponential import ExponentialEuler
from .heun import Heun
from .langevin import BAOAB, OBABO
from .levy import LevySRK
from .milstein import Milstein
from .ornstein_uhlenbeck import ExactOrnsteinUhlenbeck
from .sra import SRA1

METHODS: dict[str, type[Method]] = {
    m.name: m
    for m in (
        EulerMaruyama,
        WeakEuler,
        ExponentialEuler,
        Milstein,
        LevySRK,
        DRI1,
        Heun,
        SRA1,
        ExactOrnsteinUhlenbeck,
        OBABO,
        BAOAB,
    )
}


def method_for(equation: Equation, method: str | type[Method] | None) -> type[Method]:
    """The method of that name, or the class itself, which must fit the equation; None: the equation's default.

    Raises InputError with the names of the methods that fit.
    """
    if method is None:
        return next(METHODS[n] for n in ("exact", "obabo", "euler-maruyama", "heun") if METHODS[n].fits(equation))
    found = METHODS.get(method) if isinstance(method, str) else method
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise InputError("method", method, f"{', '.join(METHODS)}, or a class of your own, a sde.Method")
    if not found.fits(equation):
        fitting = ", ".join(m.name for m in METHODS.values() if m.fits(equation))
        lacking = found.requires is not None and getattr(equation, found.requires, None) is None
        without = f" without `{found.requires}`" if lacking else ""
        raise InputError("method", found.name, f"{fitting} (for {describe(equation)}{without})")
    return found


def follows_paths(method: type[Method]) -> bool:
    """Whether the method converges strongly: it approximates each path, not only expectations."""
    return method.strong_order is not None


def methods_table() -> str:
    """The methods as a Markdown table, from what each states about itself."""
    head = ("method", "equation", "noise", "strong order", "weak order", "increments", "source")
    rows = [head, ("---",) * len(head), *map(_row, METHODS.values())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(m: type[Method]) -> tuple[str, ...]:
    if m.equation is SDE:
        equation = "Ito or Stratonovich" if len(m.interpretations) == 2 else m.interpretations[0].capitalize()
        noise = ("additive: " if m.additive else "") + ", ".join(m.noises)
    else:
        equation, noise = m.equation.__name__, "additive"
    noise += f"; with `{m.requires}`" if m.requires else ""
    numbers = m.increments + (", two a step" if m.draws == 2 else "") + (", and areas" if m.levy_areas else "")
    strong, weak = ("-" if o is None else "exact" if o == math.inf else f"{o:g}" for o in (m.strong_order, m.weak_order))
    return f"`{m.name}`", equation, noise, strong, weak, numbers, m.source
