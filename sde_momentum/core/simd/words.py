"""Lanes of 64-bit words as one SIMD value: the integer arithmetic of the random streams, and a double's bits.

Sums are modulo 2^64 and shifts fill with zeros; a number combined with words acts on every lane.
"""

from __future__ import annotations

import operator
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from .lanes import Lanes, intrinsic


class Words(types.Type):
    """`width` words, one per lane."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Words({width})")

    @property
    def vector(self) -> Any:
        """The LLVM type."""
        return ir.VectorType(ir.IntType(64), self.width)


@register_model(Words)
class _WordsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, kind.vector)


def _splat(builder: Any, word: Any, width: int) -> Any:
    vector = ir.VectorType(ir.IntType(64), width)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), word, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width))


def _define(operation: Any, instruction: str) -> None:
    """Teach numba `operation` between words, or words and an integer."""

    @infer_global(operation)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            fits = len(args) == 2 and isinstance(args[0], Words) and (args[1] == args[0] or isinstance(args[1], types.Integer))
            return signature(args[0], *args) if fits else None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left, right = args
        if isinstance(sig.args[1], types.Integer):
            word = context.cast(builder, right, sig.args[1], types.uint64)
            right = _splat(builder, word, sig.return_type.width)
        return getattr(builder, instruction)(left, right)

    lower_builtin(operation, Words, Words)(lower)
    lower_builtin(operation, Words, types.Integer)(lower)


for _operation, _instruction in (
    (operator.add, "add"),
    (operator.and_, "and_"),
    (operator.or_, "or_"),
    (operator.xor, "xor"),
    (operator.lshift, "shl"),
    (operator.rshift, "lshr"),
):
    _define(_operation, _instruction)


@cache
def load_words(width: int) -> Any:
    """`load(array, offset)`: the words that start at flat `offset` of a C-contiguous uint64 array, no bounds checked.

    They are written with `lanes.store`.
    """
    kind = Words(width)

    @intrinsic
    def load(context: Any, array: Any, offset: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            data = context.make_array(sig.args[0])(context, builder, args[0]).data
            pointer = builder.bitcast(builder.gep(data, [args[1]]), ir.PointerType(kind.vector))
            return builder.load(pointer, align=8)

        return kind(array, types.int64), generate

    return load


@intrinsic
def rotate_left(context: Any, x: Any, count: Any) -> Any:
    """x rotated left by 0 <= count < 64 bits."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function = ir.FunctionType(x.vector, [x.vector] * 3)
        declared = cgutils.get_or_insert_function(builder.module, function, f"llvm.fshl.v{x.width}i64")
        return builder.call(declared, [args[0], args[0], _splat(builder, args[1], x.width)])

    return x(x, types.int64), generate


@intrinsic
def as_doubles(context: Any, x: Any) -> Any:
    """The same bits read as doubles."""
    kind = Lanes(x.width)
    return kind(x), lambda _, builder, __, args: builder.bitcast(args[0], kind.doubles)


@intrinsic
def as_words(context: Any, x: Any) -> Any:
    """The bits of doubles."""
    kind = Words(x.width)
    return kind(x), lambda _, builder, __, args: builder.bitcast(args[0], kind.vector)


@intrinsic
def where_bit(context: Any, x: Any, bit: Any, yes: Any, no: Any) -> Any:
    """Lane by lane `yes` where x & bit is not zero, else `no`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        masked = builder.and_(args[0], _splat(builder, args[1], x.width))
        zero = ir.Constant(x.vector, [0] * x.width)
        return builder.select(builder.icmp_unsigned("!=", masked, zero), args[2], args[3])

    return yes(x, types.uint64, yes, yes), generate
