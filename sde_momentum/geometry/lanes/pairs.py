"""The covariance of all pairs of normal modes under general noise, without eigenvectors, one problem in each lane
[theory: Relaxation, eq. 2.14].

In the eigenbasis of G = J J^T, with c = 2 C^2 P, the solution of

    [G, [G, Y]] / c + G Y + Y G = S

is Y_ij = S_ij / ((g_i - g_j)^2 / c + g_i + g_j). An orthonormal basis V close to the eigenvectors makes the operator nearly
diagonal: conjugate gradients with its diagonal as preconditioner then take a few steps, of one or two matrix products each.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import float64, int64, types
from numpy.typing import NDArray

from ...core.compile import njit
from ...core.simd.lanes import below, load_and_spread, store
from ...core.simd.matrix import WIDTH, aligned, product_by_lane, symmetric_by_lane

Array = NDArray[np.float64]

load, spread = load_and_spread(WIDTH)
_CONTRACT = {"contract"}
_M = types.Array(types.float64, 2, "C")

_TOLERANCE = 1e-6
"""Of the residual in the preconditioner's norm, as a share of that of S."""
_MOST = 40
"""Iterations after which a lane is given up."""


class Pairs(NamedTuple):
    """Room for the solution, with P P rows each but for the last."""

    matrix: Array
    """V G V^T."""
    solution: Array
    """Y, first in the basis V, then as it was asked for."""
    residual: Array
    direction: Array
    image: Array
    commutator: Array
    again: Array
    inverse: Array
    """1 / the diagonal of the operator."""
    numbers: Array
    """r . z, d . A d, its goal, and whether the lane goes on, (4, lanes)."""


PAIRS = types.NamedUniTuple(_M, len(Pairs._fields), Pairs)
#: Signature of `solve_pairs`, which others call by address.
SOLVE_PAIRS = types.void(PAIRS, _M, _M, _M, float64, int64, _M)


def pairs_of(p: int, lanes: int) -> Pairs:
    """Room for matrices (p, p)."""
    return Pairs(*(aligned(rows, lanes) for rows in (*(p * p,) * 8, 4)))


@njit(fastmath=_CONTRACT, error_model="numpy")
def _begin(room: Any, share: float, p: int, count: Any) -> None:
    """Y <- 0, and the first direction."""
    lanes = count.shape[1]
    for n in range(0, lanes, WIDTH):
        product = spread(0.0)
        for i in range(p):
            own = load(room.matrix, (i * p + i) * lanes + n)
            for j in range(p):
                other = load(room.matrix, (j * p + j) * lanes + n)
                at = (i * p + j) * lanes + n
                inverse = 1.0 / ((own - other) * (own - other) * share + (own + other))
                r = load(room.residual, at)
                z = r * inverse
                store(room.inverse, at, inverse)
                store(room.direction, at, z)
                store(room.solution, at, spread(0.0))
                product = product + r * z
        store(room.numbers, n, product)
        store(room.numbers, 2 * lanes + n, product * (_TOLERANCE * _TOLERANCE))
        store(room.numbers, 3 * lanes + n, below(spread(0.0), product, spread(1.0), spread(0.0)))
        store(count, n, spread(0.0))


@njit
def _goes_on(room: Any) -> bool:
    """Whether a lane does."""
    on = 0.0
    for n in range(room.numbers.shape[1]):
        on += room.numbers[3, n]
    return on > 0.0


@njit(fastmath=_CONTRACT)
def _apply(room: Any, share: float, p: int) -> None:
    """image <- the operator of `direction` D; numbers[1] <- D . image."""
    lanes = room.numbers.shape[1]
    g, image, again = (room.matrix, 0, p, 1), room.image, room.again
    product_by_lane(g, (room.direction, 0, p, 1), (image, 0, p, 1), p, p, p)  # G D, the transpose of D G
    if share > 0.0:
        _commute(image, room.commutator, p)
        product_by_lane(g, (room.commutator, 0, p, 1), (again, 0, p, 1), p, p, p)  # and of -[G, D] G
    for n in range(0, lanes, WIDTH):
        product = spread(0.0)
        for i in range(p):
            for j in range(i + 1):
                one, other = (i * p + j) * lanes + n, (j * p + i) * lanes + n
                total = load(image, one) + load(image, other)
                if share > 0.0:
                    total = total + (load(again, one) + load(again, other)) * share
                store(image, one, total)
                store(image, other, total)
                part = total * load(room.direction, one)
                product = product + part
                if j < i:
                    product = product + part
        store(room.numbers, lanes + n, product)


@njit(fastmath=_CONTRACT)
def _commute(image: Any, commutator: Any, p: int) -> None:
    """commutator <- T - T^T of the matrix T = `image`."""
    lanes = image.shape[1]
    for n in range(0, lanes, WIDTH):
        for i in range(p):
            for j in range(i + 1):
                one, other = (i * p + j) * lanes + n, (j * p + i) * lanes + n
                difference = load(image, one) - load(image, other)
                store(commutator, one, difference)
                store(commutator, other, spread(0.0) - difference)


@njit(fastmath=_CONTRACT, error_model="numpy")
def _descend(room: Any, p: int, count: Any) -> None:
    """One step of conjugate gradients, in lanes that go on."""
    lanes, numbers = count.shape[1], room.numbers
    for n in range(0, lanes, WIDTH):
        zero = spread(0.0)
        on, before = load(numbers, 3 * lanes + n), load(numbers, n)
        size = below(zero, on, before / load(numbers, lanes + n), zero)
        product = zero
        for k in range(p * p):
            at = k * lanes + n
            store(room.solution, at, load(room.solution, at) + size * load(room.direction, at))
            r = load(room.residual, at) - size * load(room.image, at)
            store(room.residual, at, r)
            product = product + r * r * load(room.inverse, at)
        share = below(zero, on, product / before, zero)
        for k in range(p * p):
            at = k * lanes + n
            z = load(room.residual, at) * load(room.inverse, at)
            store(room.direction, at, below(zero, on, z + share * load(room.direction, at), load(room.direction, at)))
        store(numbers, n, below(zero, on, product, before))
        store(count, n, load(count, n) + on)
        store(numbers, 3 * lanes + n, below(load(numbers, 2 * lanes + n), product, on, zero))


@njit(SOLVE_PAIRS, cache=True, nogil=True)
def solve_pairs(room: Any, gram: Any, vectors: Any, source: Any, share: float, p: int, count: Any) -> None:
    """room.solution <- Y of `source` S and `gram` G, (P P, lanes) each, with 1 / c = `share`.

    vectors: V, an approximate eigenvector in each row. count (1, lanes) <- number of iterations, or more than 1000 for none.
    """
    v, across = (vectors, 0, p, 1), (vectors, 0, 1, p)
    image = (room.image, 0, p, 1)
    product_by_lane(v, (gram, 0, p, 1), image, p, p, p)
    symmetric_by_lane(image, across, (room.matrix, 0, p, 1), p, p)
    product_by_lane(v, (source, 0, p, 1), image, p, p, p)
    symmetric_by_lane(image, across, (room.residual, 0, p, 1), p, p)
    _begin(room, share, p, count)
    for _ in range(_MOST):
        if not _goes_on(room):
            break
        _apply(room, share, p)
        _descend(room, p, count)
    lanes = count.shape[1]
    for n in range(0, lanes, WIDTH):
        store(count, n, below(spread(0.0), load(room.numbers, 3 * lanes + n), spread(1e4), load(count, n)))
    product_by_lane(across, (room.solution, 0, p, 1), image, p, p, p)
    symmetric_by_lane(image, v, (room.solution, 0, p, 1), p, p)
