"""Normal modes as complex amplitudes, at finite lr: against the oscillators themselves [theory: Critical limit]."""

from __future__ import annotations

import numpy as np
import pytest
from finite_lr_reference import carry, relax, squares
from scipy.integrate import solve_ivp

import sde_momentum as sm


def hessian(s, gap):
    """Two eigenvalues that cross at s = 2, but for a gap."""
    slope = 0.25 * (s - 2)
    return np.array([[1 + slope, gap], [gap, 1 - slope]])


@pytest.mark.parametrize(("frequency", "gap"), [(40.0, 0.01), (40.0, 0.03), (40.0, 0.1), (150.0, 0.02)])
def test_amplitudes_pass_an_avoided_crossing_as_the_oscillators_do(frequency, gap):
    """x'' + x' + Omega^2 H(s) x = 0: energy in each eigenvector afterwards, from 16 phases; adiabatic, mixed and diabatic."""
    phases = 2 * np.pi * np.arange(16) / 16
    first, u = np.linalg.eigh(hessian(0, gap))
    omega = frequency * np.sqrt(first[1])
    exact = np.zeros(2)
    last, v = np.linalg.eigh(hessian(4, gap))
    for phase in phases:
        x, velocity = np.cos(phase) * u[:, 1], omega * np.sin(phase) * u[:, 1]

        def rhs(s, y):
            return np.concatenate([y[2:], -y[2:] - frequency**2 * hessian(s, gap) @ y[:2]])

        end = solve_ivp(rhs, (0, 4), np.concatenate([x, velocity]), rtol=1e-9, atol=1e-11, method="DOP853").y[:, -1]
        exact += ((v.T @ end[:2]) ** 2 + (v.T @ end[2:]) ** 2 / (frequency**2 * last)) / 2 / len(phases)
    h, rate = 0.01, np.full(1, frequency)
    root, axes = np.sqrt(first)[None], u.T[None]
    z = np.array([[0, first[1] ** 0.25 / np.sqrt(2)]], dtype=complex)
    for s in h * np.arange(1, 401):
        values, vectors = np.linalg.eigh(hessian(s, gap))
        new_root, new_axes = np.sqrt(values)[None], vectors.T[None]
        z = carry(z, axes, root, new_axes, new_root, rate, h)
        z = relax(z, new_root, rate, np.zeros((1, 2)), np.zeros((1, 2)), 0.0)
        z = z * np.exp(-1j * frequency * new_root * h - h / 2)  # without noise
        root, axes = new_root, new_axes
    ours = np.diagonal(squares(z, root, rate, h)[0])
    np.testing.assert_allclose(ours, exact, atol=0.05 * exact.sum())


@pytest.mark.parametrize("frequency", [1.0, 30.0])
def test_modes_at_rest_are_stationary_with_unit_variance(frequency):
    """<x_i x_j> = 1 on the diagonal, 0 off it: 40,000 runs after s = 12, within 5 standard errors."""
    rng, n, h = np.random.default_rng(0), 40_000, 0.1
    root = np.tile(np.sqrt([0.2, 1.0, 1.02]), (n, 1))
    rate = np.full(n, frequency)
    z = np.zeros((n, 3), dtype=complex)
    for _ in range(120):
        z = relax(z, root, rate, rng.normal(size=(n, 3)), rng.normal(size=(n, 3)), h)
    found = squares(z, root, rate, h)
    expected = np.eye(3)
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - expected), 5 * found.std(axis=0) / np.sqrt(n) + 1e-12)


def test_a_turning_frame_keeps_the_stationary_state():
    """Label noise fills every direction alike, however the eigenvectors turn."""
    rng, n, h, frequency = np.random.default_rng(1), 20_000, 0.05, np.full(20_000, 20.0)
    values = np.sqrt([0.9, 1.0, 1.15])
    root = np.tile(values, (n, 1))
    z = np.sqrt(root / 2) * (rng.normal(size=(n, 3)) + 1j * rng.normal(size=(n, 3)))
    axes = np.eye(3)[None]
    for step in range(1, 40):
        angle = 0.03 * step
        turned = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])[None]
        z = carry(z, axes, root, np.broadcast_to(turned, (n, 3, 3)), root, frequency, h)
        z = relax(z, root, frequency, rng.normal(size=(n, 3)), rng.normal(size=(n, 3)), h)
        axes = turned
    found = np.diagonal(squares(z, root, frequency, h), axis1=1, axis2=2)
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - 1), 5 * found.std(axis=0) / np.sqrt(n))


def test_pairs_bring_the_critical_limit_to_training_where_eigenvectors_turn():
    """A diagonal linear network at lr = 1e-3: mean tr H on its way, 64 and 128 runs; without the pairs it is clearly off."""
    from derivations.models import diagonal_linear

    model = diagonal_linear(40, 16)
    problem, start, sigma, c, lr = model.compile(), model.interpolating_point(), 0.1, 0.01 / 16, 1e-3
    delta = 0.0906 * lr ** (2 / 3)
    times = np.array([0.0, 1.4, 2.8])
    steps = np.round(times / delta).astype(int)
    training = sm.solve(
        sm.LabelNoiseSGD(problem, sigma), start, steps, lr=lr, momentum=1 - delta, seeds=range(128), metrics=["trace_hessian"]
    ).trace_hessian.values[0, 0]
    kappa = c * lr**2 / (4 * delta**3)
    how = {"kappa": kappa, "seeds": range(64), "step": 0.04, "metrics": ["trace_hessian"]}
    limit = sm.CriticalLimit(problem)
    pairs = limit.solve(start, times, frequency=np.sqrt(lr) / delta, **how).trace_hessian.values[0]
    without = limit.solve(start, times, **how).trace_hessian.values[0]
    error = np.sqrt(training.var(axis=0) / len(training) + pairs.var(axis=0) / len(pairs))
    assert np.all(np.abs(pairs.mean(axis=0) - training.mean(axis=0))[1:] < 5 * error[1:])
    assert training.mean(axis=0)[2] - without.mean(axis=0)[2] > 3 * error[2]
