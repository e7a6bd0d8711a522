"""Equations from sympy expressions: functions as text, exact derivatives, and Ito to Stratonovich and back."""

from __future__ import annotations

import linecache
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ..core.arguments import by_annotations
from ..core.errors import InputError
from ..core.extras import require
from .equation import NOISES, SDE, Coefficient

_LARGEST = 2**53
"""Integers beyond it are written as floats: numba has none of more than 64 bits."""


@by_annotations
def from_sympy(
    drift: Any,
    diffusion: Any,
    state: Any,
    *,
    time: Any = None,
    parameters: Sequence[Any] = (),
    interpretation: str = "ito",
    noise: str = "diagonal",
    domain: Any = None,
    outside: str = "fault",
) -> SDE:
    """An SDE from sympy expressions: dX = a dt + b dW, `drift` a and `diffusion` b in the symbols of `state`.

    One symbol and one expression, or sequences (or column matrices) of dim of them; for noise "general" b is a Matrix or
    nested lists (dim, n_noise). `time` is the symbol of the equation's own t, `parameters` the symbols of the tuple p, in
    its order. All symbols stand for real numbers. `interpretation`, `noise`, `domain`, `outside` as in `SDE`.
    Common subexpressions are computed once in each function; `inspect.getsource` shows their text. `additive` follows
    from the derivatives of b; for diagonal noise `diffusion_derivative` is exact (None if Python's math cannot state it).
    Piecewise expressions and sign are branches: paths are then stepped one by one, which is slower.
    Raises InputError for symbols, shapes or functions that cannot be used.

    >>> import sympy as sp
    >>> x, k, s = sp.symbols("x k s")
    >>> sde = from_sympy(-k * x, s * sp.sqrt(1 + x**2), x, parameters=(k, s))
    >>> sde.drift(2.0, 0.0, (0.5, 1.0)), sde.diffusion_derivative(0.75, 0.0, (0.5, 1.0)), sde.additive
    (-1.0, 0.6, False)
    """
    require("from_sympy", "sympy")
    import sympy as sp

    names = _symbols(state, time, parameters)
    x = [symbol for symbol in names.values() if symbol.name.startswith("x")]
    n = len(x)
    a = [_usable("drift", _placed("drift", e, names)) for e in _vector("drift", drift, n)]
    b = _matrix(diffusion, n, noise).applyfunc(lambda e: _usable("diffusion", _placed("diffusion", e, names)))
    touched = {symbol for symbol in x if symbol in b.free_symbols}
    if touched and all(sp.diff(entry, symbol).equals(0) for entry in b for symbol in touched):
        simple = b.applyfunc(sp.simplify)
        b, touched = (simple, set()) if not simple.free_symbols & touched else (b, touched)
    derivative = None
    if noise == "diagonal" and touched:
        slopes = sp.Matrix([sp.diff(_folded(b[i, i]), x[i]) for i in range(n)])
        # b may have a text and its derivative none (gamma): methods then take a central difference, as without sympy
        with suppress(InputError):
            usable = slopes.applyfunc(lambda e: _usable("diffusion", e))
            derivative = _function("diffusion_derivative", usable, n == 1, False)
    values = b.diagonal().T if noise == "diagonal" else b
    return SDE(
        _function("drift", sp.Matrix(a), n == 1, False),
        _function("diffusion", values, n == 1, noise == "general"),
        n,
        interpretation,
        derivative,
        noise=noise,
        n_noise=b.cols,
        additive=not touched,
        domain=domain,
        outside=outside,
    )


@by_annotations
def to_ito(drift: Any, diffusion: Any, state: Any, *, noise: str = "diagonal") -> Any:
    """Drift of the Ito equation that has the solutions of the given Stratonovich equation, in the form of `drift`.

    a_i + (1/2) sum_k sum_j b_jk ∂b_ik/∂x_j (Kloeden, Platen 1992, eq. 4.9.11); arguments as in `from_sympy`.

    >>> import sympy as sp
    >>> x, s = sp.symbols("x s")
    >>> to_ito(0, s * x, x)
    s**2*x/2
    """
    return _shifted(drift, diffusion, state, noise, 1)


@by_annotations
def to_stratonovich(drift: Any, diffusion: Any, state: Any, *, noise: str = "diagonal") -> Any:
    """Drift of the Stratonovich equation that has the solutions of the given Ito equation: the inverse of `to_ito`.

    >>> import sympy as sp
    >>> x, m, s = sp.symbols("x m s")
    >>> to_stratonovich([m * x], [s * x], [x])
    [m*x - s**2*x/2]
    """
    return _shifted(drift, diffusion, state, noise, -1)


def _shifted(drift: Any, diffusion: Any, state: Any, noise: str, sign: int) -> Any:
    require("to_ito or to_stratonovich", "sympy")
    import sympy as sp

    x = list(_symbols(state, None, ()))
    a, b = _vector("drift", drift, len(x)), _matrix(diffusion, len(x), noise)
    real = {s: sp.Dummy(s.name, real=True) for s in b.free_symbols.union(*(e.free_symbols for e in a), x)}
    back = {dummy: symbol for symbol, dummy in real.items()}
    b = b.applyfunc(lambda e: _evaluated("diffusion", e.xreplace(real)))
    correction = [
        sp.Add(*(b[j, k] * sp.diff(b[i, k], real[x[j]]) for j in range(len(x)) for k in range(b.cols))) for i in range(len(x))
    ]
    shifted = [e + (sp.Rational(sign, 2) * c).xreplace(back) for e, c in zip(a, correction, strict=True)]
    if isinstance(drift, sp.MatrixBase):
        return type(drift)(*drift.shape, shifted)
    return shifted if isinstance(drift, list | tuple) else shifted[0]


# -- checks of the arguments ----------------------------------------------------------------------


def _symbols(state: Any, time: Any, parameters: Any) -> dict[Any, Any]:
    """Symbol given -> the real symbol whose name is its place in f(x, t, p)."""
    import sympy as sp

    groups = {"state": _listed(state), "time": [] if time is None else [time], "parameters": _listed(parameters)}
    if not groups["state"]:
        raise InputError("state", state, "a sympy symbol, or several")
    names: dict[Any, Any] = {}
    for argument, symbols in groups.items():
        for i, symbol in enumerate(symbols):
            if not isinstance(symbol, sp.Symbol):
                raise InputError(argument, symbol, "a sympy symbol" if argument == "time" else "sympy symbols")
            if symbol in names:
                raise InputError(argument, symbol, "symbols that are all different")
            one = argument == "time" or (argument == "state" and len(symbols) == 1)
            letter = {"state": "x", "time": "t", "parameters": "p"}[argument]
            names[symbol] = sp.Symbol(letter if one else f"{letter}[{i}]", real=True)
    return names


def _listed(given: Any) -> list[Any]:
    """A sequence, a vector or one thing, as a list."""
    import sympy as sp

    if isinstance(given, sp.MatrixBase):
        return list(given) if 1 in given.shape else given.tolist()
    return list(given) if isinstance(given, list | tuple | sp.Tuple) else [given]


def _expression(argument: str, given: Any) -> Any:
    import sympy as sp

    try:
        expression = sp.sympify(given, strict=True)
    except sp.SympifyError:
        expression = None
    if not isinstance(expression, sp.Expr):
        raise InputError(argument, given, "sympy expressions or numbers")
    return expression


def _vector(argument: str, given: Any, n: int) -> list[Any]:
    entries = _listed(given)
    if len(entries) != n or any(isinstance(entry, list | tuple) for entry in entries):
        raise InputError(argument, given, f"{n} expressions, one per component" if n > 1 else "one expression")
    return [_expression(argument, entry) for entry in entries]


def _matrix(diffusion: Any, n: int, noise: str) -> Any:
    """b as a Matrix (n, n_noise), whatever the noise."""
    import sympy as sp

    if noise not in NOISES:
        raise InputError("noise", noise, " or ".join(map(repr, NOISES)))
    if noise == "diagonal":
        return sp.diag(*_vector("diffusion", diffusion, n))
    if noise == "scalar":
        return sp.Matrix(_vector("diffusion", diffusion, n))
    rows = diffusion.tolist() if isinstance(diffusion, sp.MatrixBase) else _listed(diffusion)
    if n == 1 and not any(isinstance(row, list | tuple) for row in rows):
        rows = [rows]
    if len(rows) != n or any(not isinstance(row, list | tuple) or len(row) != len(rows[0]) for row in rows) or not rows[0]:
        raise InputError("diffusion", diffusion, f"{n} rows of one expression per Wiener process, for general noise")
    return sp.Matrix([[_expression("diffusion", entry) for entry in row] for row in rows])


def _placed(argument: str, expression: Any, names: dict[Any, Any]) -> Any:
    """The expression in the symbols of f(x, t, p)."""
    for unknown in sorted(expression.free_symbols - set(names), key=str):
        known = ", ".join(map(str, names))
        twin = " (one of that name has other assumptions)" if str(unknown) in map(str, names) else ""
        raise InputError(argument, f"the symbol {unknown}", f"the symbols of state, time and parameters: {known}{twin}")
    return expression.xreplace(names)


def _evaluated(argument: str, expression: Any) -> Any:
    """The expression with sums, derivatives and the like carried out; InputError for one that cannot be."""
    import sympy as sp

    pending = (sp.Sum, sp.Product, sp.Integral, sp.Derivative, sp.Subs, sp.Limit)
    done = expression.doit() if expression.has(*pending) else expression
    for one in done.atoms(*pending):
        raise InputError(argument, one, "expressions that sympy can evaluate")
    return done


def _usable(argument: str, expression: Any) -> Any:
    """The expression in functions that Python's math has; InputError where it is not real and finite."""
    import sympy as sp

    expression = _evaluated(argument, expression)
    # at their jumps these need a value: as branches they have one
    expression = expression.replace(sp.sign, lambda e: sp.sign(e).rewrite(sp.Piecewise))
    expression = expression.replace(sp.Heaviside, lambda *e: sp.Heaviside(*e).rewrite(sp.Piecewise))
    if expression.has(sp.I, sp.oo, -sp.oo, sp.zoo, sp.nan):
        raise InputError(argument, expression, "real and finite expressions")
    for piecewise in expression.atoms(sp.Piecewise):
        if piecewise.args[-1].cond != sp.true:
            raise InputError(argument, piecewise, "a Piecewise whose last piece holds everywhere else: (value, True)")
    # c ** e as exp(e ln c), which runs in lanes; ln c as a number, or sympy takes it back
    return expression.replace(
        lambda e: e.is_Pow and e.base.is_number and e.base.is_positive and bool(e.exp.free_symbols),
        lambda e: sp.exp(e.exp * sp.log(e.base).evalf(17)),
    )


def _folded(expression: Any) -> Any:
    """The expression as one Piecewise: the derivative at a kink is then that of one piece, not 0 times infinity."""
    import sympy as sp

    edged = (sp.Max, sp.Min, sp.Abs, sp.Piecewise)
    if not expression.has(*edged):
        return expression
    for kind in edged[:3]:
        expression = expression.replace(kind, lambda *e, kind=kind: kind(*e).rewrite(sp.Piecewise))
    return sp.piecewise_fold(expression)


# -- text --------------------------------------------------------------------------------------------


def _function(name: str, values: Any, flat: bool, rows: bool) -> Coefficient:
    """f(x, t, p) with the values of a Matrix: a float, or a tuple of floats, or of rows of floats."""
    import sympy as sp

    lines, expressions = _shared(list(values))
    texts = [_text(name, e) for e in expressions]
    if rows:
        texts = [f"({', '.join(texts[i * values.cols : (i + 1) * values.cols])},)" for i in range(values.rows)]
    body = [f"{symbol} = {_text(name, e)}" for symbol, e in lines]
    body.append(f"return {texts[0] if flat else '(' + ', '.join(texts) + ')'}")
    source = "\n    ".join([f"def {name}(x, t, p):", *body]) + "\n"
    file = f"<sympy {sp.__version__} {name} {hash(source):x}>"
    # inspect.getsource and tracebacks read the text there
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope: dict[str, Any] = {"math": math}
    exec(compile(source, file, "exec"), scope)
    function: Coefficient = scope[name]
    return function


def _shared(expressions: list[Any]) -> tuple[list[tuple[Any, Any]], list[Any]]:
    """Common subexpressions as lines (symbol, expression), and what is left of the expressions.

    A Piecewise is one such line, whole: a piece is not computed where it does not hold.
    """
    import sympy as sp

    pieces: dict[Any, Any] = {}

    def without_pieces(e: Any) -> Any:
        if isinstance(e, sp.Piecewise):
            return pieces.setdefault(e, sp.Symbol(f"piece{len(pieces)}", real=True))
        return e.func(*map(without_pieces, e.args)) if e.has(sp.Piecewise) else e

    # sympy's cse takes signs out of sums, and then does not see products that two of them share: -1 is a symbol to it
    minus = sp.Symbol("minus", real=True)

    def signless(e: Any) -> Any:
        return e.replace(lambda f: f.is_Mul and f.args[0].is_number and f.args[0].is_negative, lambda f: minus * -f)

    outer = [signless(without_pieces(e)) for e in expressions]
    shared, left = sp.cse(outer, symbols=sp.numbered_symbols("c", real=True), list=True)
    signed = [(symbol, e.subs(minus, -1)) for symbol, e in shared]
    return [(symbol, e) for e, symbol in pieces.items()] + signed, [e.subs(minus, -1) for e in left]


def _text(argument: str, expression: Any) -> str:
    import sympy as sp
    from sympy.printing.pycode import PythonCodePrinter

    class Printer(PythonCodePrinter):
        def _print_Integer(self, e: Any) -> str:
            return str(e) if abs(int(e)) <= _LARGEST else repr(float(e))

        def _print_Float(self, e: Any) -> str:
            return repr(float(e))

        def _print_Max(self, e: Any) -> str:
            return self._pairwise("max", e.args)

        def _print_Min(self, e: Any) -> str:
            return self._pairwise("min", e.args)

        def _pairwise(self, name: str, arguments: Any) -> str:
            text = self._print(arguments[0])
            for argument in arguments[1:]:
                text = f"{name}({text}, {self._print(argument)})"
            return str(text)

    printer = Printer({"fully_qualified_modules": True, "strict": False, "allow_unknown_functions": False})
    text = str(printer.doprint(expression))
    if printer._not_supported or "\n" in text:
        unknown = ", ".join(sorted({type(e).__name__ if isinstance(e, sp.Basic) else str(e) for e in printer._not_supported}))
        raise InputError(argument, unknown or expression, "functions that Python's math has, and Piecewise")
    return text
