"""Lanes: SIMD vectors of float64 for Numba, and the arithmetic of the compiled kernels.

A value of this type lives in vector registers, so that a kernel's speed does not depend on whether the compiler
can prove that its arrays do not overlap. `functions` builds exp, tanh and their like from what is here.
Multiplications and additions may contract to fused ones, nothing else is reordered: a lane's numbers do not
depend on its neighbours.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, njit, types
from numba.core import cgutils
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, lower_cast, models, register_model


class Lanes(types.Type):
    """`width` float64 numbers, one per lane."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Lanes({width})")

    def can_convert_from(self, typingctx: Any, other: Any) -> Any:
        """A number becomes lanes where a variable holds both: s = 0.0, then s += x[i]."""
        return Conversion.safe if isinstance(other, types.Number) else None

    def unify(self, typingctx: Any, other: Any) -> Any:
        """Lanes, of lanes and a number."""
        return self if isinstance(other, types.Number) else None

    @property
    def doubles(self) -> Any:
        """The LLVM type."""
        return ir.VectorType(ir.DoubleType(), self.width)

    vector = doubles

    @property
    def integers(self) -> Any:
        """The same bits as integers."""
        return ir.VectorType(ir.IntType(64), self.width)


_FLAGS = ("contract",)
intrinsic: Any = extending.intrinsic  # its stub describes the undecorated function, with its typing context


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, kind.doubles)


def _splat(builder: Any, scalar: Any, width: int) -> Any:
    doubles = ir.VectorType(ir.DoubleType(), width)
    vector = builder.insert_element(ir.Constant(doubles, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
    return builder.shuffle_vector(vector, vector, mask)


def _widen(context: Any, builder: Any, value: Any, kind: Any, width: int) -> Any:
    """The operand as a vector: itself, or a number in every lane."""
    return value if isinstance(kind, Lanes) else _splat(builder, context.cast(builder, value, kind, types.float64), width)


@lower_cast(types.Number, Lanes)
def _spread_number(context: Any, builder: Any, kind: Any, lanes: Any, value: Any) -> Any:
    return _widen(context, builder, value, kind, lanes.width)


def _common(args: Any) -> Lanes | None:
    """The one type of lanes among the arguments, if the others are numbers."""
    kinds = {a for a in args if isinstance(a, Lanes)}
    if len(kinds) != 1 or not all(isinstance(a, Lanes | types.Number) for a in args):
        return None
    return kinds.pop()


def _define(operation: Any, instruction: str) -> None:
    """Teach numba `operation` (+, -, *, /) between lanes, or lanes and a number."""

    @infer_global(operation)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            kind = _common(args)
            return None if kind is None else signature(kind, *args)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        width = sig.return_type.width
        left, right = (_widen(context, builder, a, k, width) for a, k in zip(args, sig.args, strict=True))
        return getattr(builder, instruction)(left, right, flags=_FLAGS)

    for left, right in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(operation, left, right)(lower)


for _operation, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
    (operator.iadd, "fadd"),
    (operator.isub, "fsub"),
    (operator.imul, "fmul"),
    (operator.itruediv, "fdiv"),
):
    _define(_operation, _instruction)


def _address(context: Any, builder: Any, array: Any, kind: Any, offset: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.gep(data, [offset])


def _vector_pointer(builder: Any, pointer: Any, kind: Lanes) -> Any:
    return builder.bitcast(pointer, ir.PointerType(kind.doubles))


@cache
def load_and_spread(width: int) -> tuple[Any, Any]:
    """`load(array, offset)`, the lanes that start at flat `offset` of a C-contiguous float64 array (bounds are not
    checked), and `spread(number)`, a number in every lane."""
    kind = Lanes(width)

    @intrinsic
    def load(context: Any, array: Any, offset: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = _address(context, builder, args[0], sig.args[0], args[1])
            return builder.load(_vector_pointer(builder, pointer, kind), align=8)

        return kind(array, types.int64), generate

    @intrinsic
    def spread(context: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _splat(builder, args[0], width)

        return kind(types.float64), generate

    return load, spread


@intrinsic
def aligned_stack(context: Any) -> Any:
    """Has the calling function keep its stack aligned to vectors, so that those that find no register do not cross cache lines.

    Otherwise chance decides, and a kernel may take a sixth longer in one process than in another.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        attributes = builder.function.attributes
        attributes.alignstack = 64
        attributes.add("nounwind")  # true of all that numba compiles; llvmlite forgets the alignment if it is the only attribute
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def spread_like(context: Any, x: Any, number: Any) -> Any:
    """A number in every lane of a value such as x."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, args[1], x.width)

    return x(x, types.float64), generate


@intrinsic
def width_of(context: Any, x: Any) -> Any:
    """The number of lanes of x."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(64), x.width)

    return types.int64(x), generate


@intrinsic
def store(context: Any, array: Any, offset: Any, value: Any) -> Any:
    """Write the lanes (numbers, or words) that start at flat `offset`; bounds are not checked."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, args[0], sig.args[0], args[1])
        builder.store(args[2], builder.bitcast(pointer, ir.PointerType(value.vector)), align=8)
        return context.get_dummy_value()

    return types.void(array, types.int64, value), generate


@intrinsic
def at(context: Any, array: Any, offset: Any) -> Any:
    """One element at flat `offset`, no wraparound: of an index table, or of a table of constants."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, args[0], sig.args[0], args[1]))

    return array.dtype(array, types.int64), generate


def _vector_intrinsic(name: str, kind: Lanes, n_arguments: int) -> Any:
    """One of LLVM's element-wise functions."""
    function = ir.FunctionType(kind.doubles, [kind.doubles] * n_arguments)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        declared = cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.v{kind.width}f64")
        return builder.call(declared, args)

    return kind(*[kind] * n_arguments), generate


@intrinsic
def sqrt(context: Any, x: Any) -> Any:
    return _vector_intrinsic("sqrt", x, 1)


@intrinsic
def fabs(context: Any, x: Any) -> Any:
    return _vector_intrinsic("fabs", x, 1)


@intrinsic
def copysign(context: Any, x: Any, sign: Any) -> Any:
    return _vector_intrinsic("copysign", x, 2)


@intrinsic
def fma(context: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z rounded once, whatever the compiler chooses elsewhere: argument reductions rely on it."""
    return _vector_intrinsic("fma", x, 3)


@intrinsic
def multiply_add(context: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z: rounded once where the processor can, in lanes of any width alike."""
    return _vector_intrinsic("fmuladd", x, 3)


@intrinsic
def largest(context: Any, x: Any) -> Any:
    """The largest lane (NaN ignored)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function = ir.FunctionType(ir.DoubleType(), [x.doubles])
        declared = cgutils.get_or_insert_function(builder.module, function, f"llvm.vector.reduce.fmax.v{x.width}f64")
        return builder.call(declared, args)

    return types.float64(x), generate


def _bit_operation(kind: Lanes, build: Callable[[Any, Any, Callable[[int], Any]], Any]) -> Any:
    """Lanes -> lanes through their 64-bit patterns; `build` is given a maker of constants."""

    def constant(value: int) -> Any:
        return ir.Constant(kind.integers, [value] * kind.width)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(build(builder, builder.bitcast(args[0], kind.integers), constant), kind.doubles)

    return kind(kind), generate


MAGIC = 6755399441055744.0  # 1.5 2^52: x + MAGIC rounds x to an integer, which its low bits then hold


@intrinsic
def power_of_two(context: Any, shifted: Any) -> Any:
    """2^k from k + MAGIC, -1022 <= k <= 1023."""
    return _bit_operation(shifted, lambda b, bits, c: b.shl(b.add(bits, c(1023)), c(52)))


@intrinsic
def exponent(context: Any, x: Any) -> Any:
    """floor(log2(x sqrt 2)) + MAGIC of normal x > 0: the mantissa that is left lies in [1/sqrt 2, sqrt 2)."""

    def build(b: Any, bits: Any, c: Any) -> Any:
        k = b.lshr(b.add(bits, c(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)), c(52))
        return b.add(b.sub(k, c(1023)), c(0x4338000000000000))

    return _bit_operation(x, build)


@intrinsic
def odd_bit_to_sign(context: Any, shifted: Any) -> Any:
    """+-0: the sign is the lowest bit of k in k + MAGIC."""
    return _bit_operation(shifted, lambda b, bits, c: b.shl(bits, c(63)))


@intrinsic
def below(context: Any, x: Any, y: Any, yes: Any, no: Any) -> Any:
    """Lane by lane `yes` where x < y, else `no` (NaN: no)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return x(*[x] * 4), generate


@intrinsic
def lane(context: Any, x: Any, i: Any) -> Any:
    """Lane i as a number."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], args[1])

    return types.float64(x, types.int64), generate


@intrinsic
def with_lane(context: Any, x: Any, i: Any, value: Any) -> Any:
    """x with another number in lane i."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.insert_element(args[0], args[2], args[1])

    return x(x, types.int64, types.float64), generate


@njit
def widen(rows: Any, width: int) -> Any:
    """rows (m, lanes) padded to `width` lanes with copies of the last."""
    wide = np.empty((rows.shape[0], width))
    for i in range(rows.shape[0]):
        for n in range(width):
            wide[i, n] = rows[i, min(n, rows.shape[1] - 1)]
    return wide


@njit
def narrow(wide: Any, rows: Any) -> None:
    """rows (m, lanes) <- the first lanes of `wide`: the inverse of `widen`."""
    for i in range(rows.shape[0]):
        for n in range(rows.shape[1]):
            rows[i, n] = wide[i, n]
