"""Random streams: xoshiro256++ (Blackman, Vigna 2021), one state per lane, seeded from (seed, purpose).

A lane's numbers depend on its own seed and purpose alone: never on threads, batches or interruptions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray

# Purposes: what a stream is for. Streams of one seed and different purposes are independent.
LABEL_NOISE, BATCHES, WIENER, GRADIENT_NOISE, CRITICAL_LIMIT, VALLEY_PATHS = 0, 1, 2, 3, 7, 8
_STATE = types.Array(types.uint64, 2, "C")
_U64 = types.uint64


@njit(types.uint64(types.uint64), cache=True, nogil=True)
def _mix(z: Any) -> Any:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014)."""
    z = (z ^ (z >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> _U64(27))) * _U64(0x94D049BB133111EB)
    return z ^ (z >> _U64(31))


@njit(types.void(types.Array(types.uint64, 1, "C"), types.uint64, _STATE), cache=True, nogil=True)
def seed_streams(seeds: Any, purpose: Any, states: Any) -> None:
    """states (4, lanes) <- SplitMix64 from a hash of each lane's 64-bit seed and the purpose."""
    salt = _mix(purpose + _U64(0xA0761D6478BD642F))
    for n in range(states.shape[1]):
        z = _mix(seeds[n]) ^ salt
        for i in range(4):
            z += _U64(0x9E3779B97F4A7C15)
            states[i, n] = _mix(z)


def streams(seeds: ArrayLike, purpose: int) -> NDArray[np.uint64]:
    """Initial states, shape (4, lanes), of the streams (seed, purpose)."""
    words = np.ascontiguousarray(seeds, dtype=np.uint64)
    states = np.empty((4, len(words)), np.uint64)
    seed_streams(words, purpose, states)
    return states


@njit(types.void(_STATE, types.Array(types.uint64, 1, "C")), cache=True, nogil=True)
def next_words(s: Any, out: Any) -> None:
    """One 64-bit word per lane."""
    for n in range(s.shape[1]):
        s0, s1, s2, s3 = s[0, n], s[1, n], s[2, n], s[3, n]
        x = s0 + s3
        out[n] = ((x << _U64(23)) | (x >> _U64(41))) + s0
        t = s1 << _U64(17)
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= t
        s3 = (s3 << _U64(45)) | (s3 >> _U64(19))
        s[0, n], s[1, n], s[2, n], s[3, n] = s0, s1, s2, s3


_MATRIX = types.Array(types.float64, 2, "C")
_WORDS = types.Array(types.uint64, 1, "C")


@njit(types.void(_STATE, _WORDS, _MATRIX), cache=True, nogil=True)
def fill_rademacher(s: Any, words: Any, out: Any) -> None:
    """out (rows, lanes) <- +-1 with equal chances, one bit each: 64 rows from a word."""
    for i in range(out.shape[0]):
        bit = _U64(i % 64)
        if bit == _U64(0):
            next_words(s, words)
        for n in range(out.shape[1]):
            out[i, n] = 1.0 - 2.0 * np.float64((words[n] >> bit) & _U64(1))


def _bitcast(result: Any, argument: Any, llvm_type: Any) -> Any:
    """A function for compiled code that reads the same 64 bits as another type."""

    def typed(_context: Any, _value: Any) -> Any:
        return result(argument), lambda _, builder, __, values: builder.bitcast(values[0], llvm_type)

    return intrinsic(typed)


_float_of = _bitcast(types.float64, types.uint64, ir.DoubleType())
_bits_of = _bitcast(types.uint64, types.float64, ir.IntType(64))
_TWO52 = 4503599627370496.0
_TWO52_BITS = np.uint64(0x4330000000000000)  # or-ed with an integer below 2^52 these are the bits of 2^52 + that integer
_MANTISSA, _ONE_BITS = np.uint64(0x000FFFFFFFFFFFFF), np.uint64(0x3FF0000000000000)
_LN2 = math.log(2)
_TO_ANGLE = math.pi / 2 / 2**30


# FMA contraction only: with reassociation the conversions by 2^52 above would be optimised away.
@njit(types.void(_STATE, _WORDS, _MATRIX), cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def fill_normal(s: Any, words: Any, out: Any) -> None:
    """out (rows, lanes) <- standard normals by Box-Muller, a pair of rows from one word: |z| < 6.8.

    32 bits give the radius sqrt(-2 ln u), u = (k + 1/2) / 2^32, and 32 the angle: a quadrant, and an angle within 45
    degrees of its middle. Logarithm, sine and cosine are polynomials exact to rounding, without branches or table
    look-ups, so that the loop over the lanes becomes SIMD code.
    """
    rows, lanes = out.shape
    first, second = np.empty(lanes), np.empty(lanes)
    for i in range(0, rows, 2):
        next_words(s, words)
        for n in range(lanes):
            w = words[n]
            # ln u: u = m 2^e with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh(t), t = (m - 1) / (m + 1)
            bits = _bits_of(_float_of((w >> _U64(32)) | _TWO52_BITS) - _TWO52 + 0.5)
            m = _float_of((bits & _MANTISSA) | _ONE_BITS)
            e = _float_of((bits >> _U64(52)) | _TWO52_BITS) - (_TWO52 + 1023.0 + 32.0)
            large = m > 1.4142135623730951
            m = 0.5 * m if large else m
            e = e + 1.0 if large else e
            t = (m - 1.0) / (m + 1.0)
            q = t * t
            p = 1 / 17 + q / 19
            p = 1 / 13 + q * (1 / 15 + q * p)
            p = 1 / 9 + q * (1 / 11 + q * p)
            p = 1 / 5 + q * (1 / 7 + q * p)
            radius = math.sqrt(-2.0 * (e * _LN2 + 2.0 * (t + t * q * (1 / 3 + q * p))))
            # Taylor series on |phi| <= pi / 4
            phi = (_float_of((w & _U64(0x3FFFFFFF)) | _TWO52_BITS) - _TWO52 - 536870911.5) * _TO_ANGLE
            z = phi * phi
            c = 1 / 479001600 - z / 87178291200
            c = 1 / 40320 + z * (-1 / 3628800 + z * c)
            c = 1 / 24 + z * (-1 / 720 + z * c)
            cosine = 1.0 + z * (-0.5 + z * c)
            d = -1 / 39916800 + z / 6227020800
            d = -1 / 5040 + z * (1 / 362880 + z * d)
            sine = phi + phi * z * (-1 / 6 + z * (1 / 120 + z * d))
            # quadrants 0, 1, 2, 3: (c, s), (-s, c), (-c, -s), (s, -c)
            quadrant = w >> _U64(30)
            odd = (quadrant & _U64(1)) == _U64(1)
            x, y = (sine if odd else cosine), (cosine if odd else sine)
            first[n] = radius * _float_of(_bits_of(x) ^ ((quadrant ^ (quadrant >> _U64(1))) << _U64(63)))
            second[n] = radius * _float_of(_bits_of(y) ^ ((quadrant >> _U64(1)) << _U64(63)))
        for n in range(lanes):
            out[i, n] = first[n]
        if i + 1 < rows:
            for n in range(lanes):
                out[i + 1, n] = second[n]


def draws(seed: int, purpose: int, shape: tuple[int, int], law: str = "rademacher") -> NDArray[np.float64]:
    """What the simulator draws for one run: (n_steps, rows) of mean 0 and variance 1, `law` "rademacher" or "normal"."""
    state, words = streams([seed], purpose), np.empty(1, np.uint64)
    out = np.empty((*shape, 1))
    for step in out:
        (fill_normal if law == "normal" else fill_rademacher)(state, words, step)
    return out[..., 0]
