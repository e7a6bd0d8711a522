"""T7: the normal modes of runs on Gamma as complex amplitudes, carried along while eigenvalues and eigenvectors turn.

x_j is mode j in units of its stationary deviation, Omega_j = sqrt(eta lambda_j) / delta its frequency per unit of s, and

    x_j'' + x_j' + Omega_j^2 x_j = sqrt(2) Omega_j dW / ds,   z_j = lambda_j^(1/4) (x_j + i x_j' / Omega_j) / sqrt(2)

A fast mode turns as exp(-i Omega_j s), keeps its action |z_j|^2 while lambda_j changes, and its x_j^2 counts by its mean over
a period. Two modes whose frequencies differ by little stay in step: turning eigenvectors pass amplitude from one to the
other, and x_i x_j has a mean. In the critical limit all frequencies and their differences are infinite and no pair is left;
at finite lr the pairs are its first correction. A slow mode has no action to keep: its x_j, x_j' stay as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ..problems.base import Array

Complex = NDArray[np.complex128]
Flags = NDArray[np.bool_]

_SLOW = 4.0
"""Omega_j up to which a mode is slow: followed as the oscillator that it is."""

_RESOLVED = 1.5
"""Difference of phase within a step up to which a pair is followed; beyond, its mean vanishes within a few steps."""


def carry(z: Complex, axes: Array, root: Array, new_axes: Array, new_root: Array, frequency: Array | None, h: float) -> Complex:
    """Amplitudes (n, P) along the unit vectors `new_axes` that follow `axes`, (n, P, N) or (in the limit) (n, P, P).

    `root`: sqrt(lambda_j), (n, P); `frequency`: sqrt(eta) / delta, (n,), or None for the limit; `h`: the time between them.
    """
    overlap = new_axes @ np.swapaxes(axes, -1, -2)
    order = _continue(np.abs(overlap))
    if frequency is None:
        return np.asarray(np.take_along_axis(z, order, axis=1))
    omega, new_omega = frequency[:, None] * root, frequency[:, None] * new_root
    slow = new_omega < _SLOW
    near = np.abs(new_omega[:, :, None] - omega[:, None]) * h < _RESOLVED
    near &= slow[:, :, None] == (omega < _SLOW)[:, None]
    kept = order[:, :, None] == np.arange(z.shape[1])
    stretch = np.sqrt(new_root[:, :, None] / root[:, None])  # of a slow mode's z, whose x and x' stay
    # What turns with the phase, of x_i <- x_j and x_i' <- x_j': equal to 1 for equal frequencies.
    with_phase = np.where(kept, 1.0, (stretch + 1 / stretch) / 2)
    turn = np.where(near, overlap, np.where(kept, np.sign(overlap), 0.0))
    # What unresolved pairs would carry away stays: modes at rest, of variance sqrt(lambda_j), remain so.
    at_rest = np.square(turn * np.where(slow[:, :, None], 1.0, with_phase)) * np.where(slow[:, :, None], 1.0, root[:, None])
    want = np.where(slow, 1.0, np.take_along_axis(root, order, axis=1))[:, :, None]
    size = np.sqrt(at_rest.sum(axis=-1, keepdims=True) / want)
    turn /= np.where(size > 0, size, 1.0)
    real, imaginary = (np.where(slow[:, :, None], factor, with_phase) * turn for factor in (stretch, 1 / stretch))
    return np.asarray((real @ z.real[..., None] + 1j * (imaginary @ z.imag[..., None]))[..., 0])


def squares(z: Complex, root: Array, frequency: Array | None, h: float) -> Array:
    """<x_i x_j> over the phases that a step of `h` does not resolve, (n, P, P); in the limit its diagonal, (n, P)."""
    if frequency is None:
        return np.asarray(np.square(np.abs(z)) / root)
    omega = frequency[:, None] * root
    slow = omega < _SLOW
    x, y = z.real / np.sqrt(root), z.imag / np.sqrt(root)
    both = x[:, :, None] * x[:, None]
    mean = both + y[:, :, None] * y[:, None]
    near = (np.abs(omega[:, :, None] - omega[:, None]) * h < _RESOLVED) & (slow[:, :, None] == slow[:, None])
    return np.asarray(np.where(near, np.where(slow[:, :, None], 2 * both, mean), 0.0))


def relax(z: Complex, root: Array, frequency: Array | None, xi: Array, zeta: Array, h: float) -> Complex:
    """The modes' own motion for `h`, exactly, with two standard normals each, (n, P)."""
    fast = np.exp(-h / 2) * z
    if frequency is None:
        return np.asarray(fast + np.sqrt(-np.expm1(-h) / 2 * root) * (xi + 1j * zeta))
    omega = frequency[:, None] * root
    slow = omega < _SLOW
    fast = np.exp(-1j * omega * h) * fast + np.sqrt(-np.expm1(-h) / 2 * root) * (xi + 1j * zeta)
    if not slow.any():
        return np.asarray(fast)
    # (x, x' / Omega) <- M (x, x' / Omega) + noise of covariance 1 - M M^T: the stationary covariance is 1
    omega = np.where(slow, omega, 0.0)
    rate = np.sqrt(0.25 - np.square(omega) + 0j)
    rate = np.where(np.abs(rate) < 1e-8, 1e-8, rate)
    cosine, sine = np.exp(-h / 2) * np.cosh(rate * h).real, np.exp(-h / 2) * (np.sinh(rate * h) / rate).real
    a, b, d = cosine + sine / 2, omega * sine, cosine - sine / 2
    first = np.sqrt(np.maximum(1 - a * a - b * b, 0))
    cross = np.divide(b * (a - d), first, out=np.zeros_like(first), where=first > 0)
    second = np.sqrt(np.maximum(1 - b * b - d * d - cross * cross, 0))
    scale = np.sqrt(root / 2)
    x = a * z.real + b * z.imag + scale * first * xi
    y = d * z.imag - b * z.real + scale * (cross * xi + second * zeta)
    return np.where(slow, x + 1j * y, fast)


def _continue(overlap: Array) -> NDArray[np.intp]:
    """Which old eigenvector each new one continues: the pairing of greatest overlap, (n, P new, P old) -> (n, P)."""
    order = overlap.argmax(axis=-1)
    for i in np.flatnonzero(np.any(np.diff(np.sort(order, axis=-1), axis=-1) == 0, axis=-1)):
        order[i] = linear_sum_assignment(-(overlap[i] ** 2))[1]
    return order
