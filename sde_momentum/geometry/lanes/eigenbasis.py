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
from ...core.simd.lanes import below, fabs, load_and_spread, store
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
    accuracy: Array
    """Largest |B_ij| / sqrt(B_ii B_jj) that is left, (1, lanes). Eigenvectors are then right to this over the relative gap."""


def basis_of(p: int, lanes: int) -> Basis:
    """Room for the eigenbasis of matrices (p, p), with V = 1, right to `coarse_accuracy`."""
    basis = Basis(*(aligned(rows, lanes) for rows in (p * p, p, p * p, p * p, p * p, p * p, 1, 1)))
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
    b, values, active = basis.inner, basis.values, basis.active
    p, lanes = values.shape
    wanted = spread(basis.accuracy[0, 0] ** 2)
    for n in range(0, lanes, WIDTH):
        zero, trace, large, on = spread(0.0), spread(0.0), spread(0.0), load(active, n)
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
        store(active, n, large)
    return any_of(active)


@njit
def _rotate(basis: Any) -> None:
    """V and the eigenvalues in lanes that are `active`, by Jacobi's rotations of the pairs that need one."""
    p, lanes = basis.values.shape
    here, inner, active = basis.vectors, basis.inner, basis.active
    vectors, matrices = basis.first.reshape((lanes, p, p)), basis.second.reshape((lanes, p, p))  # each lane's rows at a stretch
    for i in range(p):
        for j in range(p):
            for n in range(lanes):
                vectors[n, i, j], matrices[n, i, j] = here[i * p + j, n], inner[i * p + j, n]
    for n in range(lanes):
        if active[0, n] > 0.0:
            _diagonalise(vectors[n], matrices[n], basis.accuracy[0, n] * _LEFT)
            for i in range(p):
                basis.values[i, n] = matrices[n, i, i]
    for i in range(p):
        for j in range(p):
            for n in range(lanes):
                here[i * p + j, n] = vectors[n, i, j] if active[0, n] > 0.0 else here[i * p + j, n]


@njit(error_model="numpy", fastmath=_CONTRACT)
def _diagonalise(v: Any, b: Any, accuracy: float) -> None:
    """Jacobi's cyclic rotations of B, and with it of the rows of V, until B is diagonal; its upper half is used."""
    p = b.shape[0]
    least, wanted = (_LEAST * np.trace(b)) ** 2, accuracy**2
    for _ in range(_SWEEPS):
        left = False
        for i in range(p):
            for j in range(i + 1, p):
                entry = b[i, j]
                if entry * entry > least + wanted * abs(b[i, i] * b[j, j]):
                    left = True
                    gap = b[j, j] - b[i, i]
                    tangent = 2 * entry / (abs(gap) + np.sqrt(gap * gap + 4 * entry * entry))
                    tangent = -tangent if gap < 0 else tangent
                    cosine = 1 / np.sqrt(1 + tangent * tangent)
                    sine = cosine * tangent
                    _turn(b[:i, i], b[:i, j], cosine, sine)
                    _turn(b[i, i + 1 : j], b[i + 1 : j, j], cosine, sine)
                    _turn(b[i, j + 1 :], b[j, j + 1 :], cosine, sine)
                    b[i, i] -= tangent * entry
                    b[j, j] += tangent * entry
                    b[i, j] = 0.0
                    _turn(v[i], v[j], cosine, sine)
        if not left:
            return


@njit(fastmath=_CONTRACT)
def _turn(first: Any, second: Any, cosine: float, sine: float) -> None:
    for k in range(first.shape[0]):
        x, y = first[k], second[k]
        first[k], second[k] = cosine * x - sine * y, sine * x + cosine * y


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
