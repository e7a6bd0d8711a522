"""The compiled kernel of the critical limit in a valley: many paths of (theta, p, action amplitudes), one per lane
[theory: Critical limit, eq. 7.3; Critical limit, eq. 7.7].

With the action amplitudes z_j = a_j / lambda_j^(1/4), which a change of lambda_j leaves alone, and e_j = sqrt(lambda_j) |z_j|^2:

    d theta = p ds,   d p = -p ds - kappa sum_j lambda_j' / sqrt(lambda_j) |z_j|^2 ds
    d z_j   = -(1/2) z_j ds + (lambda_j^(1/4) / sqrt(2)) (dW1 + i dW2)

No energy can become negative. A step of size h is a symmetric splitting into parts that are each solved exactly: theta moves
for h/2, p is damped and pushed for h/2, the z_j relax for h, then p again, then theta again. Weak order 2.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import int64, types
from numpy.typing import NDArray

from ..core.compile import njit
from ..core.random import next_word, normal_pair
from ..core.simd.lanes import at, below, fabs, lane, load_and_spread, multiply_add, spread_like, sqrt, store
from ..core.simd.words import as_doubles, as_words, load_words, where_bit
from ..problems.valley import eigenvalue

TILE = 16
"""Paths stepped together, two vectors of 8: while one waits for a result, the other is computed."""

load, spread = load_and_spread(TILE)
load_word = load_words(TILE)

_SIGN, _NEXT = np.uint64(1 << 63), np.uint64(1 << 62)
_LONG, _SHORT = 2 * math.cos(math.pi / 8), 2 * math.sin(math.pi / 8)


class Paths(NamedTuple):
    """Paths of one kappa, a multiple of TILE of them."""

    states: NDArray[np.uint64]
    """Their random streams, (4, paths)."""
    live: NDArray[np.float64]
    """1 for paths that count, 0 for padding, (paths,)."""
    diverged: NDArray[np.float64]
    """The s at which a path diverged, NaN for none, (paths,)."""


@njit(forceinline=True)
def simplified_pair(word: Any) -> Any:
    """A pair with the moments of two independent normals up to the fifth order, from the four highest bits of each word.

    With probability 1/2 zero, else a vector of length 2 in one of the 8 directions at odd multiples of pi / 8. Enough for
    weak order 2.
    """
    like = as_doubles(word)
    zero, long, short = spread_like(like, 0.0), spread_like(like, _LONG), spread_like(like, _SHORT)
    x = where_bit(word, _SIGN, where_bit(word, _NEXT, long, short), zero)
    y = where_bit(word, _SIGN, where_bit(word, _NEXT, short, long), zero)
    return as_doubles(as_words(x) ^ ((word << 2) & _SIGN)), as_doubles(as_words(y) ^ ((word << 3) & _SIGN))


# Shifting the bits of x > 0 by two divides the exponent by 4: _START - bits / 4 are the bits of a y with |1 - x y^4| < 0.1236.
# (1 - r)^(-1/4) there as a minimax polynomial (Remez exchange, 40 digits), lowest power first: relative error 4.5e-10.
_ALL, _START = np.uint64(2**64 - 1), np.uint64(0x4FEB031214761401)
_R0, _R1, _R2, _R3, _R4, _R5, _R6 = (
    0.9999999999638137, 0.2500000251550733, 0.15625006551055567, 0.1171743434670401, 0.09519544961460155, 0.0826482929644284,
    0.07269770906259358,
)  # fmt: skip


@njit(forceinline=True)
def inverse_fourth_root(x: Any) -> Any:
    """x^(-1/4) of x > 0 within 5e-10 of itself, far below the error of any step; no division, no square root."""
    y = as_doubles(((as_words(x) >> 2) ^ _ALL) + _START)
    y2 = y * y
    r = 1.0 - (x * y2) * y2
    c = multiply_add(r, spread_like(x, _R6), spread_like(x, _R5))
    c = multiply_add(r, c, spread_like(x, _R4))
    c = multiply_add(r, c, spread_like(x, _R3))
    c = multiply_add(r, c, spread_like(x, _R2))
    c = multiply_add(r, c, spread_like(x, _R1))
    return y * multiply_add(r, c, spread_like(x, _R0))


@njit(forceinline=True)
def _total(x: Any) -> float:
    """Sum over the lanes, in their order."""
    total = 0.0
    for i in range(TILE):
        total += lane(x, i)
    return total


@njit
def _record(data: Any, theta: Any, alive: Any, squares: Any, unit: float, sums: Any, t: int) -> None:
    """Adds a tile to sums[t]: the count, theta^1..4, e_j and e_j^2 of the lanes that are alive."""
    modes, zero = data.shape[1], spread(0.0)
    square = theta * theta
    sums[t, 0] += _total(alive)
    sums[t, 1] += _total(theta)  # 0 in lanes that are not alive
    sums[t, 2] += _total(square)
    sums[t, 3] += _total(square * theta)
    sums[t, 4] += _total(square * square)
    phi = theta / sqrt(1.0 + at(data, 3 * modes) * square)
    for j in range(modes):
        root = sqrt(eigenvalue(at(data, j), at(data, modes + j), at(data, 2 * modes + j), theta, phi))
        energy = below(zero, alive, unit * root * load(squares, j * TILE), zero)
        sums[t, 5 + 2 * j] += _total(energy)
        sums[t, 6 + 2 * j] += _total(energy * energy)


@njit
def _rescale(z: Any, squares: Any, ratio: float) -> None:
    """The amplitudes of a tile in another unit, and their squares |z_j|^2."""
    for j in range(squares.size // TILE):
        x, y = ratio * load(z, 2 * j * TILE), ratio * load(z, (2 * j + 1) * TILE)
        store(z, 2 * j * TILE, x)
        store(z, (2 * j + 1) * TILE, y)
        store(squares, j * TILE, x * x + y * y)


def _runner(draw: Any, modes_per_word: int) -> Any:
    """The loop with noise from `draw(word)`, which uses the highest 64 / modes_per_word bits of a word.

    A multiplication costs a thirtieth of the time. So the amplitudes are in units of a step's noise, |z_j|^2 is kept from one
    step to the next, and the curvature m / P, which all modes share, is taken out of the loop.
    """
    bits = 64 // modes_per_word

    @njit
    def run(data: Any, start: float, kappa: float, n_steps: Any, size: Any, paths: Any, sums: Any) -> None:
        states = paths.states
        modes, lanes = data.shape[1], states.shape[1]
        z, squares = np.empty((2 * modes, TILE)), np.empty((modes, TILE))
        zero, one, far = spread(0.0), spread(1.0), spread(1e50)
        curvature, steepness = at(data, 2 * modes), at(data, 3 * modes)  # m / P and 1 / reach^2
        for n in range(0, lanes, TILE):
            s0, s1 = load_word(states, n), load_word(states, lanes + n)
            s2, s3 = load_word(states, 2 * lanes + n), load_word(states, 3 * lanes + n)
            word = s0
            theta, p, alive, failed = spread(start), zero, load(paths.live, n), load(paths.diverged, n)
            z[:] = 0.0
            squares[:] = 0.0
            time, unit = 0.0, 1.0
            for t in range(n_steps.shape[0]):
                h = size[t]
                keep, half, push = math.exp(-h / 2), h / 2, kappa * -math.expm1(-h / 2)
                noise = math.sqrt(-math.expm1(-h) / 2)
                if n_steps[t] > 0 and noise != unit:
                    _rescale(z, squares, unit / noise)
                    unit = noise
                push *= unit * unit
                for _ in range(n_steps[t]):
                    theta = theta + half * p
                    square = theta * theta
                    cosine = one / sqrt(one + steepness * square)
                    phi, phi_slope = theta * cosine, cosine * cosine * cosine
                    common, common_slope = (0.5 * curvature) * square, curvature * theta
                    before, after = zero, zero
                    for j in range(modes):
                        if j % modes_per_word == 0:
                            word, s0, s1, s2, s3 = next_word(s0, s1, s2, s3)
                        b = at(data, modes + j)
                        value = b * phi + (common + at(data, j))  # lambda_j
                        root = inverse_fourth_root(value)
                        inverse = root * root
                        pull, amplitude = (b * phi_slope + common_slope) * inverse, value * (inverse * root)
                        xi, eta = draw(word)
                        word = word << bits
                        x = keep * load(z, 2 * j * TILE) + amplitude * xi
                        y = keep * load(z, (2 * j + 1) * TILE) + amplitude * eta
                        new = x * x + y * y
                        before = before + pull * load(squares, j * TILE)
                        after = after + pull * new
                        store(squares, j * TILE, new)
                        store(z, 2 * j * TILE, x)
                        store(z, (2 * j + 1) * TILE, y)
                    time += h
                    p = keep * (keep * p - push * before) - push * after
                    theta = theta + half * p
                    # NaN fails the comparison too. 1e50: far beyond recovery, and theta^4 is far from overflow. Amplitudes may
                    # stay infinite: nothing that they reach is used.
                    still = below(fabs(theta), far, alive, zero)
                    failed = below(still, alive, spread(time), failed)
                    alive = still
                    theta, p = below(zero, alive, theta, zero), below(zero, alive, p, zero)
                _record(data, theta, alive, squares, unit * unit, sums, t)
            store(paths.diverged, n, failed)

    return run


_STATES, _MATRIX = types.Array(types.uint64, 2, "C"), types.Array(types.float64, 2, "C")
_LANES = types.Array(types.float64, 1, "C")
_PATHS = types.NamedTuple((_STATES, _LANES, _LANES), Paths)
_ARGUMENTS = types.void(_MATRIX, types.float64, types.float64, types.Array(int64, 1, "C"), _LANES, _PATHS, _MATRIX)
_COMPILE: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
_simplified, _normal = _runner(simplified_pair, 16), _runner(normal_pair, 1)


@njit(_ARGUMENTS, **_COMPILE)
def run_simplified(data: Any, start: float, kappa: float, n_steps: Any, size: Any, paths: Any, sums: Any) -> None:
    """Adds to sums (n_time, 5 + 2 P) the count, theta^1..4, e_j and e_j^2 of the paths.

    n_steps[t] steps of size[t] lead to record t. `data` is `Valley.data`.
    """
    _simplified(data, start, kappa, n_steps, size, paths, sums)


@njit(_ARGUMENTS, **_COMPILE)
def run_normal(data: Any, start: float, kappa: float, n_steps: Any, size: Any, paths: Any, sums: Any) -> None:
    """The same with normal increments."""
    _normal(data, start, kappa, n_steps, size, paths, sums)
