"""A function of the state, whose mean and variance are computed too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...core.errors import InputError
from ..equation import check_function
from .base import Statistic

_TAKEN = ("value", "steps", "forced")


@dataclass(frozen=True)
class Functional(Statistic):
    """f(X_t, t) at each time: `<name>_mean`, `<name>_variance` with their errors, and a row `name` for the other statistics.

    `name`: a Python identifier. `function`: f(x, t, p) -> float, plain scalar Python as an equation's coefficients
    (x a float in dim 1, else a tuple of dim floats). Its unit is that of the variables. Raises InputError.

    >>> Functional("energy", lambda x, t, p: 0.5 * x * x).name
    'energy'
    """

    name: str
    function: Callable[[Any, float, Any], Any]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise InputError("name", self.name, "a Python identifier, such as 'energy'")
        if self.name in _TAKEN:
            raise InputError("name", self.name, f"a name other than {', '.join(_TAKEN)}, which `KeepPaths` uses")
        check_function(self.name, self.function)
