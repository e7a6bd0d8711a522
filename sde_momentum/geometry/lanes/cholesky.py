"""Inverses of positive definite matrices by Cholesky's factors, one matrix in each lane."""

from __future__ import annotations

from typing import Any

from numba import float64, types

from ...core.compile import njit
from ...core.simd.lanes import below, load_and_spread, sqrt, store
from ...core.simd.matrix import WIDTH, apply_by_lane, symmetric_by_lane

load, spread = load_and_spread(WIDTH)
_CONTRACT = {"contract"}
_M = types.Array(types.float64, 2, "C")
#: Signature of `invert`, which others call by address: what is compiled into its callers is compiled once more for each.
INVERT = types.void(_M, float64, _M, _M, _M, _M)

_LEAST = 1e-11
"""Share of the largest diagonal entry below which a pivot counts as 0."""


@njit(fastmath=_CONTRACT, error_model="numpy")
def _factor(matrix: Any, shift: float, factor: Any, column: Any, good: Any) -> None:
    """factor <- L, lower, with L L^T = matrix + shift 1; its diagonal as 1 / L_jj."""
    lanes, p = matrix.shape[1], column.shape[0] // 2
    for n in range(0, lanes, WIDTH):
        top = spread(0.0)
        for j in range(p):
            value = load(matrix, (j * p + j) * lanes + n) + shift
            top = below(top, value, value, top)
        store(column, p * lanes + n, top * _LEAST)
        store(good, n, spread(1.0))
    for j in range(p):
        if j > 0:
            apply_by_lane((factor, j * p, p, 1), factor[j * p : j * p + j], column[: p - j], p - j, j)
        for n in range(0, lanes, WIDTH):
            zero, one = spread(0.0), spread(1.0)
            done = load(column, n) if j > 0 else zero
            pivot = load(matrix, (j * p + j) * lanes + n) + shift - done
            sound = below(load(column, p * lanes + n), pivot, one, zero)  # NaN: not
            store(good, n, below(zero, sound, load(good, n), zero))
            scale = one / sqrt(below(zero, sound, pivot, one))
            store(factor, (j * p + j) * lanes + n, scale)
            for i in range(j + 1, p):
                entry = load(matrix, (i * p + j) * lanes + n)
                if j > 0:
                    entry = entry - load(column, (i - j) * lanes + n)
                store(factor, (i * p + j) * lanes + n, entry * scale)


@njit(fastmath=_CONTRACT)
def _invert_triangle(factor: Any, inverse: Any, column: Any) -> None:
    """inverse <- L^-1, of `factor` as `_factor` leaves it."""
    lanes, p = factor.shape[1], column.shape[0] // 2
    for k in range(0, p * p * lanes, WIDTH):
        store(inverse, k, spread(0.0))
    for i in range(p):
        if i > 0:
            apply_by_lane((inverse, 0, 1, p), factor[i * p : i * p + i], column[:i], i, i)
        for n in range(0, lanes, WIDTH):
            scale = load(factor, (i * p + i) * lanes + n)
            store(inverse, (i * p + i) * lanes + n, scale)
            for j in range(i):
                store(inverse, (i * p + j) * lanes + n, (spread(0.0) - load(column, j * lanes + n)) * scale)


@njit(INVERT, cache=True, nogil=True)
def invert(matrix: Any, shift: float, inverse: Any, factor: Any, column: Any, good: Any) -> None:
    """inverse <- (matrix + shift 1)^-1, (P P, lanes) each; good (1, lanes) <- 0 where the matrix is singular to rounding.

    factor: room, (P P, lanes), as is column, (2 P, lanes).
    """
    p = column.shape[0] // 2
    _factor(matrix, shift, factor, column, good)
    _invert_triangle(factor, inverse, column)
    for k in range(0, p * p * factor.shape[1], WIDTH):
        store(factor, k, load(inverse, k))
    symmetric_by_lane((factor, 0, 1, p), (factor, 0, p, 1), (inverse, 0, p, 1), p, p)
