"""Lanes as one SIMD value: the arithmetic that the generated kernels are written in.

A value of this type lives in vector registers, so that a kernel's speed does not hang on whether the compiler
can prove that its arrays do not overlap. exp, log, tanh, sin and cos are branch-free polynomials (fdlibm's
reductions; within 3 units in the last place, tested); other functions go lane by lane to libm.
Multiplications and additions may contract to fused ones, nothing else is reordered: a lane's numbers do not
depend on its neighbours.
"""

from __future__ import annotations

import math
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
def _fabs(context: Any, x: Any) -> Any:
    return _vector_intrinsic("fabs", 1)


@intrinsic
def _copysign(context: Any, x: Any, sign: Any) -> Any:
    return _vector_intrinsic("copysign", 2)


@intrinsic
def _fma(context: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z rounded once, whatever the compiler chooses elsewhere: argument reductions rely on it."""
    return _vector_intrinsic("fma", 3)


@intrinsic
def _largest(context: Any, x: Any) -> Any:
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


_MAGIC = 6755399441055744.0  # 1.5 2^52: x + MAGIC rounds x to an integer, which its low bits then hold


@intrinsic
def _power_of_two(context: Any, shifted: Any) -> Any:
    """2^k from k + MAGIC, -1022 <= k <= 1023."""
    return _bit_operation(lambda b, bits: b.shl(b.add(bits, _all(1023)), _all(52)))


@intrinsic
def _exponent(context: Any, x: Any) -> Any:
    """floor(log2(x sqrt 2)) + MAGIC of normal x > 0: the mantissa that is left lies in [1/sqrt 2, sqrt 2)."""

    def build(b: Any, bits: Any) -> Any:
        k = b.lshr(b.add(bits, _all(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)), _all(52))
        return b.add(b.sub(k, _all(1023)), _all(0x4338000000000000))

    return _bit_operation(build)


@intrinsic
def _odd_bit_to_sign(context: Any, shifted: Any) -> Any:
    """+-0: the sign is the lowest bit of k in k + MAGIC."""
    return _bit_operation(lambda b, bits: b.shl(bits, _all(63)))


@intrinsic
def _below(context: Any, x: Any, y: Any, yes: Any, no: Any) -> Any:
    """Lane by lane `yes` where x < y, else `no` (NaN: no)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return LANES_TYPE(*[LANES_TYPE] * 4), generate


@intrinsic
def _get(context: Any, x: Any, i: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], args[1])

    return types.float64(LANES_TYPE, types.int64), generate


@intrinsic
def _set(context: Any, x: Any, i: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.insert_element(args[0], args[2], args[1])

    return LANES_TYPE(LANES_TYPE, types.int64, types.float64), generate


def _lane_by_lane(scalar: Callable[[float], float]) -> Any:
    @njit
    def function(x: Any) -> Any:
        y = x
        for i in range(WIDTH):
            y = _set(y, i, scalar(_get(x, i)))
        return y

    return function


atan, asin, acos, erf = (_lane_by_lane(f) for f in (math.atan, math.asin, math.acos, math.erf))
sinh, cosh, asinh, acosh = (_lane_by_lane(f) for f in (math.sinh, math.cosh, math.asinh, math.acosh))
atanh, tan = _lane_by_lane(math.atanh), _lane_by_lane(math.tan)
_libm_sin, _libm_cos = _lane_by_lane(math.sin), _lane_by_lane(math.cos)

_LOG2E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10


@njit
def _expm1_reduced(r: Any) -> Any:
    """exp(r) - 1 for |r| <= ln(2) / 2: its Taylor series to r^13, by Estrin's scheme."""
    r2 = r * r
    r4 = r2 * r2
    a = 0.5 + r * (1 / 6)
    b = 1 / 24 + r * (1 / 120)
    c = 1 / 720 + r * (1 / 5040)
    d = 1 / 40320 + r * (1 / 362880)
    e = 1 / 3628800 + r * (1 / 39916800)
    f = 1 / 479001600 + r * (1 / 6227020800)
    return r + r2 * ((a + r2 * b) + r4 * ((c + r2 * d) + r4 * (e + r2 * f)))


@njit
def exp(x: Any) -> Any:
    """e^x: 2^k (1 + (e^r - 1)), x = k ln 2 + r; inf above 709.78, 0 below -745.13."""
    big, small = spread(710.0), spread(-746.0)
    x = _below(big, x, big, _below(x, small, small, x))
    shifted = x * _LOG2E + _MAGIC
    k = shifted - _MAGIC
    r = _fma(k, spread(-_LN2_LOW), _fma(k, spread(-_LN2_HIGH), x))
    # 2^k in two factors: k = 1024 and denormal results lie outside what one can hold
    half = k * 0.5 + _MAGIC
    rest = (k - (half - _MAGIC)) + _MAGIC
    return ((1.0 + _expm1_reduced(r)) * _power_of_two(half)) * _power_of_two(rest)


@njit
def tanh(x: Any) -> Any:
    """tanh x = m / (m + 2), m = e^(2|x|) - 1; no cancellation near 0."""
    top = spread(20.0)  # tanh rounds to 1 from 18.99 on
    y = _fabs(x)
    y = 2.0 * _below(top, y, top, y)
    shifted = y * _LOG2E + _MAGIC
    k = shifted - _MAGIC
    r = _fma(k, spread(-_LN2_LOW), _fma(k, spread(-_LN2_HIGH), y))
    scale = _power_of_two(shifted)
    m = _expm1_reduced(r) * scale + (scale - 1.0)
    return _copysign(m / (m + 2.0), x)


@njit
def log(x: Any) -> Any:
    """ln x = k ln 2 + ln m, m in [1/sqrt 2, sqrt 2) (fdlibm's series in s = f / (2 + f), f = m - 1)."""
    tiny = spread(2.2250738585072014e-308)
    scaled = _below(x, tiny, x * 18014398509481984.0, x)  # denormals, times 2^54
    shift = _below(x, tiny, spread(54.0), spread(0.0))
    shifted = _exponent(scaled)
    k = shifted - _MAGIC
    f = scaled * _power_of_two(_MAGIC - k) - 1.0
    k = k - shift
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    odd = w * (0.3999999999940941908 + w * (0.2222219843214978396 + w * 0.1531383769920937332))
    even = 0.6666666666666735130 + w * (0.2857142874366239149 + w * (0.1818357216161805012 + w * 0.1479819860511658591))
    half = 0.5 * f * f
    value = k * _LN2_HIGH - ((half - (s * (half + (odd + z * even)) + k * _LN2_LOW)) - f)
    zero, infinity = spread(0.0), spread(math.inf)
    value = _below(x, infinity, value, x)  # inf and NaN stay themselves
    return _below(zero, x, value, _below(x, zero, spread(math.nan), _below(x, infinity, spread(-math.inf), x)))


# pi / 2 in three parts of 33 bits (fdlibm): k times a part is exact up to |k| of 2^20.
_HALF_PI_1, _HALF_PI_2, _HALF_PI_3 = 1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21
_FAR = 1e5


@njit
def _quarter_turn(x: Any, offset: float) -> Any:
    """sin(x + offset pi / 2), offset 0 or 1, |x| <= FAR."""
    quarters = x * 0.6366197723675814 + _MAGIC
    k = quarters - _MAGIC
    r = _fma(k, spread(-_HALF_PI_3), _fma(k, spread(-_HALF_PI_2), _fma(k, spread(-_HALF_PI_1), x)))
    z = r * r
    sine = r + r * z * (
        -1.66666666666666324348e-01
        + z * (8.33333333332248946124e-03 + z * (-1.98412698298579493134e-04
        + z * (2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10))))
    )  # fmt: skip
    cosine = 1.0 - 0.5 * z + z * z * (
        4.16666666666666019037e-02
        + z * (-1.38888888888741095749e-03 + z * (2.48015872894767294178e-05
        + z * (-2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11))))
    )  # fmt: skip
    k = k + offset
    half = k * 0.5 - 0.25 + _MAGIC  # floor(k / 2) for integer k
    pairs = half - _MAGIC
    odd = k - 2.0 * pairs
    value = _below(spread(0.5), odd, cosine, sine)
    return value * _copysign(spread(1.0), _odd_bit_to_sign(half))


@njit
def sin(x: Any) -> Any:
    """sin x; a lane beyond 1e5 is libm's, and that lane alone."""
    near = _quarter_turn(x, 0.0)
    size = _fabs(x)
    return near if _largest(size) < _FAR else _below(size, spread(_FAR), near, _libm_sin(x))


@njit
def cos(x: Any) -> Any:
    """cos x; a lane beyond 1e5 is libm's, and that lane alone."""
    near = _quarter_turn(x, 1.0)
    size = _fabs(x)
    return near if _largest(size) < _FAR else _below(size, spread(_FAR), near, _libm_cos(x))


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
