"""Steps of drift and diffusion along Gamma for many runs in machine code, a run in each lane [theory: Drift, eq. 3.13].

With J the Jacobian, G = J J^T and M = P J Sigma, the drift is -(1/P) P_T sum_i hess f_i K_i, where K = J X is

    K = (Y - A M J^T) G^-1 J + A M,   A = G^-1 - (G + c)^-1,   c = 2 C^2 P,

and Y the covariance of the pairs of normal modes (`geometry.lanes.pairs`). No eigenvectors are needed, and for Sigma = b^2 1 not
even Y: K = (b^2 P / 2) G^-1 J. The inverse of G also makes displacements tangent, and brings w back onto Gamma.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import extending, float64, types
from numpy.typing import NDArray

from ..core.compile import njit
from ..core.simd.address import by_address
from ..core.simd.lanes import below, load_and_spread, store
from ..core.simd.matrix import WIDTH, aligned, apply_by_lane, product, product_by_lane, symmetric_by_lane
from ..geometry.lanes.cholesky import INVERT, invert
from ..geometry.lanes.eigenbasis import Basis, any_of
from ..geometry.lanes.manifold import OUTPUTS
from ..geometry.lanes.pairs import PAIRS, SOLVE_PAIRS, Pairs, pairs_of, solve_pairs

Array = NDArray[np.float64]

load, spread = load_and_spread(WIDTH)
_CONTRACT = {"contract"}
_M = types.Array(types.float64, 2, "C")
_CUBE = types.Array(types.float64, 3, "C")

_MAX_PROJECTIONS = 30
_LOST = 1e100
"""|f - y|^2 from which no way back is looked for."""
_ACCURATE = 1e-3
"""Accuracy of the eigenvectors in whose basis the pairs' operator is nearly diagonal."""
_TIRED = 10.0
"""Iterations of `solve_pairs` from which on its basis is renewed."""
_GIVEN_UP = 1e3


class Law(NamedTuple):
    """What all runs share beside the problem."""

    share: float
    """1 / c, 0 for C = inf."""
    factor: Array
    """B as it is at the start, (N, r)."""
    covariance: Array
    """B B^T there, (N, N); without rows where it is diagonal."""
    invert: Any
    """Of signature INVERT."""
    solve_pairs: Any
    """Of signature SOLVE_PAIRS."""


LAW = types.NamedTuple((float64, _M, _M, types.FunctionType(INVERT), types.FunctionType(SOLVE_PAIRS)), Law)


@extending.typeof_impl.register(Law)
def _type_of(value: Law, context: Any) -> Any:
    """Known: Numba would take long to find it from the functions."""
    return LAW


def law_of(share: float, factor: Array, covariance: Array) -> Law:
    """The law with the compiled solvers."""
    return Law(share, factor, covariance, by_address(invert, INVERT), by_address(solve_pairs, SOLVE_PAIRS))


class Runs(NamedTuple):
    """Runs in groups of `lanes`."""

    w: Array
    """On Gamma, (groups, N, lanes)."""
    xi: Array
    """Standard normals of a step, (groups, r, lanes)."""
    vectors: Array
    """Approximate eigenvectors of J J^T, in rows, (groups, P P, lanes)."""
    tired: Array
    """1 where these are to be renewed, (groups, 1, lanes)."""
    alive: Array
    """0 for runs that have diverged, and for lanes without a run, (groups, 1, lanes)."""
    moved: Array
    """1 where the step was made, (groups, 1, lanes)."""
    weights: Array
    """The diagonal of B where it is diagonal, (groups, N, lanes)."""
    isotropic: Array
    """b^2 where B B^T = b^2 1, or else 0, (groups, 1, lanes)."""
    common: Array
    """1 where B is the law's, and not diagonal, (groups, 1, lanes)."""
    own: NDArray[np.int64]
    """The number of the run's own factor, -1 for none, (groups, lanes)."""


RUNS = types.NamedTuple((*(_CUBE,) * 9, types.Array(types.int64, 2, "C")), Runs)


def runs_of(groups: int, size: int, p: int, rank: int, lanes: int) -> Runs:
    """Runs without noise, none of them alive; w and vectors are not yet set."""
    rows = (size, rank, p * p, 1, 1, 1, size, 1, 1)
    parts: list[Any] = [np.zeros((groups, n, lanes)) for n in rows]
    parts.append(np.full((groups, lanes), -1, dtype=np.int64))
    return Runs(*parts)


class Room(NamedTuple):
    """Work space for a group."""

    rows: Array
    """J, and below it M, (2 P N, lanes)."""
    product: Array
    """K, (P N, lanes)."""
    left: Array
    """The matrices by which J and M are multiplied in K, side by side, (P 2P, lanes)."""
    gram: Array
    """G, (P P, lanes), and so the next."""
    inverse: Array
    source: Array
    """M J^T."""
    mixed: Array
    """A."""
    work: Array
    pairs: Pairs
    column: Array
    """(2 P, lanes)."""
    inner: Array
    """(P, lanes), and so the next."""
    outer: Array
    x: Array
    """Displacement, (N, lanes), and so the next."""
    kick: Array
    trial: Array
    good: Array
    """(1, lanes), and so the next."""
    counts: Array
    todo: Array
    scratch: Array
    """Of the kernels."""


ROOM = types.NamedTuple((*(_M,) * 8, PAIRS, *(_M,) * 10), Room)


def room_of(p: int, size: int, lanes: int, scratch_rows: int) -> Room:
    """Room for `lanes` runs of `size` parameters and `p` outputs."""
    before = (2 * p * size, p * size, 2 * p * p, *(p * p,) * 5)
    after = (2 * p, p, p, size, size, size, 1, 1, 1, scratch_rows)
    parts: list[Any] = [aligned(n, lanes) for n in before]
    parts += [pairs_of(p, lanes), *(aligned(n, lanes) for n in after)]
    return Room(*parts)


@njit(fastmath=_CONTRACT)
def _spread_noise(law: Any, room: Any, own: Any, weights: Any, common: Any, numbers: Any, p: int) -> None:
    """M <- P J Sigma in the room, 0 for isotropic noise and for runs without any."""
    rows, spare = room.rows, room.product
    size, lanes = weights.shape
    first = p * size
    for n in range(0, lanes, WIDTH):
        for i in range(p):
            for k in range(size):
                b = load(weights, k * lanes + n)
                store(rows, (first + i * size + k) * lanes + n, b * b * load(rows, (i * size + k) * lanes + n) * p)
    if any_of(common):
        for i in range(p):
            product(law.covariance, rows[i * size : (i + 1) * size], spare[i * size : (i + 1) * size])
        for n in range(0, lanes, WIDTH):
            on, zero = load(common, n), spread(0.0)
            for k in range(p * size):
                at = (first + k) * lanes + n
                store(rows, at, below(zero, on, load(spare, k * lanes + n) * p, load(rows, at)))
    for n in range(lanes):
        if numbers[n] >= 0:
            _spread_own(rows, own[numbers[n]], n, p)


@njit
def _spread_own(rows: Any, factor: Any, n: int, p: int) -> None:
    """M of lane n <- P (J B) B^T."""
    size = factor.shape[0]
    j = np.empty((p, size))
    for i in range(p):
        for k in range(size):
            j[i, k] = rows[i * size + k, n]
    m = (j @ factor) @ factor.T
    for i in range(p):
        for k in range(size):
            rows[(p + i) * size + k, n] = m[i, k] * p


@njit(fastmath=_CONTRACT)
def _find_kick(law: Any, room: Any, own: Any, xi: Any, weights: Any, common: Any, numbers: Any) -> None:
    """kick <- B xi."""
    size, lanes = weights.shape
    kick, rank = room.kick, xi.shape[0]
    if any_of(common):
        product(law.factor, xi, kick)
    for n in range(0, lanes, WIDTH):
        on, zero = load(common, n), spread(0.0)
        for k in range(size):
            at = k * lanes + n
            if rank == size:  # only then a factor is diagonal
                store(kick, at, below(zero, on, load(kick, at), load(weights, at) * load(xi, at)))
            else:
                store(kick, at, below(zero, on, load(kick, at), zero))
    for n in range(lanes):
        if numbers[n] >= 0:
            factor = own[numbers[n]]
            for k in range(size):
                total = 0.0
                for i in range(rank):
                    total += factor[k, i] * xi[i, n]
                kick[k, n] = total


@njit(fastmath=_CONTRACT)
def _find_pairs(model: Any, law: Any, room: Any, vectors: Any, tired: Any, p: int, size: int) -> None:
    """left <- the two matrices of K, for noise that is not isotropic; good <- 0 where they were not found."""
    lanes, pairs = tired.shape[1], room.pairs
    symmetric_by_lane((room.rows, p * size, size, 1), (room.rows, 0, 1, size), (room.source, 0, p, 1), p, size)
    if any_of(tired):
        few = pairs.numbers[:1], pairs.numbers[1:2], pairs.numbers[2:3]
        for n in range(lanes):
            pairs.numbers[2, n] = _ACCURATE
        model.follow(Basis(vectors, room.inner, room.gram, pairs.image, pairs.residual, pairs.direction, *few), tired)
    law.solve_pairs(pairs, room.gram, vectors, room.source, law.share, p, room.counts)
    for n in range(lanes):
        tired[0, n] = 1.0 if room.counts[0, n] >= _TIRED else 0.0
        if not room.counts[0, n] < _GIVEN_UP:
            room.good[0, n] = 0.0
    if law.share > 0.0:
        law.invert(room.gram, 1.0 / law.share, room.mixed, room.work, room.column, room.todo)
    for k in range(0, p * p * lanes, WIDTH):
        inverse = load(room.inverse, k)
        store(room.mixed, k, inverse - load(room.mixed, k) if law.share > 0.0 else inverse)
    product_by_lane((room.mixed, 0, p, 1), (room.source, 0, p, 1), (room.work, 0, p, 1), p, p, p)
    for k in range(0, p * p * lanes, WIDTH):
        store(room.work, k, load(pairs.solution, k) - load(room.work, k))
    product_by_lane((room.work, 0, p, 1), (room.inverse, 0, p, 1), (room.left, 0, 2 * p, 1), p, p, p)
    for i in range(p):
        for k in range(0, p * lanes, WIDTH):
            store(room.left, (i * 2 * p + p) * lanes + k, load(room.mixed, i * p * lanes + k))


@njit(fastmath=_CONTRACT)
def _find_force(model: Any, law: Any, room: Any, runs: Any, own: Any, g: int, p: int) -> None:
    """x <- sum_i hess f_i K_i; `inverse` <- G^-1, and `good` <- 0 in lanes where they were not found."""
    w, alive, isotropic = runs.w[g], runs.alive[g], runs.isotropic[g]
    (size, lanes), rows, left = w.shape, room.rows, room.left
    model.jacobian(model.data, w, rows[: p * size].reshape((p, size, lanes)), room.scratch)
    symmetric_by_lane((rows, 0, size, 1), (rows, 0, 1, size), (room.gram, 0, p, 1), p, size)
    law.invert(room.gram, 0.0, room.inverse, room.work, room.column, room.good)
    general = False
    for n in range(lanes):
        general = general or (alive[0, n] > 0.0 and not isotropic[0, n] > 0.0)
    if general:
        _spread_noise(law, room, own, runs.weights[g], runs.common[g], runs.own[g], p)
        _find_pairs(model, law, room, runs.vectors[g], runs.tired[g], p, size)
    for n in range(0, lanes, WIDTH):
        b, zero = load(isotropic, n), spread(0.0)
        for i in range(p):
            for k in range(p):
                at = (i * 2 * p + k) * lanes + n
                simple = b * load(room.inverse, (i * p + k) * lanes + n) * (0.5 * p)
                store(left, at, below(zero, b, simple, load(left, at) if general else simple))
                if general:
                    store(left, at + p * lanes, below(zero, b, zero, load(left, at + p * lanes)))
    product_by_lane((left, 0, 2 * p, 1), (rows, 0, size, 1), (room.product, 0, size, 1), p, 2 * p if general else p, size)
    model.contract_hessians(model.data, w, room.product.reshape((p, size, lanes)), room.x, room.scratch)


@njit(fastmath=_CONTRACT)
def _subtract_normal(room: Any, x: Any, where: Any, p: int) -> None:
    """x <- x - J^T G^-1 `inner`, in lanes where `where` (1, lanes) is 1; `kick` is overwritten."""
    size, lanes = x.shape
    apply_by_lane((room.inverse, 0, p, 1), room.inner, room.outer, p, p)
    apply_by_lane((room.rows, 0, 1, size), room.outer, room.kick, size, p)
    for n in range(0, lanes, WIDTH):
        on, zero = load(where, n), spread(0.0)
        for k in range(size):
            at = k * lanes + n
            store(x, at, load(x, at) - below(zero, on, load(room.kick, at), zero))


@njit(fastmath=_CONTRACT)
def _return(model: Any, room: Any, moved: Any, p: int) -> None:
    """trial back onto Gamma by Gauss-Newton with the normals of the start, in lanes in `todo`; moved <- 1 where it arrives."""
    trial, inner, lanes = room.trial, room.inner, moved.shape[1]
    for k in range(_MAX_PROJECTIONS + 1):
        model.outputs(model.data, trial, inner, room.scratch)
        for n in range(lanes):
            room.counts[0, n] = 0.0
        for i in range(p):
            for n in range(lanes):
                inner[i, n] -= model.targets[i]
                room.counts[0, n] += inner[i, n] * inner[i, n]
        for n in range(lanes):
            if room.todo[0, n] > 0.0:
                if room.counts[0, n] <= model.goal * model.goal:
                    moved[0, n] = 1.0
                if moved[0, n] > 0.0 or not room.counts[0, n] < _LOST:
                    room.todo[0, n] = 0.0
        if k == _MAX_PROJECTIONS or not any_of(room.todo):
            return
        _subtract_normal(room, trial, room.todo, p)


@njit(types.void(OUTPUTS, LAW, ROOM, RUNS, _CUBE, float64), cache=True, nogil=True, fastmath=_CONTRACT)
def step(model: Any, law: Any, room: Any, runs: Any, own: Any, h: float) -> None:
    """A step of h of all runs that are alive, with the normals `xi`; those that are not `moved` afterwards stay where they are.

    own: factors of runs, (k, N, r).
    """
    p = model.targets.shape[0]
    for g in range(runs.w.shape[0]):
        w, alive, moved = runs.w[g], runs.alive[g], runs.moved[g]
        size, lanes = w.shape
        for n in range(lanes):
            moved[0, n] = 0.0
        _find_force(model, law, room, runs, own, g, p)
        _find_kick(law, room, own, runs.xi[g], runs.weights[g], runs.common[g], runs.own[g])
        for k in range(0, size * lanes, WIDTH):
            store(room.x, k, load(room.kick, k) * np.sqrt(h) - load(room.x, k) * (h / p))
        apply_by_lane((room.rows, 0, size, 1), room.x, room.inner, p, size)
        _subtract_normal(room, room.x, alive, p)
        for k in range(0, size * lanes, WIDTH):
            store(room.trial, k, load(w, k) + load(room.x, k))
        for n in range(lanes):
            room.todo[0, n] = min(alive[0, n], room.good[0, n])
        _return(model, room, moved, p)
        for n in range(0, lanes, WIDTH):
            on, zero = load(moved, n), spread(0.0)
            for k in range(size):
                at = k * lanes + n
                store(w, at, below(zero, on, load(room.trial, at), load(w, at)))


@njit(types.boolean(_M, _M), cache=True, nogil=True)
def equal(one: Any, other: Any) -> bool:
    """Whether two matrices of one shape are."""
    for i in range(one.shape[0]):
        differ = 0
        for k in range(one.shape[1]):
            differ += one[i, k] != other[i, k]
        if differ:
            return False
    return True


@njit(types.boolean(_M), cache=True, nogil=True)
def is_diagonal(matrix: Any) -> bool:
    """Whether a matrix is square and diagonal."""
    if matrix.shape[0] != matrix.shape[1]:
        return False
    for i in range(matrix.shape[0]):
        others = 0
        for k in range(matrix.shape[1]):
            others += matrix[i, k] != 0.0
        if others > (matrix[i, i] != 0.0):
            return False
    return True
