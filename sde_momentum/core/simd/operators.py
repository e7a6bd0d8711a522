"""Scalar Python on lanes: -x, abs, max, min, x ** k and the functions of `math` and NumPy.

Importing this module registers them with numba: a function written for one number then compiles for lanes. Comparisons and
branches are not supported: a function with them is compiled for single numbers.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, overload

from . import functions
from .lanes import MAGIC, Lanes, _common, _widen, below, fabs, intrinsic, spread_like


def _unary(operation: Any, build: Callable[[Any, Any], Any]) -> None:
    @infer_global(operation)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            return signature(args[0], args[0]) if len(args) == 1 and isinstance(args[0], Lanes) else None

    @lower_builtin(operation, Lanes)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return build(builder, args[0])


_unary(operator.neg, lambda builder, x: builder.fneg(x))
_unary(operator.pos, lambda builder, x: x)


def _extreme(operation: Any, comparison: str) -> None:
    """max or min of two, as in Python: the first unless the second is greater (less)."""

    @infer_global(operation)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            kind = _common(args) if len(args) == 2 else None
            return None if kind is None else signature(kind, *args)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        width = sig.return_type.width
        one, two = (_widen(context, builder, a, k, width) for a, k in zip(args, sig.args, strict=True))
        return builder.select(builder.fcmp_ordered(comparison, two, one), two, one)

    for left, right in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(operation, left, right)(lower)


_extreme(max, ">")
_extreme(min, "<")


@overload(abs)
def _abs(x: Any) -> Any:
    def size(x: Any) -> Any:
        return fabs(x)

    return size if isinstance(x, Lanes) else None


@njit
def _whole_power(x: Any, n: int) -> Any:
    """x^n by repeated squaring."""
    result, square, left = spread_like(x, 1.0), x, abs(n)
    while left > 0:
        if left & 1:
            result = result * square
        square = square * square
        left >>= 1
    return 1.0 / result if n < 0 else result


@njit
def _real_power(x: Any, y: Any) -> Any:
    """x^y for y in lanes, as C's pow: sign and value of x^n for whole y (|y| < 2^51), NaN for x < 0 and other y, 1 for y = 0.

    exp(y ln |x|), within |y ln x| units in the last place.
    """
    zero, one = spread_like(x, 0.0), spread_like(x, 1.0)
    size = functions.exp(y * functions.log(fabs(x)))
    whole = (y + MAGIC) - MAGIC
    odd = fabs(whole - 2.0 * ((0.5 * y + MAGIC) - MAGIC))
    negative = below(zero, fabs(y - whole), spread_like(x, np.nan), size * (1.0 - 2.0 * odd))
    return below(zero, fabs(y), below(x, zero, negative, size), one)


@njit
def _power(x: Any, y: float) -> Any:
    """x^y for one number y: repeated squaring where it is whole and small, as p[0] = 3.0 may be."""
    if abs(y) <= 64.0 and y == math.floor(y):
        return _whole_power(x, int(y))
    return _real_power(x, spread_like(x, y))


@overload(operator.pow)
@overload(math.pow)
@overload(pow)
def _pow(x: Any, y: Any) -> Any:
    def square(x: Any, y: Any) -> Any:
        return x * x

    def whole(x: Any, y: Any) -> Any:
        return _whole_power(x, y)

    def real(x: Any, y: Any) -> Any:
        return _real_power(x, y)

    def one(x: Any, y: Any) -> Any:
        return _power(x, y)

    if not isinstance(x, Lanes):
        return None
    if isinstance(y, types.IntegerLiteral) and y.literal_value == 2:
        return square
    return whole if isinstance(y, types.Integer) else real if isinstance(y, Lanes) else one


def _teach(name: str, function: Any) -> None:
    """math.name and np.name of lanes."""

    def typed(x: Any) -> Any:
        def on_lanes(x: Any) -> Any:
            return function(x)

        return on_lanes if isinstance(x, Lanes) else None

    for module, its_name in ((math, name), (np, {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}.get(name, name))):
        given = getattr(module, its_name, None)
        if given is not None:
            overload(given)(typed)


for _name in functions.__all__:
    _teach(_name, getattr(functions, _name))


@intrinsic
def as_lanes(context: Any, like: Any, value: Any) -> Any:
    """The value itself, or a number in every lane of a value such as `like`; for single numbers, the number."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if isinstance(like, Lanes):
            return _widen(context, builder, args[1], value, like.width)
        return context.cast(builder, args[1], value, types.float64)

    return (like if isinstance(like, Lanes) else types.float64)(like, value), generate


def _operand(context: Any, builder: Any, value: Any, kind: Any, result: Any) -> Any:
    if isinstance(result, Lanes):
        return _widen(context, builder, value, kind, result.width)
    return context.cast(builder, value, kind, types.float64)


@intrinsic
def where_below(context: Any, x: Any, y: Any, yes: Any, no: Any) -> Any:
    """`yes` where x < y, else `no` (NaN: no); lanes, numbers, or some of both."""
    result = _common((x, y, yes, no)) or types.float64

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left, right, one, two = (_operand(context, builder, a, k, result) for a, k in zip(args, sig.args, strict=True))
        return builder.select(builder.fcmp_ordered("<", left, right), one, two)

    return result(x, y, yes, no), generate


def _bits(kind: Any) -> tuple[Any, Any, Callable[[int], Any]]:
    """LLVM types of the number and of its bits, and a maker of constants."""
    if isinstance(kind, Lanes):
        return kind.doubles, kind.integers, lambda value: ir.Constant(kind.integers, [value] * kind.width)
    return ir.DoubleType(), ir.IntType(64), lambda value: ir.Constant(ir.IntType(64), value)


@intrinsic
def signed(context: Any, value: Any, word: Any) -> Any:
    """The number `value`, negated where the highest bit of `word` (bits held as float64) is set."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        doubles, integers, constant = _bits(word)
        number = builder.bitcast(_operand(context, builder, args[0], value, word), integers)
        sign = builder.and_(builder.bitcast(args[1], integers), constant(1 << 63))
        return builder.bitcast(builder.xor(number, sign), doubles)

    return word(value, word), generate


@intrinsic
def shifted(context: Any, word: Any, places: Any) -> Any:
    """The bits of `word` moved up by `places` (0 to 63)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        doubles, integers, _ = _bits(word)
        count = context.cast(builder, args[1], places, types.int64)
        if isinstance(word, Lanes):
            vector = builder.insert_element(ir.Constant(integers, ir.Undefined), count, ir.Constant(ir.IntType(32), 0))
            mask = ir.Constant(ir.VectorType(ir.IntType(32), word.width), [0] * word.width)
            count = builder.shuffle_vector(vector, vector, mask)
        return builder.bitcast(builder.shl(builder.bitcast(args[0], integers), count), doubles)

    return word(word, types.int64), generate
