"""Slow modes of the critical limit at finite lr: those whose period the step resolves, integrated directly
[theory: Finite learning rate, eq. 8.8].

Such a mode has no amplitude, which would average over its phase: w leaves Gamma along it. No constraint holds w there, but the
loss in the output directions u_j of the slow modes (the columns of U_s):

    dp = ... - omega^2 P_T J^T U_s U_s^T (f(w) - y) / P ds + 2 sqrt(kappa / P) J^T U_s dW,   omega = sqrt(eta) / delta

That is x_j'' + x_j' + Omega_j^2 x_j = sqrt(2) Omega_j dW / ds, with x_j in units of sqrt(2 kappa) / omega and
Omega_j = omega sqrt(lambda_j) [theory: Finite learning rate, eq. 8.6]. These modes feel Gamma's curvature and the other modes,
and w feels them, without approximation. As the step goes to 0 all modes become slow, and the run is one of the update itself, to
first order in delta.

A slow and a fast mode of neighbouring frequencies make no pair. A step whose threshold lies among many modes loses the effect of
such pairs, a third of the stationary tr H in matrix sensing. `resolving_step` leaves no fast mode.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..geometry.along_manifold import Frame, lowest, move, residual_at
from ..geometry.normal_modes import Complex
from ..problems.problem import Array, Problem

Counts = NDArray[np.intp]

_PHASE = 0.5
"""Phase Omega_j h within a step up to which a mode becomes slow: leapfrog then has its frequency to 1 %."""

_MARGIN = 1.3
"""How much faster a slow mode may become before it gets an amplitude: hysteresis for modes near the threshold."""


def count(root: Array, frequency: Array, h: float, before: Counts) -> Counts:
    """Number of slow modes at a step of `h`, (n,): the lowest of `root` = sqrt(lambda_j), increasing, (n, P)."""
    phase = frequency[:, None] * root * h
    return np.clip(before, (phase < _PHASE).sum(axis=1), (phase < _MARGIN * _PHASE).sum(axis=1))


def largest_slow_eigenvalue(frequency: float, h: float) -> float:
    """The eigenvalue lambda up to which modes become slow at a step of `h`."""
    return float((_PHASE / (frequency * h)) ** 2)


def resolving_step(frequency: float, eigenvalue: float) -> float:
    """The largest step at which all modes of eigenvalues up to `eigenvalue` are slow."""
    return float(_PHASE / (frequency * np.sqrt(eigenvalue)))


def push(problem: Problem, w: Array, frame: Frame, kappa: Array, frequency: Array, xi: Array, h: float) -> Array:
    """The change of p in a step of `h`, (n, N), by the slow modes' restoring force and noise, with standard normals xi (n, P)."""
    rows = problem.n_outputs
    u, slow = frame.outputs, frame.slow
    inner = (np.swapaxes(u, -1, -2) @ residual_at(problem, w)[..., None])[..., 0]
    force = np.expm1(-h) * np.square(frequency)[:, None] / rows * inner
    noise = np.sqrt(-2 * np.expm1(-2 * h) * kappa / rows)[:, None] * xi
    along = u @ np.where(slow, force + noise, 0.0)[..., None]
    return np.asarray((np.swapaxes(frame.jacobian, -1, -2) @ along)[..., 0])


class Modes(NamedTuple):
    """The normal modes of n runs at one time."""

    axes: Array
    """Their unit vectors, (n, P, N)."""
    root: Array
    """sqrt(lambda_j), (n, P)."""
    frequency: Array
    """omega = sqrt(eta) / delta, (n,)."""
    scale: Array
    """Displacement of w for x_j = 1: sqrt(2 kappa) / omega, (n,)."""


def exchange(
    problem: Problem, w: Array, p: Array, z: Complex, frame: Frame, modes: Modes, n_slow: Counts, tolerance: float
) -> tuple[Array, Array, Complex, Frame, NDArray[np.bool_]]:
    """(w, p, z) with `n_slow` slow modes instead of the frame's, the frame there, and flags of runs that missed Gamma.

    A mode that becomes slow adds its displacement x_j and velocity x_j' to w and p, one that becomes fast takes them from there.
    """
    slow = lowest(n_slow, z.shape[1])
    some = np.flatnonzero((slow != frame.slow).any(axis=1))
    missed = np.zeros(len(w), dtype=bool)
    if not len(some):
        return w, p, z, frame, missed
    slow, before, root, unit = slow[some], frame.slow[some], modes.root[some], modes.scale[some, None]
    axes, u = modes.axes[some], frame.outputs[some]
    omega = modes.frequency[some, None] * root
    place = (np.swapaxes(u, -1, -2) @ residual_at(problem, w[some])[..., None])[..., 0] / (np.sqrt(problem.n_outputs) * root)
    speed = (axes @ p[some][..., None])[..., 0]
    joining, leaving = slow & ~before, before & ~slow
    x = np.sqrt(2 / root) * z[some]
    shift = np.where(joining, unit * x.real - place, np.where(leaving, -place, 0.0))
    kick = np.where(joining, unit * omega * x.imag - speed, np.where(leaving, -speed, 0.0))
    taken = np.sqrt(root / 2) * (place + 1j * speed / omega) / unit
    w, p, z = w.copy(), p.copy(), z.copy()
    z[some] = np.where(joining, 0.0, np.where(leaving, taken, z[some]))
    p[some] += (np.swapaxes(axes, -1, -2) @ kick[..., None])[..., 0]
    back = (np.swapaxes(axes, -1, -2) @ shift[..., None])[..., 0]
    w[some], missed[some] = move(problem, w[some], back, tolerance, frame.chosen(some, n_slow[some]))
    there = Frame.at(problem, w[some], n_slow[some])
    p[some] = there.tangent(p[some])
    return w, p, z, frame.replaced(some, there), missed
