"""Eigenvectors of symmetric matrices that change little from one time to the next: followed, not found anew.

With the rows of V as the eigenvectors of before, B = V G V^T is nearly diagonal. Every pair of modes asks for the rotation that
makes its own entry 0,

    tan(2 theta_ij) = 2 B_ij / (B_jj - B_ii),   |theta_ij| <= pi / 4,

all of them are made at once, V <- (I - A + A^2 / 2) V with A_ij = theta_ij, and V is made orthogonal again (Newton-Schulz). The
off-diagonal entries fall quadratically; where many modes are close together this may fail, and Jacobi's rotations, one pair after
the other, do the rest. As no rotation exceeds pi / 4, a mode continues as the one that it overlaps most: at a crossing that a
step leaps over its eigenvector goes straight on, and degenerate modes, for which B_ij = 0, stay as they are. A matrix that is
diagonal up to the accuracy asked for is left alone. Hundreds of modes that are no longer diagonal are found anew.

Sources: Jacobi 1846; Ogita, Aishima 2018 (refinement by products; here with the rotations of pairs, which need no gap).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from ...core.compile import njit
from ...core.simd.lanes import below, fabs, load_and_spread, sqrt, store
from ...core.simd.matrix import WIDTH, aligned, product_by_lane, symmetric_by_lane

Array = NDArray[np.float64]

load, spread = load_and_spread(WIDTH)
_CONTRACT = {"contract"}

_PER_MODE, _BOUND, _IGNORED = 5e-4, 0.4, 0.3
"""See `coarse_accuracy`; share of the accuracy up to which an entry asks for no rotation: it would turn close modes far."""
_MANY = 100
"""Number of modes from which LAPACK finds them in less time than several rotations, of all lanes at once, take."""
_LEAST = 1e-11
"""Entries below this share of the trace are rounding errors."""
_MOST = 10
"""Iterations by products before Jacobi's rotations take over."""
_TURNED = (0.02, 0.1)
"""sum_j theta_ij^2 from which V is made orthogonal at once, and twice. Else it is to 1e-3, and once at the end is enough."""
_LARGEST = 1.5
"""Of |A|: from sqrt(8) / 2^(1/4) on Newton-Schulz steps would not converge."""
_SWEEPS = 30


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
    """B = V G V^T, later the generator of the rotation, (P P, lanes)."""
    first: Array
    second: Array
    """Room, (P P, lanes)."""
    active: Array
    """1 for lanes that still change, 0 for the others, (1, lanes)."""
    turned: Array
    """Of the last iteration: max_i sum_j theta_ij^2, (1, lanes)."""
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


@njit(error_model="numpy", fastmath=_CONTRACT)
def _generate(basis: Any, after: float) -> bool:
    """`inner` <- A, the rotations that B asks for, 0 in lanes that need none; `values`; whether there is a lane with any.

    A lane ends where B is diagonal up to `accuracy` already, or will be after this rotation: what is left is the product of the
    largest relative entry and the rotations of a row. `after`: 1 if the lanes have been rotated before, else 0.
    """
    b, values, active = basis.inner, basis.values, basis.active
    p, lanes = values.shape
    # arrays are taken out of the tuple first: within a loop each access would be counted as a reference
    wanted = spread(basis.accuracy[0, 0] ** 2)
    ignored = wanted * (_IGNORED * _IGNORED)
    sums, shifts, turned = basis.second, basis.first, basis.turned
    for n in range(0, lanes, WIDTH):
        zero, one = spread(0.0), spread(1.0)
        trace = zero
        for i in range(p):
            trace = trace + load(b, (i * p + i) * lanes + n)
            store(sums, i * lanes + n, zero)
        least = (trace * _LEAST) * (trace * _LEAST) + 1e-300
        worst, on = zero, load(active, n)
        for i in range(p):
            store(shifts, i * lanes + n, zero)  # the change of the eigenvalues
        for i in range(p):
            top = load(b, (i * p + i) * lanes + n)
            row, change = load(sums, i * lanes + n), load(shifts, i * lanes + n)
            for j in range(i + 1, p):
                entry = load(b, (i * p + j) * lanes + n)
                side = load(b, (j * p + j) * lanes + n)
                gap, twice = side - top, entry + entry
                size = entry * entry
                ratio = size / (fabs(side * top) + least)
                worst = below(worst, ratio, ratio, worst)
                root = sqrt(gap * gap + twice * twice)
                tangent = twice / (fabs(gap) + root + 1e-300)
                tangent = below(gap, zero, zero - tangent, tangent)
                tangent = below(ratio, ignored, zero, tangent)
                tangent = below(size, least, zero, tangent)
                # V of one pair is rotated by exactly theta once it is orthogonal again
                angle = (tangent + tangent) / (one + sqrt(one + tangent * tangent * 2.0))
                shift = tangent * entry
                store(b, (i * p + j) * lanes + n, angle)
                store(b, (j * p + i) * lanes + n, zero - angle)
                row = row + angle * angle
                change = change - shift
                store(sums, j * lanes + n, load(sums, j * lanes + n) + angle * angle)
                store(shifts, j * lanes + n, load(shifts, j * lanes + n) + shift)
            store(sums, i * lanes + n, row)
            store(shifts, i * lanes + n, change)
        most, needed = zero, below(wanted, worst, on, zero)
        for i in range(p):
            row = load(sums, i * lanes + n)
            most = below(most, row, row, most)
            old = load(values, i * lanes + n)
            new = load(b, (i * p + i) * lanes + n) + below(zero, needed, load(shifts, i * lanes + n), zero)
            store(values, i * lanes + n, below(zero, on, new, old))
            store(b, (i * p + i) * lanes + n, zero)
        for k in range(p * p):
            store(b, k * lanes + n, below(zero, needed, load(b, k * lanes + n), zero))
        # > 0 in every lane that rotates or has: it is made orthogonal at its end
        before = below(zero, (on - needed) * after, load(turned, n), zero)
        store(turned, n, below(zero, needed, most + 1e-300, before))
        store(active, n, below(wanted, worst * most, needed, zero))
    return _above(turned, 0.0)


@njit
def _above(numbers: Any, least: float) -> bool:
    """Whether a lane's number, (1, lanes), is above `least`."""
    for n in range(numbers.shape[1]):  # noqa: SIM110 (compiled)
        if numbers[0, n] > least:
            return True
    return False


@njit(fastmath=_CONTRACT, error_model="numpy")
def _rotate(basis: Any) -> None:
    """V <- (I - A + A^2 / 2) V, orthogonal again. Where A is too large for that, part of it, and the lane goes on."""
    p, lanes = basis.values.shape
    a, first, second, v = basis.inner, basis.first, basis.second, basis.vectors
    turned, going = basis.turned, basis.active
    symmetric_by_lane((a, 0, p, 1), (a, 0, p, 1), (first, 0, p, 1), p, p)
    for n in range(0, lanes, WIDTH):
        one, bound = spread(1.0), spread(0.0)
        for k in range(p * p):
            square = load(first, k * lanes + n)
            bound = bound + square * square
        bound = sqrt(sqrt(bound * 0.5))  # of the largest |eigenvalue| of A, as these come in pairs
        on, active = load(turned, n), load(going, n)
        part = below(spread(_LARGEST), bound, spread(_LARGEST) / bound, one)
        store(going, n, below(part, one, below(spread(0.0), on, one, active), active))
        half = part * part * 0.5
        for k in range(p * p):
            at = k * lanes + n
            store(first, at, load(first, at) * half - load(a, at) * part)
    product_by_lane((first, 0, p, 1), (v, 0, p, 1), (second, 0, p, 1), p, p, p)
    for k in range(0, p * p * lanes, WIDTH):
        store(v, k, load(v, k) + load(second, k))
    for least in _TURNED:
        _orthonormalise(basis, least, 1.0)
    _orthonormalise(basis, 0.0, 0.0)


@njit(fastmath=_CONTRACT)
def _orthonormalise(basis: Any, least: float, going: float) -> None:
    """V <- V + (1/2) (I - V V^T) V, in lanes that have `turned` by more than `least`, where `active` is at most `going`."""
    p, lanes = basis.values.shape
    first, second, v, turned, active = basis.first, basis.second, basis.vectors, basis.turned, basis.active
    asked = False
    for n in range(lanes):
        asked = asked or (turned[0, n] > least and active[0, n] <= going)
    if not asked:
        return
    symmetric_by_lane((v, 0, p, 1), (v, 0, 1, p), (first, 0, p, 1), p, p)
    for n in range(0, lanes, WIDTH):
        zero, half = spread(0.0), spread(0.5)
        factor = below(spread(least), load(turned, n), half, zero)
        factor = below(spread(going), load(active, n), zero, factor)
        for i in range(p):
            for j in range(p):
                at = (i * p + j) * lanes + n
                difference = zero - load(first, at)
                if i == j:
                    difference = difference + 1.0
                store(first, at, difference * factor)
    product_by_lane((first, 0, p, 1), (v, 0, p, 1), (second, 0, p, 1), p, p, p)
    for k in range(0, p * p * lanes, WIDTH):
        store(v, k, load(v, k) + load(second, k))


@njit(error_model="numpy")
def _jacobi(basis: Any, n: int) -> None:
    """Jacobi's cyclic rotations in lane n, until B is diagonal up to `accuracy`."""
    p = basis.values.shape[0]
    v, b = np.empty((p, p)), np.empty((p, p))
    for i in range(p):
        for j in range(p):
            v[i, j], b[i, j] = basis.vectors[i * p + j, n], basis.matrix[i * p + j, n]
    b = v @ b @ v.T
    least, wanted = (_LEAST * np.trace(b)) ** 2, basis.accuracy[0, n] ** 2
    for _ in range(_SWEEPS):
        left = False
        for i in range(p):
            for j in range(i + 1, p):
                if b[i, j] ** 2 > least + wanted * abs(b[i, i] * b[j, j]):
                    left = True
                    gap, twice = b[j, j] - b[i, i], 2 * b[i, j]
                    tangent = twice / (abs(gap) + np.hypot(gap, twice))
                    tangent = -tangent if gap < 0 else tangent
                    cosine = 1 / np.sqrt(1 + tangent * tangent)
                    _turn(b, i, j, cosine, tangent * cosine)
                    _turn(b.T, i, j, cosine, tangent * cosine)
                    _turn(v, i, j, cosine, tangent * cosine)
        if not left:
            break
    for i in range(p):
        basis.values[i, n] = b[i, i]
        for j in range(p):
            basis.vectors[i * p + j, n] = v[i, j]


@njit(error_model="numpy")
def _decompose(basis: Any, n: int) -> None:
    """V and the eigenvalues in lane n, found anew: each continues the old one that it overlaps most, where both agree on it."""
    p = basis.values.shape[0]
    v, g = np.empty((p, p)), np.empty((p, p))
    for i in range(p):
        for j in range(p):
            v[i, j], g[i, j] = basis.vectors[i * p + j, n], basis.matrix[i * p + j, n]
    values, found = np.linalg.eigh(g)
    overlap = np.abs(v @ found)
    order, free = np.full(p, -1), np.full(p, True)
    for i in range(p):
        j = int(np.argmax(overlap[i]))
        if int(np.argmax(overlap[:, j])) == i:
            order[i], free[j] = j, False
    for i in range(p):
        if order[i] < 0:
            for j in range(p):
                if free[j] and (order[i] < 0 or overlap[i, j] > overlap[i, order[i]]):
                    order[i] = j
            free[order[i]] = False
        basis.values[i, n] = values[order[i]]
        for k in range(p):
            basis.vectors[i * p + k, n] = found[k, order[i]]


@njit
def _turn(rows: Any, i: int, j: int, cosine: float, sine: float) -> None:
    for k in range(rows.shape[1]):
        x, y = rows[i, k], rows[j, k]
        rows[i, k], rows[j, k] = cosine * x - sine * y, sine * x + cosine * y


@njit(FOLLOW, cache=True, nogil=True)
def follow(basis: Any, changed: Any) -> None:
    """V and the eigenvalues of `matrix`, from those of a matrix close to it; only in lanes where `changed` (1, lanes) is 1."""
    p, lanes = basis.values.shape
    v, g, b = (basis.vectors, 0, p, 1), (basis.matrix, 0, p, 1), (basis.inner, 0, p, 1)
    across = (basis.vectors, 0, 1, p)
    active = basis.active
    for n in range(lanes):
        active[0, n] = changed[0, n]
    for k in range(_MOST):
        product_by_lane(v, g, (basis.first, 0, p, 1), p, p, p)
        symmetric_by_lane((basis.first, 0, p, 1), across, b, p, p)
        if not _generate(basis, min(k, 1.0)):
            return
        if k == 0 and p >= _MANY:
            for n in range(lanes):
                if basis.turned[0, n] > 0.0:
                    _decompose(basis, n)
            return
        _rotate(basis)
        if not _above(active, 0.0):
            return
    for n in range(lanes):
        if active[0, n] > 0.0:
            _jacobi(basis, n)
