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

import numpy as np

PHASE = 0.5
"""Phase Omega_j h within a step up to which a mode becomes slow: leapfrog then has its frequency to 1 %."""

MARGIN = 1.3
"""How much faster a slow mode may become before it gets an amplitude: hysteresis for modes near the threshold."""


def largest_slow_eigenvalue(frequency: float, h: float) -> float:
    """The eigenvalue lambda up to which modes become slow at a step of `h`."""
    return float((PHASE / (frequency * h)) ** 2)


def resolving_step(frequency: float, eigenvalue: float) -> float:
    """The largest step at which all modes of eigenvalues up to `eigenvalue` are slow."""
    return float(PHASE / (frequency * np.sqrt(eigenvalue)))
