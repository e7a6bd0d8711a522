"""Steps of the critical limit at finite lr for a block of runs in machine code [theory: Finite learning rate].

As in the limit (`critical_steps`), but with the phases of the complex amplitudes z_j of the normal modes,

    x_j'' + x_j' + Omega_j^2 x_j = sqrt(2) Omega_j dW / ds,   z_j = lambda_j^(1/4) (x_j + i x_j' / Omega_j) / sqrt(2)

x_j is the displacement of mode j in units of its stationary standard deviation, Omega_j = sqrt(eta lambda_j) / delta its
frequency per unit of s = delta k, and delta = 1 - beta. A fast mode oscillates as exp(-i Omega_j s) and keeps its action |z_j|^2
while lambda_j changes. Two modes of nearly equal frequencies stay in step (a pair): rotating eigenvectors pass amplitude from one
to the other, and x_i x_j has a mean. In the limit all frequencies and their differences are infinite: no pairs. With n_j the
modes' unit vectors [theory: Finite learning rate, eq. 8.7],

    dp = -p ds - kappa P_T sum_ij <x_i x_j> n_i^T (grad H) n_j ds

Modes whose period the step resolves are slow (`slow_modes`): they have no amplitude and are integrated directly, as part of w.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.compile import njit
from ..core.simd.lanes import below, fabs, load_and_spread, sqrt, store
from ..core.simd.matrix import WIDTH, apply_by_lane, product_by_lane
from ..geometry.lanes.manifold import any_of, find_residual
from .critical_steps import accelerate, mark
from .slow_modes import MARGIN, PHASE

load, spread = load_and_spread(WIDTH)
_CONTRACT = {"contract"}

RESOLVED = 1.5
"""Difference of phase within a step up to which a pair is followed; beyond it the mean of x_i x_j vanishes within a few steps."""


@njit(error_model="numpy")
def _find_roots(place: Any, runs: Any) -> None:
    """root <- sqrt(lambda_j); a mode of eigenvalue 0 up to rounding gets a small frequency."""
    values, root = place.basis.values, runs.root
    p, lanes = values.shape
    for n in range(lanes):
        top = 0.0
        for i in range(p):
            top = max(top, values[i, n])
        for i in range(p):
            root[i, n] = np.sqrt(max(values[i, n], top * 1e-12 + 1e-100) / p)


@njit(fastmath=_CONTRACT)
def _find_overlaps(place: Any, runs: Any) -> None:
    """basis.inner <- n_i . n_j P root_i root_j, of the modes i and those at the last kick j, which these become."""
    size, lanes = place.w.shape
    basis, before = place.basis, runs.oscillation
    p = basis.values.shape[0]
    product_by_lane((place.jacobian, 0, size, 1), (before.jacobian, 0, 1, size), (basis.first, 0, p, 1), p, size, p)
    product_by_lane((basis.vectors, 0, p, 1), (basis.first, 0, p, 1), (basis.second, 0, p, 1), p, p, p)
    product_by_lane((basis.second, 0, p, 1), (before.vectors, 0, 1, p), (basis.inner, 0, p, 1), p, p, p)
    for k in range(0, p * size * lanes, WIDTH):
        store(before.jacobian, k, load(place.jacobian, k))
    for k in range(0, p * p * lanes, WIDTH):
        store(before.vectors, k, load(basis.vectors, k))


@njit(fastmath=_CONTRACT, error_model="numpy")
def _carry(place: Any, runs: Any, h: float) -> None:
    """carried <- z of the modes after their unit vectors and eigenvalues have changed.

    Modes that stay in step exchange amplitude by the overlap of their vectors. Others exchange nothing, and stationary modes, of
    variance sqrt(lambda_j), stay stationary.
    """
    overlap, fast, root, real, imaginary = place.basis.inner, place.fast, runs.root, runs.real, runs.imaginary
    before, frequency, carried = runs.oscillation.root, runs.oscillation.frequency, runs.oscillation.carried
    p, lanes = root.shape
    for n in range(0, lanes, WIDTH):
        zero, one = spread(0.0), spread(1.0)
        largest = spread(RESOLVED / h) / load(frequency, n)  # difference of roots of a pair
        for i in range(p):
            at_rest, x, y = zero, zero, zero
            own, on = load(root, i * lanes + n), load(fast, i * lanes + n)
            quarter = sqrt(own)
            for j in range(p):
                other, at = load(before, j * lanes + n), j * lanes + n
                part = load(overlap, (i * p + j) * lanes + n) / (own * other * p)
                near = below(fabs(own - other), largest, on * load(fast, at), zero)
                if i == j:
                    part = below(zero, near, part, below(part, zero, zero - one, below(zero, part, one, zero)))
                else:
                    ratio = quarter / sqrt(other)
                    part = below(zero, near, part * (ratio + one / ratio) * 0.5, zero)
                at_rest = at_rest + part * part * other
                x = x + part * load(real, at)
                y = y + part * load(imaginary, at)
            scale = below(zero, at_rest, sqrt(load(before, i * lanes + n) / at_rest), one) * on
            store(carried, i * lanes + n, x * scale)
            store(carried, (p + i) * lanes + n, y * scale)
    for k in range(0, p * lanes, WIDTH):
        store(before, k, load(root, k))


@njit(error_model="numpy")
def _relax(place: Any, runs: Any, h: float) -> None:
    """The z_j relax for h, exact in law."""
    fast, root, real, imaginary, xi, rates = place.fast, runs.root, runs.real, runs.imaginary, runs.xi, runs.rates
    frequency, carried = runs.oscillation.frequency, runs.oscillation.carried
    p, lanes = root.shape
    for i in range(p):
        for n in range(lanes):
            phase = frequency[0, n] * root[i, n] * h
            cosine, sine, size = np.cos(phase), np.sin(phase), rates[1, n] * np.sqrt(root[i, n])
            x, y = carried[i, n], carried[p + i, n]
            real[i, n] = (rates[0, n] * (x * cosine + y * sine) + size * xi[i, n]) * fast[i, n]
            imaginary[i, n] = (rates[0, n] * (y * cosine - x * sine) + size * xi[p + i, n]) * fast[i, n]


@njit(fastmath=_CONTRACT, error_model="numpy")
def _weigh(place: Any, runs: Any, h: float) -> None:
    """weighted <- sum_ij (root_i / root_j) <x_i x_j> u_i u_j^T J, of z before and after the step, each for half of it."""
    size, lanes = place.w.shape
    basis, root, real, imaginary, rates = place.basis, runs.root, runs.real, runs.imaginary, runs.rates
    frequency, carried, weights = runs.oscillation.frequency, runs.oscillation.carried, basis.first
    p = root.shape[0]
    for n in range(0, lanes, WIDTH):
        zero, decay = spread(0.0), load(rates, n)
        largest = spread(RESOLVED / h) / load(frequency, n)
        for i in range(p):
            own, here, further = load(root, i * lanes + n), i * lanes + n, (p + i) * lanes + n
            quarter = sqrt(own)
            for j in range(p):
                other, at = load(root, j * lanes + n), j * lanes + n
                mean = load(carried, here) * load(carried, at) + load(carried, further) * load(carried, (p + j) * lanes + n)
                mean = mean * decay + load(real, here) * load(real, at) + load(imaginary, here) * load(imaginary, at)
                # x = z / sqrt(root)
                weight = mean * quarter / (sqrt(other) * other)
                store(weights, (i * p + j) * lanes + n, below(fabs(own - other), largest, weight, zero))
    product_by_lane((weights, 0, p, 1), (basis.vectors, 0, p, 1), (basis.second, 0, p, 1), p, p, p)
    product_by_lane((basis.vectors, 0, 1, p), (basis.second, 0, p, 1), (weights, 0, p, 1), p, p, p)
    product_by_lane((weights, 0, p, 1), (place.jacobian, 0, size, 1), (runs.weighted, 0, size, 1), p, p, size)


@njit(fastmath=_CONTRACT)
def _along_modes(place: Any, components: Any, x: Any) -> None:
    """normal <- J^T V^T c, and x (N, lanes) <- x + that; c: `components` (P, lanes)."""
    (size, lanes), p = place.w.shape, components.shape[0]
    apply_by_lane((place.basis.vectors, 0, 1, p), components, place.residual, p, p)
    apply_by_lane((place.jacobian, 0, 1, size), place.residual, place.normal, size, p)
    for k in range(0, size * lanes, WIDTH):
        store(x, k, load(x, k) + load(place.normal, k))


@njit(error_model="numpy")
def _push_slow(gamma: Any, place: Any, runs: Any, h: float) -> None:
    """push <- push with the slow modes' restoring force and noise [theory: Finite learning rate, eq. 8.8]."""
    fast, inner, xi, kappa, pace = place.fast, place.inner, runs.xi, runs.kappa, runs.pace
    along, frequency = runs.oscillation.shift, runs.oscillation.frequency
    p, lanes = fast.shape
    if fast.sum() == p * lanes:
        return
    find_residual(gamma.model, place)
    for n in range(lanes):
        own = pace[0, n] * h
        # per unit of the runs' time: (sqrt(eta) / delta)^2 pace = frequency^2 / pace
        force = np.expm1(-own) * frequency[0, n] ** 2 / (p * pace[0, n])
        noise = np.sqrt(-2 * np.expm1(-2 * own) * kappa[0, n] / p) * pace[0, n]
        for i in range(p):
            along[i, n] = 0.0 if fast[i, n] > 0.0 else force * inner[i, n] + noise * xi[i, n]
    _along_modes(place, along, runs.push)


@njit(error_model="numpy")
def _exchange(gamma: Any, place: Any, runs: Any, h: float) -> None:
    """Modes that become slow add their displacement and velocity to w and p; those that become fast take them from there.

    `moved` loses the runs that miss Gamma.
    """
    fast, inner, values, root, real, imaginary = place.fast, place.inner, runs.xi, runs.root, runs.real, runs.imaginary
    kappa, pace, frequency = runs.kappa, runs.pace, runs.oscillation.frequency
    shift, change, changed, lost = runs.oscillation.shift, runs.oscillation.change, runs.oscillation.softened, place.lost
    (size, lanes), p = place.w.shape, fast.shape[0]
    runs.moved[:] = runs.alive
    for n in range(lanes):
        changed[0, n] = 0.0
        if runs.alive[0, n] > 0.0:
            for i in range(p):
                phase = frequency[0, n] * root[i, n] * h
                slow = phase < PHASE or (fast[i, n] == 0.0 and phase < MARGIN * PHASE)
                if slow == (fast[i, n] > 0.0):
                    changed[0, n] = 1.0
    if not any_of(changed):
        return
    find_residual(gamma.model, place)
    # n_j . p: the first p rows of xi are not needed any more
    apply_by_lane((place.jacobian, 0, size, 1), runs.p, place.residual, p, size)
    apply_by_lane((place.basis.vectors, 0, p, 1), place.residual, values[:p], p, p)
    for n in range(lanes):
        unit = np.sqrt(2 * kappa[0, n]) * pace[0, n] / frequency[0, n]  # displacement of w for x_j = 1
        for i in range(p):
            shift[i, n] = change[i, n] = 0.0
            phase = frequency[0, n] * root[i, n] * h
            slow = phase < PHASE or (fast[i, n] == 0.0 and phase < MARGIN * PHASE)
            if changed[0, n] > 0.0 and slow == (fast[i, n] > 0.0):
                length = np.sqrt(p) * root[i, n]  # of J^T u_i
                at, speed, omega = inner[i, n] / length, values[i, n] / length, frequency[0, n] * root[i, n]
                if slow:
                    x = np.sqrt(2 / root[i, n]) * unit
                    shift[i, n] = (x * real[i, n] - at) / length
                    change[i, n] = (x * omega * imaginary[i, n] - speed) / length
                    real[i, n] = imaginary[i, n] = fast[i, n] = 0.0
                else:
                    shift[i, n], change[i, n] = -at / length, -speed / length
                    scale = np.sqrt(root[i, n] / 2) / unit
                    real[i, n], imaginary[i, n], fast[i, n] = scale * at, scale * speed / omega, 1.0
    _along_modes(place, change, runs.p)
    runs.push[:] = 0.0
    _along_modes(place, shift, runs.push)
    for n in range(lanes):
        place.todo[0, n] = changed[0, n]
    gamma.shift(gamma.model, place, runs.push, 1.0)
    for n in range(lanes):
        if lost[0, n] > 0.0 and changed[0, n] > 0.0:
            runs.moved[0, n] = 0.0
        place.renewed[0, n] = 0.0
    gamma.find_normals(gamma.model, place, changed)
    gamma.make_tangent(place, runs.p, changed)


@njit(cache=True, nogil=True)  # for the signature KICK when it is asked for: many a user never does
def kick_at_finite_lr(gamma: Any, place: Any, runs: Any, h: float, time: float) -> None:
    """Damping, force and noise for h; marks the runs that diverge."""
    size, lanes = place.w.shape
    rows, push, kappa, rates, pace = runs.mean.shape[0], runs.push, runs.kappa, runs.rates, runs.pace
    for n in range(lanes):
        own = pace[0, n] * h
        rates[0, n], rates[1, n] = np.exp(-own / 2), np.sqrt(-np.expm1(-own) / 2)
        rates[2, n] = np.expm1(-own / 2) * 2 / rows * pace[0, n] * kappa[0, n]
    _find_roots(place, runs)
    _find_overlaps(place, runs)
    _carry(place, runs, h)
    _relax(place, runs, h)
    _weigh(place, runs, h)
    model = gamma.model
    model.contract_hessians(model.data, place.w, runs.weighted.reshape((rows, size, lanes)), push, place.scratch)
    for i in range(size):
        for n in range(lanes):
            push[i, n] *= rates[2, n]
    _push_slow(gamma, place, runs, h)
    accelerate(gamma, place, runs, time)
    _exchange(gamma, place, runs, h)
    mark(runs, time)
