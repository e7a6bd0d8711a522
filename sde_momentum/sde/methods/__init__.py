"""The methods, one family a file; each states its orders and the noise that it accepts."""

from __future__ import annotations

from ...errors import InputError
from ..equation import Equation
from .base import Method
from .euler import EulerMaruyama, WeakEuler
from .heun import Heun
from .milstein import Milstein
from .obabo import OBABO
from .ornstein_uhlenbeck import ExactOrnsteinUhlenbeck
from .sra import SRA1

METHODS: dict[str, type[Method]] = {
    m.name: m for m in (EulerMaruyama, WeakEuler, Milstein, Heun, SRA1, ExactOrnsteinUhlenbeck, OBABO)
}

__all__ = ["METHODS", "Method", "method_for"]


def method_for(equation: Equation, name: str | None) -> type[Method]:
    """The method of that name, which must fit the equation; None: the first that states it best.

    InputError with the names there are.
    """
    if name is None:
        return next(METHODS[n] for n in ("exact", "obabo", "euler-maruyama", "heun") if METHODS[n].fits(equation))
    if name not in METHODS:
        raise InputError("method", name, ", ".join(METHODS))
    METHODS[name].check(equation)
    return METHODS[name]
