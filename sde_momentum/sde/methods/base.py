"""The contract of a method: its orders of convergence, what it accepts, and one step from X_n to X_{n+1} as text.

A kernel is generated from the text. A line with `@` stands for one line per index (x@ is x0, x1, ...); `*` joins the
indices, so that `a* = drift(x*, t, p)` calls the user's function on all of them. `(b.dw)@` is the product of b with the
increments, for the noise at hand: b_@ dw_@, b_@ dw_0 or sum_k b_@k dw_k. The step `h` begins at `t`; x@ is the old value,
new@ the new one (q@, p@ and new_q@, new_p@ where the parts are called so). Per step and Wiener process: xi@ (and zeta@)
standard normal (or ±1), dw@ = sqrt(h) xi@, du@ = sqrt(h) zeta@. `b@[k]` is column k of a matrix, `dw[k]` the increment of
process k, numbered from 0; a line without `@` and `*` sets one number.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..equation import INTERPRETATIONS, NOISES, SDE, Equation


class Method:
    """A method for one step: its orders of convergence, the equations and noise it accepts, and the step as text.

    `strong_order` and `weak_order` hold for smooth coefficients, and for diagonal noise where b_i depends on x_i and t
    alone; `strong_order` None: only expectations are approximated; inf: exact. `increments`: the law of
    dW / sqrt(h), "normal" or "rademacher" (two-point, ±1). `draws`: numbers per step and Wiener process. `drift_order`: a step
    without noise multiplies a solution of x' = l x by the Taylor polynomial of e^{l h} of this degree; None: something else.
    `requires`: an entry of the equation that must be given, such as "linear".
    `levy_areas`: whether a step draws areas between Wiener processes too, which increments do not tell.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    strong_order: ClassVar[float | None]
    weak_order: ClassVar[float]
    equation: ClassVar[type[Equation]] = SDE
    interpretations: ClassVar[tuple[str, ...]] = INTERPRETATIONS
    noises: ClassVar[tuple[str, ...]] = NOISES
    additive: ClassVar[bool] = False
    drift_order: ClassVar[int | None] = None
    increments: ClassVar[str] = "normal"
    draws: ClassVar[int] = 1
    levy_areas: ClassVar[bool] = False
    requires: ClassVar[str | None] = None
    step: ClassVar[str]

    @classmethod
    def text(cls, equation: Equation) -> str:
        """The step for this equation."""
        return cls.step

    @classmethod
    def n_numbers(cls, equation: Equation) -> int:
        """Numbers of each draw: one per Wiener process."""
        return equation.n_noise

    @classmethod
    def constants(cls, equation: Equation, h: float) -> dict[str, NDArray[np.float64]]:
        """Numbers of the step that follow from the equation and h: vectors (n_indices,), matrices or single numbers."""
        return {}

    @classmethod
    def unstable(cls, equation: Equation, jacobian: NDArray[np.float64], h: float) -> bool:
        """Whether steps of h let a part of the drift grow that decays, given the derivatives of its first coefficient
        (n_indices, n_indices)."""
        if cls.drift_order is None:
            return False
        rates = np.linalg.eigvals(jacobian) * h
        factor = sum(rates**k / math.factorial(k) for k in range(cls.drift_order + 1))
        return bool(np.any((rates.real < 0) & (np.abs(factor) > 1.0 + 1e-9)))

    @classmethod
    def fits(cls, equation: Equation) -> bool:
        """Whether the method can step this equation."""
        return (
            isinstance(equation, cls.equation)
            and equation.interpretation in cls.interpretations
            and (cls.requires is None or getattr(equation, cls.requires, None) is not None)
            and (not isinstance(equation, SDE) or (equation.noise in cls.noises and (equation.additive or not cls.additive)))
        )


def describe(equation: Equation) -> str:
    """The kind of an equation in words, such as "ito with additive scalar noise"."""
    if not isinstance(equation, SDE):
        return type(equation).__name__
    additive = "additive " if equation.additive else ""
    return f"{equation.interpretation} with {additive}{equation.noise} noise"
