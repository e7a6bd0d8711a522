"""Steps of the critical limit for a block of runs in machine code: one run in each lane [theory: Critical limit, eq. 7.5].

A step of size h is a symmetric splitting: w moves for h/2 with p (RATTLE: a shift along Gamma's normals J(w)^T brings it back
onto Gamma, and p follows), p is damped and pushed for h/2, the z_j relax for h exactly, then p again, then w again. p is made
tangent with its push. The second move of w and the first one of the next step are done as one. The modes are the eigenvectors
of J J^T, each followed from step to step (`geometry.lanes.eigenbasis`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import extending, float64, types
from numpy.typing import NDArray

from ..core.compile import njit
from ..core.random import CRITICAL_LIMIT, fill_normal, streams
from ..core.simd.address import by_address
from ..core.simd.lanes import below, load_and_spread, sqrt, store
from ..core.simd.matrix import WIDTH, aligned, product_by_lane, symmetric_by_lane
from ..geometry.lanes.eigenbasis import any_of
from ..geometry.lanes.manifold import GAMMA, MOVE, PLACE, Place, move, place_of
from ..problems.measures import MODEL, UNCOMPILED, measure

Array = NDArray[np.float64]

load, spread = load_and_spread(WIDTH)
_M = types.Array(types.float64, 2, "C")
_V = types.Array(types.float64, 1, "C")
_CUBE = types.Array(types.float64, 3, "C")
_STATE = types.Array(types.uint64, 2, "C")
_STEPS = types.Array(types.int64, 1, "C")
_CONTRACT = {"contract"}


class Runs(NamedTuple):
    """The runs of a block beside their places. Each has a clock of its own: s = pace times the time by which it is stepped."""

    p: Array
    """Tangent velocity dw / d(time), (N, lanes)."""
    real: Array
    """z of each mode, (P, lanes) each."""
    imaginary: Array
    kappa: Array
    """(1, lanes)."""
    pace: Array
    """s per unit of time, (1, lanes)."""
    rates: Array
    """Of a step, (3, lanes): decay of z, the standard deviation of its noise at lambda = 1, and the force's factor."""
    state: NDArray[np.uint64]
    """Random streams, (4, lanes)."""
    alive: Array
    """1, or 0 for runs that have diverged, (1, lanes)."""
    diverged: Array
    """The time at which a run diverged, NaN for none, (lanes,)."""
    moved: Array
    """Room, (1, lanes)."""
    xi: Array
    """Normals of a step, (2 P, lanes)."""
    mean: Array
    """<x_j^2> over a step, (P, lanes)."""
    root: Array
    """sqrt(lambda_j), (P, lanes)."""
    weighted: Array
    """sum_j <x_j^2> u_j u_j^T J, (P N, lanes)."""
    push: Array
    """(N, lanes), and so the next."""
    kept_w: Array
    kept_p: Array


RUNS = types.NamedTuple((*(_M,) * 6, _STATE, _M, _V, *(_M,) * 8), Runs)
#: Signature of the kick of a step, of size and end `h` and `time`, which the loop over steps calls by address: what is compiled
#: into its callers is compiled once more for each.
KICK = types.void(GAMMA, PLACE, RUNS, float64, float64)


def block(
    point: Array, vectors: Array, kappa: Array, pace: Array, seeds: NDArray[np.uint64], scratch_rows: int
) -> tuple[Place, Runs]:
    """Runs at rest at a point (N,) of Gamma, where J J^T has the eigenvectors `vectors` (P, P), a row each."""
    lanes, size, p = len(kappa), len(point), len(vectors)
    place = place_of(p, size, lanes, scratch_rows)
    place.w[:] = point[:, None]
    place.basis.vectors[:] = vectors.reshape(-1, 1)
    place.renewed[:] = 0.0

    def zeros(rows: int) -> Array:
        array = aligned(rows, lanes)
        array[:] = 0.0
        return array

    runs = Runs(
        zeros(size), zeros(p), zeros(p), np.ascontiguousarray(kappa[None]), np.ascontiguousarray(pace[None]), zeros(3),
        streams(seeds, CRITICAL_LIMIT), zeros(1) + 1.0, np.full(lanes, np.nan), zeros(1), zeros(2 * p), zeros(p), zeros(p),
        zeros(p * size), zeros(size), zeros(size), zeros(size),
    )  # fmt: skip
    return place, runs


@njit(fastmath=_CONTRACT, error_model="numpy")
def _relax(place: Any, runs: Any) -> None:
    """The z_j relax for a step, exact in law; `mean` <- their <x_j^2>, as they were and as they are, each for half of it."""
    real, imaginary, mean, xi = runs.real, runs.imaginary, runs.mean, runs.xi
    values, roots = place.basis.values, runs.root
    p, lanes = real.shape
    rates = runs.rates
    for n in range(0, lanes, WIDTH):
        top, decay, spread_of = spread(0.0), load(rates, n), load(rates, lanes + n)
        for i in range(p):
            value = load(values, i * lanes + n)
            top = below(top, value, value, top)
        least = top * 1e-12 + 1e-100  # a mode of eigenvalue 0 up to rounding gets a small frequency
        for i in range(p):
            at = i * lanes + n
            value = load(values, at)
            root = sqrt(below(value, least, least, value) / p)
            x, y = load(real, at), load(imaginary, at)
            before = x * x + y * y
            size = sqrt(root) * spread_of
            x = x * decay + size * load(xi, at)
            y = y * decay + size * load(xi, (p + i) * lanes + n)
            store(real, at, x)
            store(imaginary, at, y)
            store(roots, at, root)
            store(mean, at, (before * decay + (x * x + y * y)) / root)


@njit(fastmath=_CONTRACT)
def _weigh(place: Any, runs: Any) -> None:
    """weighted <- sum_j <x_j^2> u_j u_j^T J."""
    size, lanes = place.w.shape
    p, basis = runs.mean.shape[0], place.basis
    v, scaled, mean = basis.vectors, basis.first, runs.mean
    for i in range(p):
        for n in range(0, lanes, WIDTH):
            weight = load(mean, i * lanes + n)
            for at in range(i * p * lanes + n, (i + 1) * p * lanes, lanes):
                store(scaled, at, load(v, at) * weight)
    symmetric_by_lane((v, 0, 1, p), (scaled, 0, p, 1), (basis.second, 0, p, 1), p, p)
    product_by_lane((basis.second, 0, p, 1), (place.jacobian, 0, size, 1), (runs.weighted, 0, size, 1), p, p, size)


@njit
def _mark(runs: Any, time: float) -> None:
    """Runs that are not `moved` have diverged: they stay where they are."""
    alive, moved, diverged, velocity = runs.alive, runs.moved, runs.diverged, runs.p
    for n in range(alive.shape[1]):
        if alive[0, n] > 0.0 and not moved[0, n] > 0.0:
            diverged[n], alive[0, n] = time, 0.0
        if not alive[0, n] > 0.0:
            for i in range(velocity.shape[0]):
                velocity[i, n] = 0.0


@njit
def _accelerate(gamma: Any, place: Any, runs: Any, time: float) -> None:
    """Damps p for a step, adds `push` and makes the sum tangent; marks the runs that diverge."""
    size, lanes = place.w.shape
    push, velocity, rates, moved = runs.push, runs.p, runs.rates, runs.moved
    for i in range(size):
        for n in range(lanes):
            velocity[i, n] = rates[0, n] * rates[0, n] * velocity[i, n] + push[i, n]
    gamma.make_tangent(place, velocity, runs.alive)
    for n in range(lanes):
        moved[0, n] = 0.0
    for i in range(size):
        for n in range(lanes):
            moved[0, n] += velocity[i, n]
    for n in range(lanes):
        moved[0, n] = 1.0 if np.isfinite(moved[0, n]) else 0.0
    _mark(runs, time)


@njit(KICK, cache=True, nogil=True, fastmath=_CONTRACT)
def kick(gamma: Any, place: Any, runs: Any, h: float, time: float) -> None:
    """Damping, force and noise for h in the limit lr -> 0; marks the runs that diverge."""
    size, lanes = place.w.shape
    rows, push, kappa = runs.mean.shape[0], runs.push, runs.kappa
    rates, pace = runs.rates, runs.pace
    for n in range(lanes):
        own = pace[0, n] * h
        rates[0, n], rates[1, n] = np.exp(-own / 2), np.sqrt(-np.expm1(-own) / 2)
        rates[2, n] = np.expm1(-own / 2) * 2 / rows * pace[0, n] * kappa[0, n]
    _relax(place, runs)
    _weigh(place, runs)
    model = gamma.model
    model.contract_hessians(model.data, place.w, runs.weighted.reshape((rows, size, lanes)), push, place.scratch)
    for i in range(size):
        for n in range(lanes):
            push[i, n] *= rates[2, n]
    _accelerate(gamma, place, runs, time)


class Stepper(NamedTuple):
    """The parts of a step, as compiled code takes them."""

    move: Any
    """Of signature MOVE."""
    kick: Any
    """Of signature KICK."""


STEPPER = types.NamedTuple((types.FunctionType(MOVE), types.FunctionType(KICK)), Stepper)


@extending.typeof_impl.register(Stepper)
def _type_of(value: Stepper, context: Any) -> Any:
    """Known: Numba would take long to find it from the functions."""
    return STEPPER


def stepper() -> Stepper:
    """The compiled parts."""
    return Stepper(by_address(move, MOVE), by_address(kick, KICK))


@njit
def _step(gamma: Any, by: Any, place: Any, runs: Any, h: float, behind: float, time: float) -> None:
    """A step of h, before which w has yet to move for `behind`: the time since the last kick."""
    fill_normal(runs.state, runs.xi)  # for diverged runs too: no stream may depend on its neighbours
    runs.moved[:] = runs.alive
    by.move(gamma, place, runs.p, behind + h / 2, runs.moved, 1)
    _mark(runs, time)
    by.kick(gamma, place, runs, h, time)


@njit
def _arrive(gamma: Any, by: Any, place: Any, runs: Any, behind: float, time: float) -> None:
    """w <- where it is at the present time; `_resume` takes it back."""
    size, lanes = place.w.shape
    w, velocity, kept_w, kept_p = place.w, runs.p, runs.kept_w, runs.kept_p
    for i in range(size):
        for n in range(lanes):
            kept_w[i, n], kept_p[i, n] = w[i, n], velocity[i, n]
    place.todo[:] = runs.alive
    runs.moved[:] = runs.alive
    if behind > 0.0:
        gamma.shift(gamma.model, place, runs.p, behind)
        if any_of(place.lost):
            runs.moved[:] = place.lost
            lost = place.lost.copy()
            by.move(gamma, place, runs.p, behind, runs.moved, 2)
            for n in range(lanes):
                if lost[0, n] > 0.0:
                    place.renewed[0, n] = 1.0
                else:
                    runs.moved[0, n] = runs.alive[0, n]
    for n in range(lanes):
        if runs.alive[0, n] > 0.0 and not runs.moved[0, n] > 0.0:
            runs.diverged[n] = time


@njit
def _resume(gamma: Any, place: Any, runs: Any) -> None:
    size, lanes = place.w.shape
    w, velocity, kept_w, kept_p = place.w, runs.p, runs.kept_w, runs.kept_p
    for i in range(size):
        for n in range(lanes):
            w[i, n], velocity[i, n] = kept_w[i, n], kept_p[i, n]
    for n in range(lanes):
        if runs.alive[0, n] > 0.0 and not np.isnan(runs.diverged[n]):
            runs.alive[0, n] = 0.0
            for i in range(size):
                runs.p[i, n] = 0.0
    if any_of(place.renewed):
        gamma.find_normals(gamma.model, place, place.renewed)
        place.renewed[:] = 0.0


@njit(float64(GAMMA, MODEL, STEPPER, PLACE, RUNS, _STEPS, _V, _V, _CUBE, _CUBE), cache=True, nogil=True)
def record(
    gamma: Any, measures: Any, by: Any, place: Any, runs: Any, n_steps: Any, steps: Any, clock: Any, values: Any, points: Any
) -> float:
    """Advances all runs and measures them after each n_steps[t] steps of size steps[t].

    values (metric, time, run) <- the compiled metrics; points (time, run, N) <- the places, if there is room for any. clock: the
    present time, and the time since the last kick, (2,).
    """
    size, lanes = place.w.shape
    value, w, alive, kinds = np.empty(lanes), place.w, runs.alive, measures.kinds
    for t in range(n_steps.shape[0]):
        for _ in range(n_steps[t]):
            clock[0] += steps[t]
            _step(gamma, by, place, runs, steps[t], clock[1], clock[0])
            clock[1] = steps[t] / 2
        _arrive(gamma, by, place, runs, clock[1], clock[0])
        for i in range(kinds.shape[0]):
            if kinds[i] != UNCOMPILED:
                measure(measures, kinds[i], place.w, value, place.scratch)
                for n in range(lanes):
                    values[i, t, n] = value[n]
        for n in range(points.shape[1] if points.shape[0] > 0 else 0):
            for i in range(size):
                points[t, n, i] = w[i, n]
        _resume(gamma, place, runs)
        for n in range(lanes):
            if not alive[0, n] > 0.0:
                for i in range(values.shape[0]):
                    values[i, t, n] = np.nan
    return clock[0]


@njit(types.void(GAMMA, PLACE, RUNS), cache=True, nogil=True)
def begin(gamma: Any, place: Any, runs: Any) -> None:
    """The normals of runs that begin."""
    gamma.find_normals(gamma.model, place, runs.alive)
