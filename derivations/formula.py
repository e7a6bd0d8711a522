"""What a derivation is made of: steps that are checked, and the formulas that become code."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import mpmath as mp
import sympy as sp

from .sections import Equation, Section

POINTS = 12  # random points at which a claim is evaluated that cancellation cannot prove
WORKING_DIGITS = 80


class compensated(sp.Function):
    """Its argument, a polynomial with integer coefficients, to be evaluated without losing digits to cancellation.

    The printer writes it as a call of `sde_momentum.theory.compensated.sum_of_products`.
    """

    nargs = 1


def plain(expression: sp.Expr) -> sp.Expr:
    """The expression without marks on how to evaluate it."""
    return sp.sympify(expression).replace(compensated, lambda argument: argument)


@dataclass(frozen=True)
class Formula:
    """One function of `sde_momentum/theory/formulas.py`.

    `expression` is the form that is numerically stable; the derivation proves it equal to the plain one.
    `text` is the formula as it stands in docs/theory.md, `equation` its number there. `where` names the
    intermediate quantities of `expression`, each in terms of the arguments and of those before it.
    """

    name: str
    arguments: tuple[sp.Symbol, ...]
    expression: sp.Expr
    text: str
    summary: str
    equation: Equation
    where: tuple[tuple[sp.Symbol, sp.Expr], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.equation, Equation):
            raise TypeError(f"{self.name}: given {self.equation!r}; allowed: an Equation of docs/theory.md")
        known = set(self.arguments)
        for name, value in (*self.where, (None, self.expression)):
            if unknown := value.free_symbols - known:
                raise ValueError(f"{self.name}: {unknown} is neither an argument nor defined before its use")
            known.add(name)

    @property
    def unfolded(self) -> sp.Expr:
        """The value in terms of the arguments alone: what a step can compare with a plainer expression."""
        value = sp.sympify(self.expression)
        for name, definition in reversed(self.where):
            value = value.subs(name, definition)
        return plain(value)


@dataclass(frozen=True)
class Step:
    """The claim that `left` equals `right`, or vanishes where nothing stands on the right.

    A rational identity is proved by cancellation. Any other is evaluated at 12 random points of `region`,
    which writes some symbols in terms of others; those left are drawn from (0, 1). It is worked out with 80
    digits and must agree to 50.
    """

    claim: str
    left: sp.Expr  # a limit stays as `sp.Limit`, so that it can be read
    right: sp.Expr = sp.S.Zero
    region: Mapping[sp.Symbol, sp.Expr] = field(default_factory=dict)

    @cached_property
    def sides(self) -> tuple[sp.Expr, sp.Expr]:
        """Both sides with their limits taken and without marks on how to evaluate them."""
        left, right = (plain(side) for side in (self.left, self.right))
        return (left.doit() if left.has(sp.Limit) else left), (right.doit() if right.has(sp.Limit) else right)

    @property
    def symbolic(self) -> bool:
        """Whether the claim is proved for all values, not only evaluated at some."""
        left, right = self.sides
        if left.has(sp.Piecewise) or right.has(sp.Piecewise):
            return False
        difference = sp.sympify(left - right)
        return bool(difference.is_rational_function(*difference.free_symbols))

    def holds(self) -> bool:
        left, right = self.sides
        if self.symbolic:
            return bool(sp.cancel(sp.together(left - right)) == 0)
        names = sorted(left.free_symbols | right.free_symbols, key=str)
        functions = [sp.lambdify(names, side, modules="mpmath") for side in (left, right)]
        draw = random.Random(self.claim)
        with mp.workdps(WORKING_DIGITS):
            return all(self._residual(draw, names, functions) < mp.mpf("1e-50") for _ in range(POINTS))

    def _residual(self, draw: random.Random, names: list[sp.Symbol], functions: list[Callable[..., mp.mpf]]) -> mp.mpf:
        """|left - right| / (1 + |right|) at one random point."""
        inside = {name: sp.sympify(value) for name, value in self.region.items()}
        free = set(names) | {s for value in inside.values() for s in value.free_symbols}
        drawn = {name: sp.Rational(draw.randint(1, 9999), 10_000) for name in sorted(free - set(inside), key=str)}
        where = {**drawn, **{name: value.subs(drawn) for name, value in inside.items()}}
        point = [mp.mpmathify(sp.N(where[name], WORKING_DIGITS)) for name in names]
        left, right = (mp.mpmathify(function(*point)) for function in functions)
        return abs(left - right) / (1 + abs(right))


@dataclass(frozen=True)
class Derivation:
    """One proof: what is assumed, the steps, and the formulas they end in.

    `sections` are those of docs/theory.md that it belongs to. `symbols` says what letters mean that are not in the tables of
    `derivations.symbols`, or mean something else here: sympy's symbols, or letters of the claims ("'" for a derivative).
    """

    title: str
    sections: tuple[Section, ...]
    assumptions: tuple[str, ...]
    steps: tuple[Step, ...]
    formulas: tuple[Formula, ...]
    symbols: Mapping[sp.Symbol | str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.sections or not all(isinstance(section, Section) for section in self.sections):
            raise TypeError(f"{self.title}: given {self.sections!r}; allowed: one or more of Section")

    @property
    def place(self) -> str:
        """The names of its sections."""
        return "; ".join(section.title for section in self.sections)

    def failed(self) -> list[str]:
        """Claims that do not hold; empty when the derivation stands."""
        return [step.claim for step in self.steps if not step.holds()]
