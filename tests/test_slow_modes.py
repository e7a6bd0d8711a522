"""Modes that w follows itself: exact laws of a flat Gamma, the hand-over, and training where modes soften
[theory: Critical limit]."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from finite_lr_reference import Chunk, Frame, Modes, count, exchange, push

import sde_momentum as sm
from derivations import SymbolicModel
from sde_momentum.core.times import fit_steps
from sde_momentum.dynamics.critical_runs import Blocks, Schedule
from sde_momentum.dynamics.critical_steps import begin, block, record, stepper_of
from sde_momentum.dynamics.finite_lr_steps import kick_at_finite_lr
from sde_momentum.geometry.lanes.manifold import find_normals, make_tangent, shift

SENSING = sm.MatrixSensing(6, 1, 20)
START = SENSING.interpolating_start()


def test_on_a_flat_gamma_a_slow_mode_has_the_stationary_law_of_its_oscillator():
    """f linear: <w_j^2> = 2 kappa / omega^2, <p_j^2> = 2 kappa lambda_j, and the fast mode's constraint holds; 3,000 runs."""
    x = sp.symbols("x:3", real=True)
    flat = SymbolicModel([sp.Rational(1, 2) * x[0], 20 * x[1]], x, [0.5, 20.0], point=[1, 1, 0]).compile()
    n, h, kappa, omega = 3000, 0.1, 0.7, 3.0
    runs = Chunk(flat, np.array([1.0, 1.0, 0.0]), np.full(n, kappa), np.full(n, omega), np.arange(n, dtype=np.uint64), 1e-10)
    for _ in range(120):
        runs.step(h)
    assert (runs.n_slow == 1).all()  # Omega = omega sqrt(lambda) = 1.06 and 42
    lam = 0.25 / 2
    # leapfrog's places and speeds deviate by (Omega h)^2 / 4 from the exact ones
    for found, law in ((runs.w[:, 0] - 1, 2 * kappa / omega**2), (runs.p[:, 0], 2 * kappa * lam)):
        square = found**2
        assert abs(square.mean() / law - 1) < 0.005 + 4 * square.std() / np.sqrt(n) / law
    np.testing.assert_allclose(runs.w[:, 1], 1, atol=1e-10)
    np.testing.assert_allclose(runs.w[:, 2], 0, atol=1e-12)  # along Gamma nothing happens


def test_modes_are_handed_to_w_and_taken_back():
    rng, n = np.random.default_rng(0), 4
    w = np.repeat(START[None], n, axis=0)
    none, three = np.zeros(n, dtype=np.intp), np.array([3, 1, 0, 3])
    frame = Frame.at(SENSING, w, none)
    p = frame.tangent(rng.normal(size=w.shape))
    root = np.sqrt(frame.squared / SENSING.n_outputs)
    z = rng.normal(size=root.shape) + 1j * rng.normal(size=root.shape)
    tolerance = 1e-12
    errors = []
    for small, fast in ((1e-3, 30.0), (5e-4, 60.0)):
        scale, frequency = np.full(n, small), np.full(n, fast)
        there = exchange(SENSING, w, p, z, frame, Modes(_axes(frame, root), root, frequency, scale), three, tolerance)
        assert not there[4].any()
        assert (there[2][there[3].slow] == 0).all()
        np.testing.assert_array_equal(there[0][2], w[2])  # nothing changes hands
        # the energy of what was handed over is in the loss: lambda_j <w_j^2> / 2, and the next order (found: small / 2)
        held = there[3].slow[0]
        place = small * np.sqrt(2 / root[0]) * z[0].real
        loss = SENSING.loss(there[0][:1])[0]
        np.testing.assert_allclose(loss, (root[0] ** 2 * place**2)[held].sum() / 2, rtol=small)
        new_root = np.sqrt(there[3].squared / SENSING.n_outputs)
        modes = Modes(_axes(there[3], new_root), new_root, frequency, scale)
        back = exchange(SENSING, *there[:4], modes, none, tolerance)
        # an eigenvector found anew may have the other sign
        sign = np.sign(np.einsum("npi,npi->ni", frame.outputs, there[3].outputs))
        assert (np.abs(np.einsum("npi,npi->ni", frame.outputs, there[3].outputs)) > 0.9).all()
        held_z = np.where(there[3].slow, sign * back[2], back[2])
        errors.append((np.abs(back[0] - w).max(), np.abs(held_z - z).max()))
    (w_error, z_error), (w_half, z_half) = errors
    assert w_half < 0.4 * w_error < 1e-3  # second order in the amplitude
    assert z_half < 0.7 * z_error < 0.1  # |p| over the frequency and Gamma's radius: what an amplitude cannot see


@pytest.mark.parametrize(
    ("frequency", "h", "pace", "n_steps"), [(1e6, 0.05, 1.0, 5), (15.0, 0.05, 1.0, 8), (60.0, 0.04, 0.5, 20)]
)
def test_a_step_in_machine_code_is_that_of_the_equations(frequency, h, pace, n_steps):
    """After some steps one without noise: without pairs, with modes that become slow, and with a pace."""
    n, p = 8, SENSING.n_outputs
    kappa, seeds = np.linspace(0.5, 1.5, n), np.arange(n, dtype=np.uint64)
    blocks = Blocks(Schedule(SENSING, START, *fit_steps([1.0], 0.1), [], 1e-12), SENSING.kernels)
    gamma, measures = blocks._models
    how = np.full(n, pace), np.full(n, frequency), seeds, SENSING.kernels.scratch_rows
    place, runs = block(START, blocks._vectors, kappa, *how)
    place.basis.accuracy[:] = 1e-9
    begin(gamma, place, runs)
    room = np.zeros(2), np.empty((0, 1, n)), np.empty((0, 0, 0))
    record(gamma, measures, stepper_of(kick_at_finite_lr), place, runs, np.array([n_steps]), np.array([h]), *room)
    theirs = Chunk(SENSING, START, kappa, np.full(n, frequency), seeds, 1e-12)
    jacobian, vectors = (np.moveaxis(x.reshape(p, -1, n), -1, 0) for x in (runs.oscillation.jacobian, runs.oscillation.vectors))
    theirs.root, theirs.z = runs.oscillation.root.T.copy(), (runs.real + 1j * runs.imaginary).T.copy()
    theirs.axes = vectors @ jacobian / (np.sqrt(p) * theirs.root[..., None])
    theirs.n_slow = (place.fast == 0).sum(axis=0)
    place.todo[:] = 1.0
    shift(gamma.model, place, runs.p, h)
    find_normals(gamma.model, place, np.ones((1, n)))
    make_tangent(place, runs.p, np.ones((1, n)))
    w, velocity = place.w.T.copy(), runs.p.T / pace
    frame = Frame.at(SENSING, w, theirs.n_slow.copy())
    runs.xi[:] = 0.0
    kick_at_finite_lr(gamma, place, runs, h, 1.0)
    there, speed, bad, _ = theirs._kick(np.arange(n), w, velocity, np.zeros((n, 2 * p)), h * pace, np.zeros(n, dtype=bool), frame)
    assert not bad.any()
    assert np.isnan(runs.diverged).all()
    np.testing.assert_array_equal((place.fast == 0).sum(axis=0), theirs.n_slow)
    assert (theirs.n_slow > 0).any() == (frequency < 1e5)
    kicked = np.abs(speed - np.exp(-h * pace) * velocity).max()
    np.testing.assert_allclose(place.w.T, there, atol=1e-5 * pace * h * np.abs(velocity).max())
    np.testing.assert_allclose(runs.p.T / pace, speed, atol=2e-5 * kicked)


def _axes(frame, root):
    """The modes' unit vectors, (n, P, N)."""
    return np.swapaxes(frame.outputs, -1, -2) @ frame.jacobian / (np.sqrt(SENSING.n_outputs) * root[..., None])


def test_the_push_is_the_gradient_of_the_slow_outputs_loss():
    rng = np.random.default_rng(1)
    w = (START + 1e-3 * rng.normal(size=START.size))[None]
    frame = Frame.at(SENSING, w, np.array([5], dtype=np.intp))
    u = frame.outputs[0][:, :5]
    h, omega = 0.01, np.array([12.0])
    found = push(SENSING, w, frame, np.array([0.5]), omega, np.zeros((1, SENSING.n_outputs)), h)[0]

    def loss(x):
        return np.square(u.T @ SENSING.residual(x)).sum() / (2 * SENSING.n_outputs)

    eps = 1e-5 * np.eye(START.size)
    gradient = np.array([(loss(w[0] + e) - loss(w[0] - e)) / 2e-5 for e in eps])
    np.testing.assert_allclose(found, np.expm1(-h) * omega**2 * gradient, atol=1e-8 * np.abs(found).max() + 1e-9)


def test_which_modes_are_slow_depends_on_the_step_and_on_what_they_were():
    root, frequency = np.array([[0.01, 0.1, 0.45, 0.55, 1.0]]), np.array([10.0])
    assert count(root, frequency, 0.1, np.array([0])) == [3]  # Omega h = 0.01, 0.1, 0.45, 0.55, 1
    assert count(root, frequency, 0.1, np.array([4])) == [4]  # stays slow up to 1.3 times that
    assert count(root, frequency, 0.1, np.array([5])) == [4]
    assert count(root, frequency, 0.01, np.array([0])) == [5]


def test_numbers_with_slow_modes_do_not_depend_on_threads_or_company():
    limit, times = sm.CriticalLimit(SENSING), [0.0, 0.5, 1.5]
    how = {"frequency": 15.0, "step": 0.05}
    together = sm.solve(limit, START, times, kappa=1.0, seeds=range(10), workers=2, **how)
    assert together.equals(sm.solve(limit, START, times, kappa=1.0, seeds=range(10), workers=1, **how))
    alone = sm.solve(limit, START, times, kappa=1.0, seeds=[7], **how)
    assert (alone.test_error.values[0, 0] == together.test_error.sel(seed=7).values[0]).all()


def test_where_modes_soften_the_swing_back_is_that_of_training():
    """Matrix sensing at lr = 0.003: the mean test error on the far side of its first minimum, 64 and 256 runs.

    With all modes fast Gamma's own curvature cannot swing them, and w comes back higher by two thirds.
    """
    problem, sigma, lr = sm.MatrixSensing(8, 1, 40), 0.1, 0.003
    start = problem.interpolating_start()
    delta = 0.0323 * lr ** (2 / 3)
    times = np.array([0.0, 1.1])
    training = sm.solve(
        sm.LabelNoiseSGD(problem, sigma), start, np.rint(times / delta).astype(int), lr=lr, momentum=1 - delta, seeds=range(256),
        metrics=["test_error"],
    ).test_error.values[0, 0, :, 1]  # fmt: skip
    kappa = sigma**2 / 40 * lr**2 / (4 * delta**3)
    runs = sm.CriticalLimit(problem).solve(
        start, times, kappa=kappa, frequency=np.sqrt(lr) / delta, seeds=range(64), step=0.02, metrics=["test_error"]
    )
    ours = runs.test_error.values[0, :, 1]
    error = np.hypot(ours.std(ddof=1) / 8, training.std(ddof=1) / 16)
    assert error < 0.12 * training.mean()
    assert abs(ours.mean() - training.mean()) < 4 * error
