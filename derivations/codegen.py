"""Code generation: the derived formulas as one NumPy module, the same text every time."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

import numpy as np
import sympy as sp
from sympy.printing.numpy import NumPyPrinter

from sde_momentum.theory.compensated import sum_of_products

from . import (
    averages,
    critical_decay,
    critical_limit,
    crossing,
    drift,
    energy_share,
    finite_lr,
    forces,
    general_drift,
    interpolation,
    oscillator,
    pair_covariance,
    prefactor,
    stationary_variance,
)
from .formula import Derivation, Formula
from .symbols import SYMBOLS

# In the order of docs/theory.md, by the name that `derive` knows them by: the module's.
BY_NAME: Mapping[str, Derivation] = {
    module.__name__.rpartition(".")[2]: module.DERIVATION
    for module in (
        oscillator,
        stationary_variance,
        pair_covariance,
        drift,
        general_drift,
        energy_share,
        crossing,
        prefactor,
        finite_lr,
        forces,
        critical_limit,
        critical_decay,
        averages,
        interpolation,
    )
}
DERIVATIONS: tuple[Derivation, ...] = tuple(BY_NAME.values())

_HEADER = '''"""The library's formulas as numpy code. Generated: do not edit.

Written by `python -m derivations` from `derivations/`, which proves each expression. Arguments broadcast;
every function returns a float64 array. Nothing is checked here: callers check their input at the door.
[theory: ...] names a section of docs/theory.md and an equation in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .compensated import sum_of_products
'''


class _Printer(NumPyPrinter):
    """NumPy code whose comparisons are operators and whose cases are nested `np.where`, a line for each."""

    def _print_Relational(self, expr: sp.core.relational.Relational) -> str:
        return f"{self._print(expr.lhs)} {expr.rel_op} {self._print(expr.rhs)}"

    def _print_Piecewise(self, expr: sp.Piecewise) -> str:
        *cases, (last, _) = expr.args
        lines = [f"np.where({self._print(condition)}, {self._print(value)}," for value, condition in cases]
        return "\n".join([*lines, self._print(last) + ")" * len(cases)])

    def _print_Min(self, expr: sp.Min) -> str:
        return reduce(lambda left, right: f"np.minimum({left}, {right})", map(self._print, expr.args))

    def _print_Max(self, expr: sp.Max) -> str:
        return reduce(lambda left, right: f"np.maximum({left}, {right})", map(self._print, expr.args))

    def _print_compensated(self, expr: sp.Expr) -> str:
        polynomial = sp.Poly(expr.args[0])
        names = [str(generator) for generator in polynomial.gens]
        products = (self._product(powers, int(factor), names) for powers, factor in polynomial.terms())
        return f"sum_of_products({', '.join(products)})"

    @staticmethod
    def _product(powers: tuple[int, ...], factor: int, names: list[str]) -> str:
        """One product as a tuple of factors; a power of two, which multiplies exactly, joins the first of them."""
        factors = [name for name, power in zip(names, powers, strict=True) for _ in range(power)]
        if not factors or abs(factor) & (abs(factor) - 1):
            factors.insert(0, str(factor))
        elif factor != 1:
            factors[0] = f"-{factors[0]}" if factor == -1 else f"{factor}*{factors[0]}"
        return f"({', '.join(factors)}{',' if len(factors) == 1 else ''})"


def _assignment(name: str, value: str) -> str:
    """`name = value` inside the function's `with`; a value of several lines in parentheses."""
    return f"    {name} = (\n{textwrap.indent(value, ' ' * 8)}\n    )" if "\n" in value else f"    {name} = {value}"


_AT = {"lr": 0.1, "one_minus_beta": 0.1, "eigenvalue": 1.5, "noise": 0.01, "coupling": 1.5, "decay_rate": 0.01}
_AT |= {"n_outputs": 40, "batch_size": 8, "n_steps": 100, "n_workers": 4, "local_steps": 10, "squared_residual": 0.01}
"""Values of arguments in the examples; the others get 0.5."""


def _example(name: str, arguments: list[str], code: str) -> str:
    """A doctest: a call with plain numbers, and what the code gives."""
    values = [_AT.get(argument, 0.5) for argument in arguments]
    body = f"def {name}({', '.join(arguments)}):\n{textwrap.indent(code, ' ' * 4)}"
    names: dict[str, Any] = {"np": np, "sum_of_products": sum_of_products}
    exec(body, names)
    call = f"{name}({', '.join(map(str, values))})"
    return f'>>> print(f"{{{call}:.4g}}")\n{names[name](*values):.4g}'


def function(formula: Formula) -> str:
    """The source of one function."""
    printer = _Printer()
    names = [str(argument) for argument in formula.arguments]
    lines = [f"{name} = np.asarray({name}, dtype=np.float64)" for name in names]
    # Branches that are not taken may divide by zero or leave the domain of a root.
    lines.append('with np.errstate(divide="ignore", invalid="ignore", over="ignore"):')
    lines += [_assignment(str(name), printer.doprint(value)) for name, value in formula.where]
    lines.append(_assignment("value", printer.doprint(formula.expression)))
    lines.append("return np.asarray(value, dtype=np.float64)")
    code = "\n".join(lines).replace("numpy.", "np.")
    signature = ", ".join(f"{name}: ArrayLike" for name in names)
    if len(formula.name + signature) > 70:
        signature = "\n" + "".join(f"    {name}: ArrayLike,\n" for name in names)
    meaning = "\n".join(f"    {argument}: {SYMBOLS[argument]}" for argument in formula.arguments)
    parts = (
        f"{formula.summary} {formula.equation}",
        f"    {formula.text}",
        f"Args:\n{meaning}",
        _example(formula.name, names, code),
    )
    docstring = '"""' + "\n\n".join(parts) + '\n"""'
    body = textwrap.indent(f"{docstring}\n{code}", "    ", lambda line: bool(line.strip()))
    return f"def {formula.name}({signature}) -> NDArray[np.float64]:\n{body}\n"


def module(derivations: Iterable[Derivation] = DERIVATIONS) -> str:
    """The text of `sde_momentum/theory/formulas.py`."""
    formulas = [formula for derivation in derivations for formula in derivation.formulas]
    return "\n\n".join([_HEADER, *(function(formula) for formula in formulas)])
