"""Lanes as one SIMD value: the arithmetic that the generated kernels are written in.

A value of this type lives in vector registers, so that a kernel's speed does not hang on whether the compiler
can prove that its arrays do not overlap. `lane_functions` builds exp, tanh and their like from what is here.
Multiplications and additions may contract to fused ones, nothing else is reordered: a lane's numbers do not
depend on its neighbours.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, njit, types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

WIDTH = 32
"""Lanes to a value: 4 registers of AVX-512. Fewer make the rows of large models, which lie a block apart, slow to reach
(n = 1000: 2.1 times a hand-written kernel's time at 8, 1.2 at 32); more spill (twice the compile time at 64)."""


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"Lanes({WIDTH})")


LANES_TYPE = _Lanes()
_DOUBLES = ir.VectorType(ir.DoubleType(), WIDTH)
_INTEGERS = ir.VectorType(ir.IntType(64), WIDTH)
_FLAGS = ("contract",)
intrinsic: Any = extending.intrinsic  # its stub describes the undecorated function, with its typing context


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _DOUBLES)


def _splat(builder: Any, scalar: Any) -> Any:
    vector = builder.insert_element(ir.Constant(_DOUBLES, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(vector, vector, mask)


def _widen(context: Any, builder: Any, value: Any, kind: Any) -> Any:
    """The operand as a vector: itself, or a number in every lane."""
    return value if kind == LANES_TYPE else _splat(builder, context.cast(builder, value, kind, types.float64))


def _define(operation: Any, instruction: str) -> None:
    """Teach numba `operation` (+, -, *, /) between lanes, or lanes and a number."""

    @infer_global(operation)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if LANES_TYPE in args and all(a == LANES_TYPE or isinstance(a, types.Number) for a in args):
                return signature(LANES_TYPE, *args)
            return None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left, right = (_widen(context, builder, a, k) for a, k in zip(args, sig.args, strict=True))
        return getattr(builder, instruction)(left, right, flags=_FLAGS)

    for left, right in ((LANES_TYPE, LANES_TYPE), (LANES_TYPE, types.Number), (types.Number, LANES_TYPE)):
        lower_builtin(operation, left, right)(lower)


for _operation, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define(_operation, _instruction)


def _address(context: Any, builder: Any, array: Any, kind: Any, offset: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.gep(data, [offset])


def _vector_pointer(builder: Any, pointer: Any) -> Any:
    return builder.bitcast(pointer, ir.PointerType(_DOUBLES))


@intrinsic
def load(context: Any, array: Any, offset: Any) -> Any:
    """The lanes that start at flat `offset` of a C-contiguous float64 array; bounds are not checked."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, args[0], sig.args[0], args[1])
        return builder.load(_vector_pointer(builder, pointer), align=8)

    return LANES_TYPE(array, types.int64), generate


@intrinsic
def store(context: Any, array: Any, offset: Any, value: Any) -> Any:
    """Write the lanes that start at flat `offset`; bounds are not checked."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, args[0], sig.args[0], args[1])
        builder.store(args[2], _vector_pointer(builder, pointer), align=8)
        return context.get_dummy_value()

    return types.void(array, types.int64, LANES_TYPE), generate


@intrinsic
def at(context: Any, array: Any, offset: Any) -> Any:
    """One element at flat `offset`, no wraparound: of an index table, or of a table of constants."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, args[0], sig.args[0], args[1]))

    return array.dtype(array, types.int64), generate


@intrinsic
def spread(context: Any, number: Any) -> Any:
    """A number in every lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, args[0])

    return LANES_TYPE(types.float64), generate


def _vector_intrinsic(name: str, n_arguments: int) -> Any:
    """One of LLVM's element-wise functions."""
    function = ir.FunctionType(_DOUBLES, [_DOUBLES] * n_arguments)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        declared = cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.v{WIDTH}f64")
        return builder.call(declared, args)

    return LANES_TYPE(*[LANES_TYPE] * n_arguments), generate


@intrinsic
def sqrt(context: Any, x: Any) -> Any:
    return _vector_intrinsic("sqrt", 1)


@intrinsic
def fabs(context: Any, x: Any) -> Any:
    return _vector_intrinsic("fabs", 1)


@intrinsic
def copysign(context: Any, x: Any, sign: Any) -> Any:
    return _vector_intrinsic("copysign", 2)


@intrinsic
def fma(context: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z rounded once, whatever the compiler chooses elsewhere: argument reductions rely on it."""
    return _vector_intrinsic("fma", 3)


@intrinsic
def largest(context: Any, x: Any) -> Any:
    """The largest lane (NaN ignored)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function = ir.FunctionType(ir.DoubleType(), [_DOUBLES])
        declared = cgutils.get_or_insert_function(builder.module, function, f"llvm.vector.reduce.fmax.v{WIDTH}f64")
        return builder.call(declared, args)

    return types.float64(LANES_TYPE), generate


def _bit_operation(build: Callable[[Any, Any], Any]) -> Any:
    """Lanes -> lanes through their 64-bit patterns."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(build(builder, builder.bitcast(args[0], _INTEGERS)), _DOUBLES)

    return LANES_TYPE(LANES_TYPE), generate


def _all(value: int) -> Any:
    return ir.Constant(_INTEGERS, [value] * WIDTH)


MAGIC = 6755399441055744.0  # 1.5 2^52: x + MAGIC rounds x to an integer, which its low bits then hold


@intrinsic
def power_of_two(context: Any, shifted: Any) -> Any:
    """2^k from k + MAGIC, -1022 <= k <= 1023."""
    return _bit_operation(lambda b, bits: b.shl(b.add(bits, _all(1023)), _all(52)))


@intrinsic
def exponent(context: Any, x: Any) -> Any:
    """floor(log2(x sqrt 2)) + MAGIC of normal x > 0: the mantissa that is left lies in [1/sqrt 2, sqrt 2)."""

    def build(b: Any, bits: Any) -> Any:
        k = b.lshr(b.add(bits, _all(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)), _all(52))
        return b.add(b.sub(k, _all(1023)), _all(0x4338000000000000))

    return _bit_operation(build)


@intrinsic
def odd_bit_to_sign(context: Any, shifted: Any) -> Any:
    """+-0: the sign is the lowest bit of k in k + MAGIC."""
    return _bit_operation(lambda b, bits: b.shl(bits, _all(63)))


@intrinsic
def below(context: Any, x: Any, y: Any, yes: Any, no: Any) -> Any:
    """Lane by lane `yes` where x < y, else `no` (NaN: no)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return LANES_TYPE(*[LANES_TYPE] * 4), generate


@intrinsic
def lane(context: Any, x: Any, i: Any) -> Any:
    """Lane i as a number."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], args[1])

    return types.float64(LANES_TYPE, types.int64), generate


@intrinsic
def with_lane(context: Any, x: Any, i: Any, value: Any) -> Any:
    """x with another number in lane i."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.insert_element(args[0], args[2], args[1])

    return LANES_TYPE(LANES_TYPE, types.int64, types.float64), generate


@njit
def widen(rows: Any) -> Any:
    """Fewer than WIDTH lanes, filled up with copies of the last."""
    wide = np.empty((rows.shape[0], WIDTH))
    for i in range(rows.shape[0]):
        for n in range(WIDTH):
            wide[i, n] = rows[i, min(n, rows.shape[1] - 1)]
    return wide


@njit
def narrow(wide: Any, rows: Any) -> None:
    """The first lanes of `wide` into `rows`."""
    for i in range(rows.shape[0]):
        for n in range(rows.shape[1]):
            rows[i, n] = wide[i, n]
