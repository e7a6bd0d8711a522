"""Points of Gamma with their normal spaces, one for each lane: projections, and moves along Gamma (RATTLE)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import extending, float64, int64, types
from numpy.typing import NDArray

from ...core.compile import njit
from ...core.simd.address import by_address
from ...core.simd.lanes import below, load_and_spread, store
from ...core.simd.matrix import WIDTH, aligned, apply_by_lane, symmetric_by_lane
from ...problems.compiled import CONTRACTION, JACOBIAN, KERNEL, Kernels
from .eigenbasis import BASIS, FOLLOW, Basis, any_of, basis_of, follow

Array = NDArray[np.float64]

load, spread = load_and_spread(WIDTH)
_CONTRACT = {"contract"}
_M = types.Array(types.float64, 2, "C")
_V = types.Array(types.float64, 1, "C")
_CUBE = types.Array(types.float64, 3, "C")

_MAX_PROJECTIONS = 30
_UPDATES, _SLOWEST = 12, 0.3
"""Steps after which Broyden's method begins anew, and the least number by which one of Gauss-Newton is divided."""
_ASIDE, _REACH = 0.125, 0.01
"""Accepted distance of Gamma from the end of a displacement: a share of its length, which is lost to the velocity, and however
short it is, a share of |w|."""
_LOST = 1e100
"""|f - y|^2 from which no way back is looked for."""
_PARTS = 32
"""Largest number of parts of a move that does not come back onto Gamma in one."""
_DAMPING = 1e-9
"""Share of the trace that is added to the eigenvalues of J J^T, so that its inverse stays finite where J loses rank."""


class Outputs(NamedTuple):
    """A problem's outputs and their derivatives as compiled code takes them."""

    goal: float
    """Distance |f - y| within which w is on Gamma."""
    data: Array
    """Constants of the kernels."""
    targets: Array
    """y, (P,)."""
    outputs: Any
    """Of signature KERNEL."""
    jacobian: Any
    """Of signature JACOBIAN."""
    contract_hessians: Any
    """Of signature CONTRACTION."""
    follow: Any
    """Of signature FOLLOW."""


OUTPUTS = types.NamedTuple(
    (float64, _M, _V, *(types.FunctionType(kind) for kind in (KERNEL, JACOBIAN, CONTRACTION, FOLLOW))), Outputs
)


@extending.typeof_impl.register(Outputs)
def _type_of(value: Outputs, context: Any) -> Any:
    """Known: Numba would take long to find it from the functions."""
    return OUTPUTS


class Place(NamedTuple):
    """Points w with Gamma's normal space there."""

    w: Array
    """(N, lanes)."""
    jacobian: Array
    """J, (P N, lanes)."""
    basis: Basis
    """The eigenbasis of J J^T."""
    origin: Array
    """w and its velocity before a move, (N, lanes) each."""
    speed: Array
    begin: Array
    """w before a displacement, and where it would lead, (N, lanes) each."""
    wanted: Array
    normal: Array
    """Room, (N, lanes)."""
    residual: Array
    """Room, (P, lanes), and so the next three."""
    inner: Array
    left: Array
    multipliers: Array
    steps: Array
    """Steps of Broyden's method in the eigenbasis, (_UPDATES P, lanes), and the squares of their lengths, (_UPDATES, lanes)."""
    lengths: Array
    todo: Array
    """1 for lanes that are not yet on Gamma, (1, lanes), and so the next."""
    lost: Array
    """1 for lanes that did not come back onto Gamma."""
    renewed: Array
    """1 for lanes whose normals are not those of their w."""
    moving: Array
    size: Array
    scratch: Array
    """Of the kernels."""


PLACE = types.NamedTuple((_M, _M, BASIS, *(_M,) * (len(Place._fields) - 3)), Place)
# Signatures of functions that others call by address: what is compiled into its callers is compiled anew for each.
NORMALS, TANGENT = types.void(OUTPUTS, PLACE, _M), types.void(PLACE, _M, _M)
SHIFT = types.void(OUTPUTS, PLACE, _M, float64)


def place_of(p: int, size: int, lanes: int, scratch_rows: int) -> Place:
    """A place for `lanes` points of `size` parameters and `p` outputs; its numbers are not yet set."""
    around = (size,) * 6  # w, origin, speed, begin, wanted, normal
    inside = (p,) * 4 + (_UPDATES * p, _UPDATES)  # residual, inner, left, multipliers, steps, lengths
    w, *others = (aligned(rows, lanes) for rows in (*around, *inside, *(1,) * 5, scratch_rows))
    return Place(w, aligned(p * size, lanes), basis_of(p, lanes), *others)


@njit(NORMALS, cache=True, nogil=True)
def find_normals(model: Any, place: Any, changed: Any) -> None:
    """J at w and the eigenbasis of J J^T, from those at a point near by; in lanes where `changed` (1, lanes) is 1."""
    (size, lanes), p = place.w.shape, model.targets.shape[0]
    model.jacobian(model.data, place.w, place.jacobian.reshape((p, size, lanes)), place.scratch)
    j = place.jacobian
    symmetric_by_lane((j, 0, size, 1), (j, 0, 1, size), (place.basis.matrix, 0, p, 1), p, size)
    model.follow(place.basis, changed)


@njit(fastmath=_CONTRACT, error_model="numpy")
def _begin_to_invert(place: Any) -> None:
    """inner <- lambda^-1 V r, r the `residual`. Slightly damped, so that it is finite everywhere."""
    p, lanes = place.inner.shape
    basis, inner, values = place.basis, place.inner, place.basis.values
    apply_by_lane((basis.vectors, 0, p, 1), place.residual, inner, p, p)
    for n in range(0, lanes, WIDTH):
        trace = spread(0.0)
        for i in range(p):
            trace = trace + load(values, i * lanes + n)
        least = trace * _DAMPING + 1e-300
        for i in range(p):
            at = i * lanes + n
            store(inner, at, load(inner, at) / (load(values, at) + least))


@njit(fastmath=_CONTRACT)
def _end_to_invert(place: Any) -> None:
    """residual <- V^T inner: (J J^T)^-1 r, up to the error of the eigenvectors."""
    p = place.inner.shape[0]
    apply_by_lane((place.basis.vectors, 0, 1, p), place.inner, place.residual, p, p)


@njit(fastmath=_CONTRACT)
def _find_normal(place: Any) -> None:
    """normal <- J^T `residual`."""
    size, p = place.normal.shape[0], place.residual.shape[0]
    apply_by_lane((place.jacobian, 0, 1, size), place.residual, place.normal, size, p)


@njit(fastmath=_CONTRACT, error_model="numpy")
def _take_broyden_step(place: Any, k: int) -> None:
    """inner <- the step of Broyden's method after k others, from that of Gauss-Newton: both to be subtracted, in the eigenbasis.

    Its rank-one updates of the inverse are products of the steps so far (Kelley 1995, section 7.3), whose lengths are those of
    the displacements J^T nu.
    """
    inner, values, steps, lengths = place.inner, place.basis.values, place.steps, place.lengths
    p, lanes = inner.shape
    for n in range(0, lanes, WIDTH):
        for before in range(k):
            share = spread(0.0)
            for i in range(p):
                at = i * lanes + n
                share = share + load(values, at) * load(steps, before * p * lanes + at) * load(inner, at)
            share = share / load(lengths, before * lanes + n)
            if before < k - 1:
                for i in range(p):
                    at = i * lanes + n
                    store(inner, at, load(inner, at) + load(steps, (before + 1) * p * lanes + at) * share)
            else:
                divisor = spread(1.0) - share
                least = spread(_SLOWEST)
                divisor = below(divisor, least, least, divisor)
                for i in range(p):
                    at = i * lanes + n
                    store(inner, at, load(inner, at) / divisor)
        length = spread(1e-300)
        for i in range(p):
            at = i * lanes + n
            x = load(inner, at)
            store(steps, k * p * lanes + at, x)
            length = length + load(values, at) * x * x
        store(lengths, k * lanes + n, length)


@njit(fastmath=_CONTRACT)
def _subtract_normal(place: Any, x: Any, where: Any) -> None:
    """x <- x - normal, (N, lanes), in lanes where `where` (1, lanes) is 1."""
    (size, lanes), normal = x.shape, place.normal
    for n in range(0, lanes, WIDTH):
        on, zero = load(where, n), spread(0.0)
        for i in range(size):
            at = i * lanes + n
            store(x, at, load(x, at) - below(zero, on, load(normal, at), zero))


@njit(fastmath=_CONTRACT)
def _add(x: Any, y: Any, factor: float) -> None:
    """x <- x + factor y."""
    rows, lanes = x.shape
    for at in range(0, rows * lanes, WIDTH):
        store(x, at, load(x, at) + load(y, at) * factor)


@njit(TANGENT, cache=True, nogil=True, fastmath=_CONTRACT)
def make_tangent(place: Any, x: Any, where: Any) -> None:
    """x (N, lanes) <- P_T x in lanes where `where` is 1. (J J^T)^-1 is refined twice, as it has the eigenvectors' error."""
    size, p = x.shape[0], place.residual.shape[0]
    left, multipliers, residual = place.left, place.multipliers, place.residual
    apply_by_lane((place.jacobian, 0, size, 1), x, left, p, size)
    multipliers[:] = 0.0
    for k in range(3):
        residual[:] = left
        _begin_to_invert(place)
        _end_to_invert(place)
        _add(multipliers, residual, 1.0)
        if k < 2:
            apply_by_lane((place.basis.matrix, 0, p, 1), residual, place.inner, p, p)
            _add(left, place.inner, -1.0)
    residual[:] = multipliers
    _find_normal(place)
    _subtract_normal(place, x, where)


@njit(fastmath=_CONTRACT)
def _find_residual(model: Any, place: Any) -> None:
    """residual <- f - y, and size <- its square."""
    r, far, targets = place.residual, place.size, model.targets
    p, lanes = r.shape
    model.outputs(model.data, place.w, r, place.scratch)
    for n in range(0, lanes, WIDTH):
        total = spread(0.0)
        for i in range(p):
            x = load(r, i * lanes + n) - targets[i]
            store(r, i * lanes + n, x)
            total = total + x * x
        store(far, n, total)


@njit
def _return(model: Any, place: Any, renew: bool) -> None:
    """w onto Gamma by Gauss-Newton, of lanes in `todo`, which keeps those that do not arrive.

    With the normals of `place` and Broyden's updates, or with the normals at each iterate (`renew`).
    """
    todo, moving, far, goal = place.todo, place.moving, place.size, model.goal * model.goal
    for k in range(_MAX_PROJECTIONS + 1):
        _find_residual(model, place)
        left = False
        for n in range(place.w.shape[1]):
            moving[0, n] = 0.0
            if todo[0, n] > 0.0:
                if far[0, n] <= goal:
                    todo[0, n] = 0.0
                elif far[0, n] < _LOST:
                    moving[0, n] = 1.0
                    left = True
        if not left or k == _MAX_PROJECTIONS:
            return
        if renew:
            find_normals(model, place, place.moving)
        _begin_to_invert(place)
        if not renew:
            _take_broyden_step(place, k % _UPDATES)
        _end_to_invert(place)
        _find_normal(place)
        _subtract_normal(place, place.w, place.moving)


@njit
def _nearest(model: Any, place: Any) -> None:
    """Lanes in `todo` to the point of Gamma nearest to `wanted`; those that find none near enough are `lost`."""
    size, lanes = place.w.shape
    asked, w, wanted, begin = place.todo.copy(), place.w, place.wanted, place.begin
    for n in range(lanes):
        if asked[0, n] > 0.0:
            place.renewed[0, n] = 1.0
            _copy(wanted, w, n)
    _return(model, place, True)
    for n in range(lanes):
        if asked[0, n] > 0.0:
            distance, length, norm = 0.0, 0.0, 0.0
            for i in range(size):
                distance += (w[i, n] - wanted[i, n]) ** 2
                length += (wanted[i, n] - begin[i, n]) ** 2
                norm += begin[i, n] ** 2
            if place.todo[0, n] > 0.0 or not distance <= max(_ASIDE * _ASIDE * length, _REACH * _REACH * norm):
                place.lost[0, n] = 1.0


@njit
def _copy(source: Any, target: Any, n: int) -> None:
    for i in range(source.shape[0]):
        target[i, n] = source[i, n]


@njit(SHIFT, cache=True, nogil=True, fastmath=_CONTRACT)
def shift(model: Any, place: Any, velocity: Any, h: float) -> None:
    """w <- w + h p + J^T nu with |f(w) - y| <= goal, of lanes in `todo`; those that find no such point stay, and are `lost`.

    nu by Gauss-Newton with the normals of the start, which are kept. Close to where J loses rank Gamma bends within a step and
    these normals may miss it: then the nearest point is taken, if its distance is at most an eighth of the displacement, or a
    hundredth of |w|; such lanes are `renewed`. `begin` is w as it was.
    """
    size, lanes = place.w.shape
    w, begin, wanted, lost, todo = place.w, place.begin, place.wanted, place.lost, place.todo
    for n in range(0, lanes, WIDTH):
        on, zero, length = load(todo, n), spread(0.0), spread(0.0)
        for i in range(size):
            at = i * lanes + n
            now = load(w, at)
            aim = below(zero, on, now + load(velocity, at) * h, now)
            length = length + aim * aim
            store(begin, at, now)
            store(wanted, at, aim)
            store(w, at, aim)
        store(lost, n, length)
    for n in range(lanes):
        if np.isfinite(lost[0, n]):
            lost[0, n] = 0.0
        else:
            lost[0, n], todo[0, n] = 1.0, 0.0
            _copy(begin, w, n)
    _return(model, place, False)
    if any_of(todo):
        _nearest(model, place)
    for n in range(lanes):
        if lost[0, n] > 0.0:
            _copy(begin, w, n)


class Gamma(NamedTuple):
    """The manifold of minimizers, as compiled code takes it."""

    model: Outputs
    find_normals: Any
    """Of signature NORMALS."""
    make_tangent: Any
    """Of signature TANGENT."""
    shift: Any
    """Of signature SHIFT."""


GAMMA = types.NamedTuple((OUTPUTS, *(types.FunctionType(kind) for kind in (NORMALS, TANGENT, SHIFT))), Gamma)
MOVE = types.void(GAMMA, PLACE, _M, float64, _M, int64)


@extending.typeof_impl.register(Gamma)
def _type_of_gamma(value: Gamma, context: Any) -> Any:
    return GAMMA


def outputs_of(kernels: Kernels, targets: Array, tolerance: float) -> Outputs:
    """The kernels of a problem, with w on Gamma where |f - y| <= tolerance (1 + |y|)."""
    goal = tolerance * (1 + float(np.linalg.norm(targets)))
    data, y = (np.ascontiguousarray(x, dtype=np.float64) for x in (kernels.data, targets))
    derivatives = by_address(kernels.jacobian, JACOBIAN), by_address(kernels.contract_hessians, CONTRACTION)
    return Outputs(goal, data, y, by_address(kernels.outputs, KERNEL), *derivatives, by_address(follow, FOLLOW))


def gamma_of(kernels: Kernels, targets: Array, tolerance: float) -> Gamma:
    """The manifold of a problem, where |f - y| <= tolerance (1 + |y|)."""
    own = (find_normals, NORMALS), (make_tangent, TANGENT), (shift, SHIFT)
    return Gamma(outputs_of(kernels, targets, tolerance), *(by_address(function, kind) for function, kind in own))


@njit
def _move_once(gamma: Any, place: Any, velocity: Any, h: float, moved: Any) -> None:
    """(w, p) after a move for h of the lanes that are `moved` (1, lanes), which loses those that are `lost`; p is not tangent."""
    size, lanes = velocity.shape
    w, begin, todo, lost, renewed = place.w, place.begin, place.todo, place.lost, place.renewed
    for n in range(lanes):
        todo[0, n] = moved[0, n]
    gamma.shift(gamma.model, place, velocity, h)
    for n in range(lanes):
        if lost[0, n] > 0.0:
            moved[0, n] = 0.0
        renewed[0, n] = max(renewed[0, n], moved[0, n])
    for n in range(0, lanes, WIDTH):
        on, zero = load(moved, n), spread(0.0)
        for i in range(size):
            at = i * lanes + n
            store(velocity, at, below(zero, on, (load(w, at) - load(begin, at)) / h, load(velocity, at)))
    gamma.find_normals(gamma.model, place, renewed)
    for n in range(lanes):
        renewed[0, n] = 0.0


@njit(MOVE, cache=True, nogil=True)
def move(gamma: Any, place: Any, velocity: Any, h: float, moved: Any, first: int) -> None:
    """(w, p) after moving along Gamma for h, of the lanes that are `moved` (1, lanes), which loses those that cannot.

    A lane that cannot be brought back onto Gamma is moved in 2, 4, ... parts: close to where J loses rank Gamma bends within a
    step. `first`: the least number of parts. `origin` and `speed` keep what was before. p is left to be made tangent.
    """
    size, lanes = velocity.shape
    failed, going = moved.copy(), moved.copy()
    w, origin, speed, renewed = place.w, place.origin, place.speed, place.renewed
    for i in range(size):
        for n in range(lanes):
            origin[i, n], speed[i, n] = w[i, n], velocity[i, n]
    parts = first
    while any_of(failed) and parts <= _PARTS:
        for part in range(parts):
            if part > 0:
                gamma.make_tangent(place, velocity, going)
            _move_once(gamma, place, velocity, h / parts, going)
        for n in range(lanes):
            if failed[0, n] > 0.0 and not going[0, n] > 0.0:
                _copy(origin, w, n)
                _copy(speed, velocity, n)
                going[0, n] = renewed[0, n] = 1.0
            else:
                failed[0, n] = going[0, n] = 0.0
        if any_of(failed):
            gamma.find_normals(gamma.model, place, renewed)
            renewed[:] = 0.0
        parts *= 2
    for n in range(lanes):
        if failed[0, n] > 0.0:
            moved[0, n] = 0.0
