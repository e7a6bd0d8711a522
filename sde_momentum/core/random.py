"""Random streams: xoshiro256++ (Blackman, Vigna 2021), one state per lane, seeded from (seed, purpose).

A lane's numbers depend on its own seed and purpose alone: never on threads, batches or interruptions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numpy.typing import ArrayLike, NDArray

from .compile import njit
from .simd.lanes import aligned_stack, multiply_add, spread_like, sqrt, store
from .simd.words import as_doubles, as_words, load_words, rotate_left, where_bit

# Purposes: what a stream is for. Streams of one seed and different purposes are independent.
LABEL_NOISE, BATCHES, WIENER, GRADIENT_NOISE, CRITICAL_LIMIT, VALLEY_PATHS, MULTILEVEL, ADAPTIVE, PASSAGE = (
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    10,
    11,
)
_STATE = types.Array(types.uint64, 2, "C")
_U64 = types.uint64
_WIDTH = 8  # lanes of one SIMD value


@njit(types.uint64(types.uint64), cache=True, nogil=True)
def mix(z: Any) -> Any:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014)."""
    z = (z ^ (z >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> _U64(27))) * _U64(0x94D049BB133111EB)
    return z ^ (z >> _U64(31))


@njit(types.void(types.Array(types.uint64, 1, "C"), types.uint64, _STATE), cache=True, nogil=True)
def seed_streams(seeds: Any, purpose: Any, states: Any) -> None:
    """states (4, lanes) <- SplitMix64 from a hash of each lane's 64-bit seed and the purpose."""
    salt = mix(purpose + _U64(0xA0761D6478BD642F))
    for n in range(states.shape[1]):
        z = mix(seeds[n]) ^ salt
        for i in range(4):
            z += _U64(0x9E3779B97F4A7C15)
            states[i, n] = mix(z)


def streams(seeds: ArrayLike, purpose: int) -> NDArray[np.uint64]:
    """Initial states, shape (4, lanes), of the streams (seed, purpose)."""
    words = np.ascontiguousarray(seeds, dtype=np.uint64)
    states = np.empty((4, len(words)), np.uint64)
    seed_streams(words, purpose, states)
    return states


@njit
def next_word(s0: Any, s1: Any, s2: Any, s3: Any) -> Any:
    """One word of every lane, and the next state."""
    word = rotate_left(s0 + s3, 23) + s0
    t = s1 << 17
    s2 = s2 ^ s0
    s3 = s3 ^ s1
    return word, s0 ^ s3, s1 ^ s2, s2 ^ t, rotate_left(s3, 45)


def _over_lanes(tile: Callable[[Any, int], Any]) -> Any:
    """A function (states, out) that runs `tile` over all lanes: _WIDTH at a time, the remainder one by one.

    `tile(load, width)` makes the function (states, out, first lane, last lane), which keeps a
    lane's state in registers over all rows, and rounds alike for any width.
    """
    many, one = (tile(load_words(width), width) for width in (_WIDTH, 1))
    width = _WIDTH

    @njit(forceinline=True)
    def run(s: Any, out: Any) -> None:
        lanes = out.shape[-1]
        whole = lanes // width * width
        many(s, out, 0, whole)
        one(s, out, whole, lanes)

    return run


@njit(forceinline=True)
def _save(s: Any, n: int, s0: Any, s1: Any, s2: Any, s3: Any) -> None:
    lanes = s.shape[1]
    store(s, n, s0)
    store(s, lanes + n, s1)
    store(s, 2 * lanes + n, s2)
    store(s, 3 * lanes + n, s3)


def _words_tile(load: Any, width: int) -> Any:
    @njit(forceinline=True)
    def tile(s: Any, out: Any, first: int, last: int) -> None:
        rows, lanes = out.shape
        for n in range(first, last, width):
            s0, s1, s2, s3 = load(s, n), load(s, lanes + n), load(s, 2 * lanes + n), load(s, 3 * lanes + n)
            for i in range(rows):
                word, s0, s1, s2, s3 = next_word(s0, s1, s2, s3)
                store(out, i * lanes + n, word)
            _save(s, n, s0, s1, s2, s3)

    return tile


def _signs_tile(load: Any, width: int) -> Any:
    @njit(forceinline=True)
    def tile(words: Any, out: Any, first: int, last: int) -> None:
        """Row by row, as this is bound by writing: in the order of the memory."""
        rows, lanes = out.shape
        for i in range(rows):
            for n in range(first, last, width):
                store(out, i * lanes + n, ((load(words, n) << (63 - i)) & _SIGN) | _ONE)

    return tile


# Minimax polynomials (Remez exchange in 60 digits), lowest power first, with their largest relative errors;
# tests/test_random.py measures what these make of the normals.
# 2 artanh(t) / t in t^2, |t| <= 3 - 2 sqrt 2: 2^-36.1 of ln u. Interpolates at the end of the interval, where u -> 1.
_ARTANH = (2.0000000001964957, 0.6666665806266878, 0.40001176002200667, 0.28501719057076386, 0.2409321793766303)
# cos and sin(phi) / phi in phi^2, |phi| <= pi / 4: 2^-44.0 and 2^-37.7
_COSINE = (
    0.9999999999999445, -0.49999999999351874, 0.04166666654401009, -0.0013888880398268031, 2.4798929587811392e-05,
    -2.717348383999099e-07,
)  # fmt: skip
_SINE = (0.9999999999954503, -0.1666666663044607, 0.008333328690147792, -0.00019839178355451074, 2.717152810918709e-06)
# -2 ln u and the angle in units of its bits take their factors into the coefficients
_A0, _A1, _A2, _A3, _A4 = (-2 * a for a in _ARTANH)
_TO_ANGLE = math.pi / 2**32
_C0, _C1, _C2, _C3, _C4, _C5 = (c * _TO_ANGLE ** (2 * k) for k, c in enumerate(_COSINE))
_S0, _S1, _S2, _S3, _S4 = (s * _TO_ANGLE ** (2 * k + 1) for k, s in enumerate(_SINE))
_LN2, _SQRT2 = math.log(2), math.sqrt(2)

_SIGN, _SWAP, _ONE = np.uint64(1 << 63), np.uint64(1 << 62), np.uint64(0x3FF0000000000000)
_LOW32, _TWICE30, _MANTISSA = np.uint64(2**32 - 1), np.uint64(2**31 - 2), np.uint64(2**52 - 1)
# or-ed with a smaller integer (an even one) these are the bits of 2^52 + that integer (+ 1)
_TWO52, _AT_2_52, _ODD_AT_2_52 = 2.0**52, np.uint64(0x4330000000000000), np.uint64(0x4330000000000001)


@njit
def _radius(w: Any) -> Any:
    """The first half of a pair, from its word to the division: t and e of the logarithm."""
    # -2 ln u, u = m 2^e with m in [1, 2): -2 (e + 1/2) ln 2 - 4 artanh t, t = (m - sqrt 2) / (m + sqrt 2)
    u = as_doubles((w & _LOW32) | _AT_2_52) - (_TWO52 - 0.5)
    bits = as_words(u)
    m = as_doubles((bits & _MANTISSA) | _ONE)
    e = as_doubles((bits >> 52) | _AT_2_52) - (_TWO52 + 1023.0 + 32.0)
    return (m - _SQRT2) / (m + _SQRT2), e


@njit
def _pair(w: Any, t: Any, e: Any) -> Any:
    """The second half: two normals."""
    q = t * t
    p = multiply_add(q, spread_like(q, _A4), spread_like(q, _A3))
    p = multiply_add(q, p, spread_like(q, _A2))
    p = multiply_add(q, p, spread_like(q, _A1))
    p = multiply_add(q, p, spread_like(q, _A0))
    r = sqrt(multiply_add(t, p, multiply_add(e, spread_like(e, -2.0 * _LN2), spread_like(e, -_LN2))))
    r = as_doubles(as_words(r) ^ (w & _SIGN))
    # phi = x pi / 2^32, x = 2 j + 1 - 2^30, j the 30 bits from bit 32 on
    x = as_doubles(((w >> 31) & _TWICE30) | _ODD_AT_2_52) - (_TWO52 + 2.0**30)
    z = x * x
    c = multiply_add(z, spread_like(z, _C5), spread_like(z, _C4))
    c = multiply_add(z, c, spread_like(z, _C3))
    c = multiply_add(z, c, spread_like(z, _C2))
    c = multiply_add(z, c, spread_like(z, _C1))
    c = multiply_add(z, c, spread_like(z, _C0))
    s = multiply_add(z, spread_like(z, _S4), spread_like(z, _S3))
    s = multiply_add(z, s, spread_like(z, _S2))
    s = multiply_add(z, s, spread_like(z, _S1))
    s = x * multiply_add(z, s, spread_like(z, _S0))
    return r * where_bit(w, _SWAP, s, c), r * where_bit(w, _SWAP, c, s)


@njit
def normal_pair(w: Any) -> Any:
    """Two normals from each word."""
    t, e = _radius(w)
    return _pair(w, t, e)


def _normals_tile(load: Any, width: int) -> Any:
    @njit
    def tile(s: Any, out: Any, first: int, last: int) -> None:
        """A pair is begun before the one before it is finished: a processor that sees two or three pairs at a time then finds
        enough to do while it waits for a division and a root."""
        rows, lanes = out.shape
        if rows == 0:
            return
        for n in range(first, last, width):
            s0, s1, s2, s3 = load(s, n), load(s, lanes + n), load(s, 2 * lanes + n), load(s, 3 * lanes + n)
            word, s0, s1, s2, s3 = next_word(s0, s1, s2, s3)
            t, e = _radius(word)
            for i in range(0, rows - 2, 2):
                following, s0, s1, s2, s3 = next_word(s0, s1, s2, s3)
                begun = _radius(following)
                x, y = _pair(word, t, e)
                store(out, i * lanes + n, x)
                store(out, (i + 1) * lanes + n, y)
                word, t, e = following, begun[0], begun[1]
            x, y = _pair(word, t, e)
            last_pair = (rows - 1) // 2 * 2
            store(out, last_pair * lanes + n, x)
            if rows % 2 == 0:
                store(out, (last_pair + 1) * lanes + n, y)
            _save(s, n, s0, s1, s2, s3)

    return tile


_words, _signs, _normals = (_over_lanes(tile) for tile in (_words_tile, _signs_tile, _normals_tile))
_MATRIX = types.Array(types.float64, 2, "C")


@njit(cache=True, nogil=True)
def next_words(s: Any, out: Any) -> None:
    """One 64-bit word per lane: a plain loop, as fast as it can be when all state comes from memory and goes back."""
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


@njit(cache=True, nogil=True)
def fill_words(s: Any, out: Any) -> None:
    """out (rows, lanes) <- 64-bit words, the same as `next_words` for each row."""
    _words(s, out)


@njit(cache=True, nogil=True)
def fill_rademacher(s: Any, out: Any) -> None:
    """out (rows, lanes) <- +-1 with equal chances, one bit each: 64 rows from a word."""
    words = np.empty(out.shape[1], np.uint64)
    for i in range(0, out.shape[0], 64):
        next_words(s, words)
        _signs(words, out[i : i + 64])


@njit(types.void(_STATE, _MATRIX), cache=True, nogil=True, error_model="numpy")
def fill_normal(s: Any, out: Any) -> None:
    """out (rows, lanes) <- standard normals by Box-Muller, a pair of rows from one word: |z| < 6.8.

    The low 32 bits give the radius sqrt(-2 ln u), u = (k + 1/2) / 2^32; 30 bits an angle phi within 45 degrees of 0;
    bit 62 exchanges cos phi and sin phi and bit 63 negates both. The normals are computed to 3e-11 (tested); the bits
    of radius and angle resolve 1e-9. No branches, no tables; a logarithm without division would gain at most 9 %.
    """
    aligned_stack()
    _normals(s, out)


def draws(seed: int, purpose: int, shape: tuple[int, int], law: str = "rademacher") -> NDArray[np.float64]:
    """The simulator's random numbers for one run, (n_steps, rows), of mean 0 and variance 1, `law` "rademacher" or "normal"."""
    state = streams([seed], purpose)
    out = np.empty((*shape, 1))
    for step in out:
        (fill_normal if law == "normal" else fill_rademacher)(state, step)
    return out[..., 0]
