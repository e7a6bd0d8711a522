"""Complex amplitudes of the normal modes while eigenvalues and eigenvectors change along Gamma
[theory: Critical limit, eq. 7.7; Finite learning rate, eq. 8.6; Finite learning rate, eq. 8.7].

x_j is the displacement of mode j in units of its stationary standard deviation, Omega_j = sqrt(eta lambda_j) / delta its
frequency per unit of s = delta k, and delta = 1 - beta:

    x_j'' + x_j' + Omega_j^2 x_j = sqrt(2) Omega_j dW / ds,   z_j = lambda_j^(1/4) (x_j + i x_j' / Omega_j) / sqrt(2)

A fast mode oscillates as exp(-i Omega_j s) and keeps its action |z_j|^2 while lambda_j changes; the force along Gamma contains
the mean of x_j^2 over a period. Two modes of nearly equal frequencies stay in step (a pair): rotating eigenvectors pass amplitude
from one to the other, and x_i x_j has a mean. In the critical limit all frequencies and their differences are infinite: no pairs,
and its steps are `dynamics.critical_steps`. At finite lr the pairs are its first correction. Slow modes have no amplitude:
`dynamics.slow_modes`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ..problems.problem import Array

Complex = NDArray[np.complex128]
Flags = NDArray[np.bool_]

_RESOLVED = 1.5
"""Difference of phase within a step up to which a pair is followed; beyond it the mean of x_i x_j vanishes within a few steps."""


def carry(
    z: Complex,
    axes: Array,
    root: Array,
    new_axes: Array,
    new_root: Array,
    frequency: Array,
    h: float,
    slow: Flags | None = None,
) -> Complex:
    """The amplitudes z (n, P) of the modes after their unit vectors and eigenvalues have changed.

    Args:
        z: complex amplitudes before, (n, P)
        axes, new_axes: the modes' unit vectors before and after, (n, P, N)
        root, new_root: sqrt(lambda_j) before and after, (n, P)
        frequency: sqrt(eta) / delta, (n,)
        h: the time between them, in s
        slow: modes without an amplitude, old and new, (n, P); None for none
    """
    overlap = new_axes @ np.swapaxes(axes, -1, -2)
    order = _continue(np.abs(overlap))
    omega, new_omega = frequency[:, None] * root, frequency[:, None] * new_root
    near = np.abs(new_omega[:, :, None] - omega[:, None]) * h < _RESOLVED
    if slow is not None:
        near &= ~slow[:, :, None] & ~slow[:, None]
    kept = order[:, :, None] == np.arange(z.shape[1])
    # the part of x_i <- x_j and x_i' <- x_j' that keeps its phase: 1 for equal frequencies
    ratio = np.sqrt(new_root[:, :, None] / root[:, None])
    with_phase = np.where(kept, 1.0, (ratio + 1 / ratio) / 2)
    turn = np.where(near, overlap, np.where(kept, np.sign(overlap), 0.0))
    # Unresolved pairs exchange nothing: stationary modes, of variance sqrt(lambda_j), stay stationary.
    at_rest = np.square(turn * with_phase) * root[:, None]
    want = np.take_along_axis(root, order, axis=1)[:, :, None]
    size = np.sqrt(at_rest.sum(axis=-1, keepdims=True) / want)
    turn *= with_phase / np.where(size > 0, size, 1.0)
    carried = np.asarray((turn @ z[..., None])[..., 0])
    return carried if slow is None else np.where(slow, 0.0, carried)


def squares(z: Complex, root: Array, frequency: Array, h: float) -> Array:
    """<x_i x_j>, the mean over phases that a step of `h` does not resolve, (n, P, P)."""
    omega = frequency[:, None] * root
    x, y = z.real / np.sqrt(root), z.imag / np.sqrt(root)
    mean = x[:, :, None] * x[:, None] + y[:, :, None] * y[:, None]
    return np.where(np.abs(omega[:, :, None] - omega[:, None]) * h < _RESOLVED, mean, 0.0)


def relax(z: Complex, root: Array, frequency: Array, xi: Array, zeta: Array, h: float) -> Complex:
    """The amplitudes z (n, P) after relaxing for a time `h` in s, exact in law; `xi`, `zeta`: standard normals, (n, P)."""
    turned = np.exp(-1j * frequency[:, None] * root * h) * z
    return np.asarray(np.exp(-h / 2) * turned + np.sqrt(-np.expm1(-h) / 2 * root) * (xi + 1j * zeta))


def _continue(overlap: Array) -> NDArray[np.intp]:
    """Index of the old eigenvector that each new one continues: the pairing of largest overlap, (n, P new, P old) -> (n, P)."""
    order = overlap.argmax(axis=-1)
    for i in np.flatnonzero(np.any(np.diff(np.sort(order, axis=-1), axis=-1) == 0, axis=-1)):
        order[i] = linear_sum_assignment(-(overlap[i] ** 2))[1]
    return order
