"""The equation: dX_i = a_i(X, t) dt + b_i(X, t) dW_i, with one independent Wiener process a component (diagonal noise)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, check_integer

Coefficient = Callable[[Any, float, Any], Any]
"""f(x, t, p): dim 1, a float of a float; dim d, a tuple of d floats of a tuple of d floats; p a tuple of floats."""

INTERPRETATIONS = ("ito", "stratonovich")


@dataclass(frozen=True)
class SDE:
    """dX_i = a_i(X, t; p) dt + b_i(X, t; p) dW_i, i = 1..dim (Kloeden, Platen 1992, sec. 4.8, with diagonal noise).

    `drift` a and `diffusion` b are plain scalar Python, f(x, t, p), which numba compiles: for dim 1, x and the
    value are floats; for dim d > 1, tuples of d floats. t is the equation's own time, p the tuple of float
    parameters given to `solve`. Branches and `math` functions are allowed; they cost what they cost per path.
    `interpretation`: "ito" or "stratonovich" (b ∘ dW). `diffusion_derivative`: ∂b_i/∂x_i in the same form, for
    methods that use it; without it they take a central difference over x ± 6e-6 (1 + |x|), exact to about 1e-10 of
    b's scale: give it where b has an edge that paths come near, such as sqrt(x) at 0.

    Methods of strong order 1 reach it where b_i depends on x_i and t alone.
    Raises InputError for a dim, an interpretation or a function that cannot be used.

    >>> SDE(lambda x, t, p: -p[0] * x, lambda x, t, p: p[1]).dim
    1
    """

    drift: Coefficient
    diffusion: Coefficient
    dim: int = 1
    interpretation: str = "ito"
    diffusion_derivative: Coefficient | None = None

    def __post_init__(self) -> None:
        check_integer(self.dim, "dim", 1)
        if self.interpretation not in INTERPRETATIONS:
            raise InputError("interpretation", self.interpretation, " or ".join(map(repr, INTERPRETATIONS)))
        for name, function in self.coefficients().items():
            if not callable(function):
                raise InputError(name, function, "a function f(x, t, p)")

    def coefficients(self) -> dict[str, Coefficient]:
        """The functions that were given, by name."""
        given = {"drift": self.drift, "diffusion": self.diffusion}
        return given if self.diffusion_derivative is None else given | {"diffusion_derivative": self.diffusion_derivative}

    def check_start(self, x0: ArrayLike) -> NDArray[np.float64]:
        """x0 as a finite array (dim,); a scalar is allowed in dim 1."""
        allowed = "a finite number" if self.dim == 1 else f"{self.dim} finite numbers"
        try:
            start = np.atleast_1d(np.asarray(x0, dtype=np.float64))
        except (TypeError, ValueError):
            raise InputError("x0", x0, allowed) from None
        if start.shape != (self.dim,) or not np.all(np.isfinite(start)):
            raise InputError("x0", x0, allowed)
        return start

    def probe(self, start: NDArray[np.float64], t: float, p: tuple[float, ...]) -> None:
        """Call each function once, as Python, at the start: a wrong form is named here, not by the compiler."""
        x = float(start[0]) if self.dim == 1 else tuple(map(float, start))
        form = "a float" if self.dim == 1 else f"a tuple of {self.dim} floats"
        for name, function in self.coefficients().items():
            try:
                value = getattr(function, "py_func", function)(x, t, p)
            except (ArithmeticError, ValueError):
                continue  # outside its domain already at the start: a fault of the paths, counted as one
            except (IndexError, TypeError) as error:
                raise InputError(name, f"a function that raises {error!r}", f"f(x, t, p) with {len(p)} parameters") from None
            good = np.isscalar(value) if self.dim == 1 else isinstance(value, tuple) and len(value) == self.dim
            if not good or np.iscomplexobj(value):
                raise InputError(name, f"a function that returns {value!r}", f"a function that returns {form}")
