"""Eigenvectors of symmetric matrices that change little from one time to the next: followed, not found anew.

With the rows of V as the eigenvectors of before, B = V G V^T is nearly diagonal. Jacobi's rotations, one pair of modes after the
other,

    tan(2 theta_ij) = 2 B_ij / (B_jj - B_ii),   |theta_ij| <= pi / 4,

make its largest off-diagonal entries small again; few pairs need one. As no rotation exceeds pi / 4, a mode continues as the one
that it overlaps most: at a crossing that a step leaps over its eigenvector goes straight on, and degenerate modes, for which
B_ij = 0, stay as they are. A matrix that is diagonal up to the accuracy asked for is left alone.

Source: Jacobi 1846.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from ...core.compile import njit
from ...core.simd.lanes import below, fabs, largest, load_and_spread, sqrt, store
from ...core.simd.matrix import WIDTH, aligned, product_by_lane, symmetric_by_lane

Array = NDArray[np.float64]

load, spread = load_and_spread(WIDTH)
_CONTRACT = {"contract"}

_PER_MODE, _BOUND = 5e-4, 0.4
"""See `coarse_accuracy`."""
_LEFT = 0.5
"""Share of the accuracy up to which B is made diagonal: with all entries at the bound J J^T would be hard to invert."""
_LEAST = 1e-11
"""Entries below this share of the trace are rounding errors."""
_SWEEPS = 30
_SMALL, _FAR = 2.0, 3.0
"""In units of the accuracy: where no entry of B is above the second, a rotation by less than the first leaves all but its own as
they are. What it leaves out is the product of both, at most a fourth of the accuracy."""


@njit
def any_of(flags: Any) -> bool:
    """Whether a lane's flag, (1, lanes), is set."""
    for n in range(flags.shape[1]):  # noqa: SIM110 (compiled)
        if flags[0, n] > 0.0:
            return True
    return False


def coarse_accuracy(p: int) -> float:
    """Accuracy of the eigenvectors of p modes of which only the sum of many is of interest.

    The more modes there are the larger it may be, as the errors of what they do together average out, until V no longer serves
    to invert J J^T: of P^2 such errors at random the matrix has a norm of some sqrt(P) of them.
    """
    return float(min(_PER_MODE * p, _BOUND / np.sqrt(p)))


class Basis(NamedTuple):
    """Eigenvectors and eigenvalues of a symmetric matrix of each lane, and room for work."""

    vectors: Array
    """V, an eigenvector in each row, (P P, lanes)."""
    values: Array
    """(P, lanes)."""
    matrix: Array
    """G, (P P, lanes)."""
    inner: Array
    """B = V G V^T, (P P, lanes)."""
    first: Array
    second: Array
    """Room, (P P, lanes)."""
    active: Array
    """1 for lanes that need rotations, 0 for the others, (1, lanes)."""
    far: Array
    """1 for lanes where B is far from diagonal, (1, lanes)."""
    accuracy: Array
    """Largest |B_ij| / sqrt(B_ii B_jj) that is left, (1, lanes). Eigenvectors are then right to this over the relative gap."""


def basis_of(p: int, lanes: int) -> Basis:
    """Room for the eigenbasis of matrices (p, p), with V = 1, right to `coarse_accuracy`."""
    basis = Basis(*(aligned(rows, lanes) for rows in (p * p, p, p * p, p * p, p * p, p * p, 1, 1, 1)))
    basis.vectors[:] = np.eye(p).reshape(-1, 1)
    basis.accuracy[:] = coarse_accuracy(p)
    return basis


_M = types.Array(types.float64, 2, "C")
BASIS = types.NamedUniTuple(_M, len(Basis._fields), Basis)
#: Signature of `follow`, which others call by address: what is compiled into its callers is compiled once more for each.
FOLLOW = types.void(BASIS, _M)


@njit(fastmath=_CONTRACT, error_model="numpy")
def _differs(basis: Any) -> bool:
    """`values` <- the diagonal of B in lanes that are `active`, which stay so where B is not diagonal; whether there is any."""
    b, values, active, far = basis.inner, basis.values, basis.active, basis.far
    p, lanes = values.shape
    wanted = spread(basis.accuracy[0, 0] ** 2)
    for n in range(0, lanes, WIDTH):
        zero, trace, on = spread(0.0), spread(0.0), load(active, n)
        large, huge = zero, zero
        for i in range(p):
            own = load(b, (i * p + i) * lanes + n)
            trace = trace + own
            store(values, i * lanes + n, below(zero, on, own, load(values, i * lanes + n)))
        least = (trace * _LEAST) * (trace * _LEAST)
        for i in range(p):
            top = load(b, (i * p + i) * lanes + n)
            for j in range(i):
                entry = load(b, (i * p + j) * lanes + n)
                bound = least + wanted * fabs(load(b, (j * p + j) * lanes + n) * top)
                large = below(bound, entry * entry, on, large)
                huge = below(bound * (_FAR * _FAR), entry * entry, on, huge)
        store(active, n, large)
        store(far, n, huge)
    return any_of(active)


@njit(fastmath=_CONTRACT)
def _turn(rows: Any, first: int, second: int, count: int, steps: Any, cosine: Any, sine: Any) -> None:
    """Rotates `count` pairs of lanes, which begin at flat `first` and `second` and lie `steps` apart."""
    for k in range(count):
        i, j = first + k * steps[0], second + k * steps[1]
        x, y = load(rows, i), load(rows, j)
        store(rows, i, cosine * x - sine * y)
        store(rows, j, sine * x + cosine * y)


@njit(error_model="numpy", fastmath=_CONTRACT)
def _sweep(basis: Any, n: int, least: Any) -> bool:
    """A rotation of each pair of modes that needs one in the lanes from n on; whether there was any. B's upper half is used."""
    v, b = basis.vectors, basis.inner
    p, lanes = basis.values.shape
    down, across, zero, one = p * lanes, lanes, spread(0.0), spread(1.0)
    accuracy = spread(basis.accuracy[0, 0])
    bound, small = (accuracy * _LEFT) * (accuracy * _LEFT), below(zero, load(basis.far, n), zero, accuracy * _SMALL)
    on, any_turned = load(basis.active, n), False
    for i in range(p):
        for j in range(i + 1, p):
            ij, ii, jj = i * down + j * across + n, i * (down + across) + n, j * (down + across) + n
            entry, own, other = load(b, ij), load(b, ii), load(b, jj)
            turned = below(least + bound * fabs(own * other), entry * entry, on, zero)
            if largest(turned) > 0.0:
                any_turned = True
                gap = other - own
                tangent = 2.0 * entry / (fabs(gap) + sqrt(gap * gap + 4.0 * entry * entry))
                tangent = below(zero, turned, below(gap, zero, zero - tangent, tangent), zero)
                store(b, ii, own - tangent * entry)
                store(b, jj, other + tangent * entry)
                store(b, ij, below(zero, turned, zero, entry))
                cosine = one / sqrt(one + tangent * tangent)
                _turn(v, i * down + n, j * down + n, p, (across, across), cosine, cosine * tangent)
                tangent = below(small, fabs(tangent), tangent, zero)
                if largest(fabs(tangent)) > 0.0:
                    cosine = one / sqrt(one + tangent * tangent)
                    sine = cosine * tangent
                    _turn(b, i * across + n, j * across + n, i, (down, down), cosine, sine)
                    _turn(b, ii + across, ij + down, j - i - 1, (across, down), cosine, sine)
                    _turn(b, ij + across, jj + across, p - j - 1, (across, across), cosine, sine)
    return any_turned


@njit(fastmath=_CONTRACT)
def _rotate(basis: Any) -> None:
    """V and the eigenvalues in lanes that are `active`, by Jacobi's cyclic rotations, until no pair needs one."""
    b, values, active = basis.inner, basis.values, basis.active
    p, lanes = values.shape
    for n in range(0, lanes, WIDTH):
        zero, trace, on = spread(0.0), spread(0.0), load(active, n)
        for i in range(p):
            trace = trace + load(b, (i * p + i) * lanes + n)
        least = (trace * _LEAST) * (trace * _LEAST)
        for _ in range(_SWEEPS):
            if not _sweep(basis, n, least):
                break
        for i in range(p):
            store(values, i * lanes + n, below(zero, on, load(b, (i * p + i) * lanes + n), load(values, i * lanes + n)))


@njit(FOLLOW, cache=True, nogil=True)
def follow(basis: Any, changed: Any) -> None:
    """V and the eigenvalues of `matrix`, from those of a matrix close to it; only in lanes where `changed` (1, lanes) is 1."""
    p, lanes = basis.values.shape
    v, first, active = basis.vectors, basis.first, basis.active
    for n in range(lanes):
        active[0, n] = changed[0, n]
    product_by_lane((v, 0, p, 1), (basis.matrix, 0, p, 1), (first, 0, p, 1), p, p, p)
    symmetric_by_lane((first, 0, p, 1), (v, 0, 1, p), (basis.inner, 0, p, 1), p, p)
    if _differs(basis):
        _rotate(basis)
