"""Drift and diffusion along Gamma under general noise: against plain linear algebra, the drift flow and plain SGD
[theory: Drift]."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import null_space, solve_continuous_lyapunov

import sde_momentum as sm
from sde_momentum.dynamics.drift_diffusion import _Block, _Request, coefficients_along

PROBLEM = sm.MatrixSensing(3, 1, 4)
START = PROBLEM.interpolating_start()
N = PROBLEM.n_parameters
FACTOR = 0.1 * np.random.default_rng(0).normal(size=(N, N)) / np.sqrt(N)


def coefficients(w, factor, scaled_damping=np.inf):
    drift, along = coefficients_along(PROBLEM, w[None], factor[None], scaled_damping)
    return drift[0], along[0]


def test_drift_is_that_of_li_wang_arora():
    """Lyapunov's equation on the normal space, H^+ Sigma for the mixed terms, third derivatives by finite differences."""
    j = PROBLEM.jacobian(START)
    h = j.T @ j / PROBLEM.n_outputs
    t = null_space(j)
    along, across = t @ t.T, np.eye(N) - t @ t.T
    sigma = FACTOR @ FACTOR.T
    normal = np.linalg.svd(j)[2][: PROBLEM.n_outputs].T
    x = normal @ solve_continuous_lyapunov(normal.T @ h @ normal, normal.T @ sigma @ normal) @ normal.T
    mixed = np.linalg.pinv(h, rcond=1e-10) @ across @ sigma @ along
    x += mixed + mixed.T

    def hessian(w):
        jac = PROBLEM.jacobian(w)
        weights = PROBLEM.residual(w) / PROBLEM.n_outputs
        return jac.T @ jac / PROBLEM.n_outputs + np.tensordot(weights, PROBLEM.hessians(w), 1)

    step = 1e-6
    gradient = np.array([((hessian(START + step * e) - hessian(START - step * e)) * x).sum() / (2 * step) for e in np.eye(N)])
    drift, spread = coefficients(START, FACTOR)
    np.testing.assert_allclose(drift, -along @ gradient / 2, atol=1e-6 * np.abs(drift).max())
    np.testing.assert_allclose(spread, along @ FACTOR, atol=1e-9)


def test_much_momentum_leaves_the_gradient_of_the_logarithms():
    """C -> 0, noise normal to Gamma: the drift is -(1/4) sum_i Sigma_ii grad ln lambda_i."""
    j = PROBLEM.jacobian(START)
    u = np.linalg.eigh(j @ j.T / PROBLEM.n_outputs)[1]
    normal = j.T @ u / np.linalg.norm(j.T @ u, axis=0)
    factor = normal @ normal.T @ FACTOR
    variances = np.square(normal.T @ factor).sum(axis=1)
    expected = -PROBLEM.spectral_gradient(START, lambda eigenvalues: variances / eigenvalues) / 4
    expected -= normal @ (normal.T @ expected)
    np.testing.assert_allclose(coefficients(START, factor, 1e-5)[0], expected, atol=1e-6 * np.abs(expected).max())


def test_label_noise_diffuses_nowhere_and_follows_the_drift_flow():
    """Sigma = c H: tr H and the test error of the flow, after the same time; one run is all runs. Euler's error is below 1 %."""
    noise = 0.04
    flow = sm.drift_flow(PROBLEM, START, tolerance=1e-4)
    t = flow.time[np.searchsorted(flow.time, [0.1, 0.5, 1.5])]
    factor = lambda w: np.sqrt(noise / PROBLEM.n_outputs) * PROBLEM.jacobian(w).T  # noqa: E731
    runs = sm.solve(sm.DriftDiffusion(PROBLEM, factor), START, t / noise, step=0.01 / noise, seeds=[0, 1])
    points = flow.points[np.searchsorted(flow.time, t)]
    np.testing.assert_allclose(runs.trace_hessian.values, [PROBLEM.trace_hessian(points)] * 2, rtol=0.01)


def test_mean_of_plain_sgd_with_gradient_noise():
    """Noise along Gamma, across it and both; tr H within 4 standard errors or 1 % at 3 times. False alarm: 2 in 10,000."""
    lr, n = 0.02, 800
    delta = lr**0.4
    times = np.array([2.0, 4.0, 8.0])
    steps = np.rint(times * delta**2 / lr**2).astype(int)
    rng = np.random.default_rng(1)
    w = np.repeat(START[None], n, axis=0)
    v, measured = np.zeros_like(w), []
    for k in range(1, steps[-1] + 1):
        j, r = PROBLEM.jacobian(w), PROBLEM.residual(w)
        gradient = (r[:, None] @ j)[:, 0] / PROBLEM.n_outputs + rng.normal(size=(n, N)) @ FACTOR.T
        v = (1 - delta) * v - lr * gradient
        w = w + v
        if k in steps:
            measured.append(PROBLEM.trace_hessian(w))
    full = np.array(measured)
    limit = sm.DriftDiffusion(PROBLEM, lambda _: FACTOR, scaled_damping=delta / np.sqrt(lr))
    ours = sm.solve(limit, START, steps * lr**2 / delta**2, step=0.2, seeds=range(400)).trace_hessian.values.T
    error = np.hypot(full.std(axis=1, ddof=1) / np.sqrt(n), ours.std(axis=1, ddof=1) / 20)
    mean = full.mean(axis=1)
    assert (mean[-1] - PROBLEM.trace_hessian(START)) > 5 * error[-1]  # it goes somewhere
    assert (np.abs(ours.mean(axis=1) - mean) < np.maximum(4 * error, 0.01 * mean)).all(), (ours.mean(axis=1), mean, error)


class InNumpy(sm.MatrixSensing):
    """The same problem without kernels."""

    kernels = None


FACTORS = {
    "isotropic": lambda _: 0.1 * np.eye(N),
    "diagonal": lambda _: np.diag(np.linspace(0.0, 0.1, N)),
    "its own diagonal": lambda w: np.diag(0.1 * w),
    "one matrix": lambda _: FACTOR,
    "its own matrix": lambda w: FACTOR * w[0],
    "two columns": lambda w: FACTOR[:, :2] * w[0],
    "label noise": lambda w: 0.1 * PROBLEM.jacobian(w).T,
}
every_factor = pytest.mark.parametrize("factor", FACTORS.values(), ids=FACTORS)


@every_factor
@pytest.mark.parametrize("scaled_damping", [np.inf, 1.5, 0.3])
def test_compiled_runs_are_those_in_numpy(factor, scaled_damping):
    """The same noise. 1e-6 is the tolerance of the pairs' covariance, of a drift that is a part of the change."""
    plain = InNumpy(3, 1, 4)
    asked = {"start": START, "times": [0.0, 0.5], "step": 0.05, "seeds": range(5), "metrics": ("trace_hessian", "test_error")}
    ours, theirs = (sm.solve(sm.DriftDiffusion(p, factor, scaled_damping=scaled_damping), **asked) for p in (PROBLEM, plain))
    for name in asked["metrics"]:
        change = np.abs(theirs[name][:, -1] - theirs[name][:, 0]).max().item()
        assert change > 0
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-5 * change)


def test_compiled_steps_of_a_symbolic_model_are_those_in_numpy():
    """Its kernels take 32 lanes. One network, six samples, isotropic noise and noise of one covariance."""
    pytest.importorskip("sympy")
    from derivations import models

    problem = models.two_layer_tanh(3, 8, 6).compile()
    start, n = problem.interpolating_start(), problem.n_parameters
    matrix = 0.1 * np.random.default_rng(3).normal(size=(n, n)) / np.sqrt(n)
    for factor in (lambda _: 0.1 * np.eye(n), lambda _: matrix):
        limit = sm.DriftDiffusion(problem, factor)
        request = _Request(start, n, np.ones(1), np.ones(1, dtype=np.int64), np.ones(1), [], problem.kernels)
        compiled, plain = (_Block(limit, request, np.arange(3)) for _ in range(2))
        plain.model = None
        for _ in range(5):
            compiled.step(0.05)
            plain.step(0.05)
        assert compiled.model is not None
        assert compiled.runs.moved.sum() == 3
        change = np.linalg.norm(plain.place(2) - start)
        assert all(np.linalg.norm(compiled.place(i) - plain.place(i)) < 1e-5 * change for i in range(3))


@every_factor
def test_numbers_do_not_depend_on_threads_or_company(factor):
    limit = sm.DriftDiffusion(PROBLEM, factor, scaled_damping=1.5)
    runs = sm.solve(limit, START, [0.0, 1.0], step=0.1, seeds=range(37), workers=2)
    assert runs.equals(sm.solve(limit, START, [0.0, 1.0], step=0.1, seeds=range(37), workers=1))
    some = sm.solve(limit, START, [0.0, 1.0], step=0.1, seeds=[36, 9])
    assert (some.trace_hessian.values == runs.trace_hessian.sel(seed=[36, 9]).values).all()


def test_noise_may_change_from_one_form_to_another():
    """Diagonal, one matrix and its own matrix, run by run; the same numbers as in NumPy."""

    def factor(w):
        kind = int(abs(w[0]) * 1000) % 3
        return [FACTOR, 0.02 * np.eye(N), FACTOR * w[1]][kind]

    asked = {"start": START, "times": [0.0, 0.5], "step": 0.05, "seeds": range(6), "metrics": ("trace_hessian",)}
    ours, theirs = (sm.solve(sm.DriftDiffusion(p, factor), **asked).trace_hessian for p in (PROBLEM, InNumpy(3, 1, 4)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-7)
    with pytest.raises(sm.InputError, match=r"factor: given values of shape \(18, 1\) and \(18, 18\); allowed"):
        sm.solve(sm.DriftDiffusion(PROBLEM, lambda w: FACTOR if (w == START).all() else FACTOR[:, :1]), **asked)


def test_numbers_do_not_depend_on_threads_or_company_and_faults_are_marked():
    limit, times = sm.DriftDiffusion(PROBLEM, lambda _: FACTOR), [0.0, 1.0, 2.0]
    runs = sm.solve(limit, START, times, step=0.2, seeds=range(11), workers=2)
    assert runs.equals(sm.solve(limit, START, times, step=0.2, seeds=range(11), workers=1))
    alone = sm.solve(limit, START, times, step=0.2, seeds=[9])
    assert (alone.trace_hessian.values[0] == runs.trace_hessian.sel(seed=9).values).all()
    wild = sm.solve(sm.DriftDiffusion(PROBLEM, lambda _: 1e6 * FACTOR), START, times, step=0.2, seeds=range(2))
    assert (wild.diverged.values <= 2).all()
    assert np.isnan(wild.test_error.values[:, -1]).all()
    assert np.isfinite(wild.test_error.values[:, 0]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factor": lambda w: w}, r"factor: given values of shape \(18,\); allowed: a function to shape \(18, r\)"),
        ({"step": 0.0}, "step: given 0.0; allowed: finite numbers > 0"),
        ({"scaled_damping": 0.0}, "scaled_damping: given 0.0; allowed: finite numbers > 0"),
        ({"seeds": [-1]}, "seeds: given .*; allowed: a 1-D array of whole numbers >= 0"),
        ({"metrics": ("speed",)}, "metrics: given speed; allowed"),
        ({"start": START + 1}, r"w: given \|f\(w\) - y\|"),
    ],
)
def test_bad_input_is_refused(change, message):
    method = {"problem": PROBLEM, "factor": lambda _: FACTOR, "scaled_damping": 1.0}
    asked = {"start": START, "seeds": [0], "times": [1.0], "step": 0.1}
    with pytest.raises(sm.InputError, match=message):
        sm.solve(
            sm.DriftDiffusion(**{k: change.get(k, v) for k, v in method.items()}),
            **{k: change.get(k, v) for k, v in asked.items()},
            **{k: v for k, v in change.items() if k not in method | asked},
        )
