"""The outputs f_k(w, x) as an expression graph without duplicates (common subexpressions are shared), and its derivative.

Leaves are parameters w_i, inputs x_j of a sample, and numbers. Every other node is a sum, a product, a power
with a fixed exponent, or a smooth function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp

from sde_momentum.core.errors import InputError

a, y = sp.symbols("a y")  # argument and value of a function in the rules below

# name -> derivative in terms of the argument a and of the value y
DERIVATIVE: Mapping[str, sp.Expr] = {
    "exp": y,
    "log": 1 / a,
    "tanh": 1 - y**2,
    "sin": sp.cos(a),
    "cos": -sp.sin(a),
    "tan": 1 + y**2,
    "sinh": sp.cosh(a),
    "cosh": sp.sinh(a),
    "asin": (1 - a**2) ** sp.Rational(-1, 2),
    "acos": -((1 - a**2) ** sp.Rational(-1, 2)),
    "atan": 1 / (1 + a**2),
    "asinh": (1 + a**2) ** sp.Rational(-1, 2),
    "acosh": (a**2 - 1) ** sp.Rational(-1, 2),
    "atanh": 1 / (1 - a**2),
    "erf": 2 / sp.sqrt(sp.pi) * sp.exp(-(a**2)),
}

# Functions that are rewritten in terms of those.
_REWRITE: Mapping[type, Callable[[Any], sp.Expr]] = {
    sp.cot: lambda x: 1 / sp.tan(x),
    sp.sec: lambda x: 1 / sp.cos(x),
    sp.csc: lambda x: 1 / sp.sin(x),
    sp.coth: lambda x: 1 / sp.tanh(x),
    sp.sech: lambda x: 1 / sp.cosh(x),
    sp.csch: lambda x: 1 / sp.sinh(x),
    sp.erfc: lambda x: 1 - sp.erf(x),
}

NOT_SMOOTH = (
    sp.Abs, sp.sign, sp.Heaviside, sp.Max, sp.Min, sp.Piecewise, sp.floor, sp.ceiling, sp.Mod, sp.frac,
    sp.DiracDelta, sp.re, sp.im, sp.arg, sp.conjugate,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Node:
    """`value`: the number of a const, the index of a param or an input, the exponent of a power, the name of a call.

    `shape` is equal for nodes that differ in their leaves only; `leaves` are the first few of these; `serial`
    counts nodes in the order of their making.
    """

    op: str  # const, param, input, add, mul, power, call
    args: tuple[Node, ...]
    value: Any
    shape: int
    leaves: tuple[float, ...]
    by_parameters: bool
    by_inputs: bool
    serial: int

    @property
    def is_leaf(self) -> bool:
        return not self.args


Symbols = dict[sp.Basic, frozenset[sp.Symbol]]


def symbols_in(expression: sp.Basic, known: Symbols) -> frozenset[sp.Symbol]:
    """The symbols of an expression; `known` holds those of the parts looked at so far.

    Each shared part is looked at once: nested sums, such as the states of a recurrent network, written out grow exponentially.
    """
    if expression not in known:
        found = (expression,) if isinstance(expression, sp.Symbol) else ()
        known[expression] = frozenset(found).union(*(symbols_in(arg, known) for arg in expression.args))
    return known[expression]


@dataclass
class Graph:
    """Creates nodes; equal ones are shared (hash consing)."""

    n_parameters: int
    _nodes: dict[Any, Node] = field(default_factory=dict)
    _shapes: dict[Any, int] = field(default_factory=dict)
    _tangents: dict[Node, Node] = field(default_factory=dict)
    _symbols: Symbols = field(default_factory=dict)

    def _node(self, op: str, args: tuple[Node, ...], value: Any = None) -> Node:
        key = (op, tuple(id(arg) for arg in args), value)
        if key not in self._nodes:
            shape_key = (op, tuple(arg.shape for arg in args), None if not args else value)
            self._nodes[key] = Node(
                op,
                args,
                value,
                self._shapes.setdefault(shape_key, len(self._shapes)),
                tuple(leaf for arg in args for leaf in arg.leaves)[:8] if args else (value,),
                op == "param" or any(arg.by_parameters for arg in args),
                op == "input" or any(arg.by_inputs for arg in args),
                len(self._nodes),
            )
        return self._nodes[key]

    def const(self, value: float) -> Node:
        return self._node("const", (), float(value))

    def param(self, index: int) -> Node:
        return self._node("param", (), index)

    def input(self, index: int) -> Node:
        return self._node("input", (), index)

    def add(self, args: Sequence[Node]) -> Node:
        number = sum(arg.value for arg in args if arg.op == "const")
        rest = [arg for arg in args if arg.op != "const"]
        if number or not rest:
            rest.append(self.const(number))
        factors = {arg.args[-1].value if arg.op == "mul" and arg.args[-1].op == "const" else 1.0 for arg in rest}
        if len(rest) > 1 and factors != {1.0} and len(factors) == 1:  # sympy hands a common factor to every term
            return self.mul([self.const(factors.pop()), self.add([self.mul(arg.args[:-1]) for arg in rest])])
        rest = self._apart(rest, self.add)
        return rest[0] if len(rest) == 1 else self._node("add", _sorted(rest))

    def mul(self, args: Sequence[Node]) -> Node:
        """A product with its constant factor last."""
        number = float(np.prod([arg.value for arg in args if arg.op == "const"]))
        rest = self._apart([arg for arg in args if arg.op != "const"], self.mul)
        if number == 0 or not rest:
            return self.const(number)
        factors = (*_sorted(rest), self.const(number)) if number != 1 else _sorted(rest)
        return factors[0] if len(factors) == 1 else self._node("mul", factors)

    def _apart(self, args: list[Node], join: Callable[[list[Node]], Node]) -> list[Node]:
        """Group a sum or product: terms of parameters alone and terms of inputs alone become one node each.

        A kernel evaluates the first once for all samples, and finds the second in a column of the data.
        """
        if not (any(arg.by_parameters for arg in args) and any(arg.by_inputs for arg in args)):
            return args
        for kind in ((True, False), (False, True)):
            alone = [arg for arg in args if (arg.by_parameters, arg.by_inputs) == kind]
            if 1 < len(alone) < len(args):
                args = [arg for arg in args if (arg.by_parameters, arg.by_inputs) != kind] + [join(alone)]
        return args

    def power(self, base: Node, exponent: float) -> Node:
        if base.op == "const":
            return self.const(base.value**exponent)
        return base if exponent == 1 else self._node("power", (base,), float(exponent))

    def call(self, name: str, argument: Node) -> Node:
        return self._node("call", (argument,), name)

    def from_sympy(self, expression: sp.Expr, names: dict[sp.Expr, Node], where: str) -> Node:
        """The node of `expression`; `names` holds the nodes known so far. InputError names the output `where`."""
        if expression in names:
            return names[expression]
        if not symbols_in(expression, self._symbols):
            node = self.const(_real(expression, where))
        elif isinstance(expression, sp.Symbol):
            raise InputError(where, f"the symbol {expression}", "parameters and inputs only")
        elif isinstance(expression, NOT_SMOOTH) or not isinstance(expression, sp.Expr):
            raise InputError(where, f"{expression}, not differentiable everywhere", "smooth expressions")
        elif type(expression) in _REWRITE:
            node = self.from_sympy(_REWRITE[type(expression)](*expression.args), names, where)
        else:
            args = [self.from_sympy(arg, names, where) for arg in expression.args]
            if isinstance(expression, sp.Add):
                node = self.add(args)
            elif isinstance(expression, sp.Mul):
                node = self.mul(args)
            elif isinstance(expression, sp.Pow):
                node = self._power(args[0], args[1], where)
            elif type(expression).__name__ in DERIVATIVE and len(args) == 1:
                node = self.call(type(expression).__name__, args[0])
            else:
                raise InputError(where, expression, "sums, products, powers, " + ", ".join(DERIVATIVE))
        names[expression] = node
        return node

    def _power(self, base: Node, exponent: Node, where: str) -> Node:
        if exponent.op == "const":
            return self.power(base, exponent.value)
        if base.op != "const":
            logarithm = self.call("log", base)
        elif base.value > 0:
            logarithm = self.const(np.log(base.value))
        else:
            raise InputError(where, f"a power of the constant {base.value:g}", "powers of positive constants")
        return self.call("exp", self.mul([exponent, logarithm]))

    def tangent(self, node: Node) -> Node:
        """Derivative along a direction d: node(w, x) -> sum_i d_i d(node)/dw_i, with d_i the parameter N + i."""
        if node not in self._tangents:
            self._tangents[node] = self._tangent(node)
        return self._tangents[node]

    def _tangent(self, node: Node) -> Node:
        if not node.by_parameters:
            return self.const(0)
        if node.op == "param":
            return self.param(self.n_parameters + node.value)
        slopes = [self.tangent(arg) for arg in node.args]
        if node.op == "add":
            return self.add(slopes)
        if node.op == "mul":
            rest = [node.args[:i] + node.args[i + 1 :] for i in range(len(slopes))]
            return self.add([self.mul([slope, *others]) for slope, others in zip(slopes, rest, strict=True)])
        if node.op == "power":
            (base,), p = node.args, node.value
            return self.mul([self.const(p), self.power(base, p - 1), slopes[0]])
        outer = self.from_sympy(DERIVATIVE[node.value], {a: node.args[0], y: node}, node.value)
        return self.mul([outer, slopes[0]])


def _sorted(args: Sequence[Node]) -> tuple[Node, ...]:
    """Sort terms so that those of equal shape are neighbours, in the order of their leaves: a loop can run over them."""
    return tuple(sorted(args, key=lambda node: (node.shape, node.leaves, node.serial)))


def _real(expression: sp.Expr, where: str) -> float:
    value = sp.N(expression, 30)
    if not (value.is_number and value.is_real and value.is_finite):
        raise InputError(where, f"the constant {expression}", "real finite constants")
    return float(value)


def evaluate(node: Node, data: np.ndarray) -> np.ndarray:
    """Value of a node that depends on inputs alone, at every row of `data`."""
    if node.op == "const":
        return np.full(len(data), node.value)
    if node.op == "input":
        return np.asarray(data[:, node.value])
    args = [evaluate(arg, data) for arg in node.args]
    if node.op == "add":
        return np.sum(args, axis=0)
    if node.op == "mul":
        return np.prod(args, axis=0)
    with np.errstate(all="ignore"):
        if node.op == "power":
            return np.asarray(args[0] ** node.value)
        x = sp.Symbol("x")
        return np.asarray(sp.lambdify(x, getattr(sp, node.value)(x), ["scipy", "numpy"])(args[0]))
