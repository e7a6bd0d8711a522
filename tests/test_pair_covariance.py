"""Two modes under general noise: against Lyapunov solves, 50 digits, and simulations of the discrete update."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_discrete_lyapunov
from test_formulas import ACCURACY, DELTAS, FRACTIONS, KINDS, POINTS, of, powers, relative_error, trace_and_determinant

from sde_momentum.theory import formulas


def companion(kind: str, a, delta) -> list[list]:
    trace, determinant = trace_and_determinant(kind, a, delta)
    return [[trace, -determinant], [1, 0]]


def gradient_point(kind: str, delta) -> list:
    """Where the gradient is taken, as a combination of x_k and x_{k-1}."""
    ahead = 0 if kind == "heavy_ball" else 1 - delta
    return [1 + ahead, -ahead]


def exact_pair(kind: str, lr, eigenvalue, other, delta, covariance):
    """S = A S B^T + Q as a linear system of four unknowns: E x_i x_j, and E y_i y_j at the gradient's point."""
    first, second = companion(kind, lr * eigenvalue, delta), companion(kind, lr * other, delta)
    with mp.workdps(120):
        system = mp.matrix(4, 4)
        for row in range(4):
            for column in range(4):
                entry = first[row // 2][column // 2] * second[row % 2][column % 2]
                system[row, column] = (1 if row == column else 0) - entry
        s = mp.lu_solve(system, mp.matrix([lr**2 * covariance, 0, 0, 0]))
        u = gradient_point(kind, delta)
        return s[0], sum(u[i] * u[j] * s[2 * i + j] for i in range(2) for j in range(2))


def exact_pair_weight(kind: str, lr, eigenvalue, other, delta, covariance):
    return lr / (2 * delta) * exact_pair(kind, lr, eigenvalue, other, delta, covariance)[1]


@POINTS
@given(KINDS, powers(1e-3, 1), st.floats(1e-3, 0.99), st.floats(1e-3, 0.99), powers(1e-3, 1), st.floats(-1, 1))
def test_pair_covariance_matches_lyapunov(kind, lr, fraction, other_fraction, delta, correlation):
    limit = float(of(kind, "stability_limit")(delta))
    first, second = fraction * limit / lr, other_fraction * limit / lr
    step, kicks = np.zeros((4, 4)), np.zeros((4, 4))
    step[:2, :2], step[2:, 2:] = companion(kind, lr * first, delta), companion(kind, lr * second, delta)
    kicks[np.ix_([0, 2], [0, 2])] = lr**2 * np.array([[1.0, correlation], [correlation, 1.0]])
    moments = solve_discrete_lyapunov(step, kicks)
    arguments = (lr, first, second, delta, correlation)
    scale = np.sqrt(moments[0, 0] * moments[2, 2])  # the solver's accuracy is relative to the whole matrix
    assert float(of(kind, "pair_covariance")(*arguments)) == pytest.approx(moments[0, 2], rel=1e-7, abs=1e-9 * scale)
    u = np.array(gradient_point(kind, delta))
    at_point = lr / (2 * delta) * (u @ moments[:2, 2:] @ u)
    weight = float(of(kind, "pair_drift_weight")(*arguments))
    assert weight == pytest.approx(at_point, rel=1e-7, abs=1e-9 * scale * lr / delta)


@POINTS
@given(KINDS, powers(1e-8, 10), FRACTIONS, st.one_of(FRACTIONS, powers(1e-14, 1e-2)), DELTAS, st.booleans())
def test_pair_formulas_agree_with_50_digits(kind, lr, fraction, other, delta, near):
    """`near`: the second eigenvalue is the first times 1 - other."""
    limit = float(of(kind, "stability_limit")(delta)) / lr
    first = fraction * limit
    second = first * (1 - other) if near else other * limit
    arguments = (lr, first, second, delta, 0.7)
    covariance = of(kind, "pair_covariance")(*arguments)
    assert relative_error(covariance, lambda *x: exact_pair(kind, *x)[0], arguments) < ACCURACY
    weight = of(kind, "pair_drift_weight")(*arguments)
    assert relative_error(weight, lambda *x: exact_pair_weight(kind, *x), arguments) < ACCURACY


@POINTS
@given(powers(1e-4, 1), powers(1e-4, 1), powers(1e-8, 1))
def test_small_step_covariance_is_low_by_at_most_the_stated_bound(a, b, delta):
    small = float(formulas.stationary_operator(a, b, delta)) / delta
    exact = float(formulas.heavy_ball_pair_covariance(1.0, a, b, delta, 1.0))
    bound = max(delta, a * b / (a + b)) / (2 - delta)
    assert -1e-14 < 1 - small / exact < bound * (1 + 1e-12) + 1e-14


@POINTS
@given(powers(1e-8, 1e8), powers(1e-8, 1e8), powers(1e-8, 1e8))
def test_stationary_operator_agrees_with_50_digits(first, second, scaled):
    def exact(i, j, c):
        return 2 * c**2 / ((i - j) ** 2 + 2 * c**2 * (i + j))

    assert relative_error(formulas.stationary_operator(first, second, scaled), exact, (first, second, scaled)) < ACCURACY


@pytest.mark.parametrize("kind", ["heavy_ball", "nesterov"])
def test_label_noise_gives_the_variance_of_one_mode(kind):
    mode = (0.1, 3.0, 0.2)
    pair = float(of(kind, "pair_covariance")(0.1, 3.0, 3.0, 0.2, 0.4 * 3.0))
    assert pair == pytest.approx(float(of(kind, "stationary_variance")(*mode, 0.4)), rel=1e-14)
    weight = float(of(kind, "pair_drift_weight")(0.1, 3.0, 3.0, 0.2, 0.4 * 3.0))
    assert weight == pytest.approx(float(of(kind, "drift_weight")(*mode, 0.4)), rel=1e-14)


@pytest.mark.parametrize("kind", ["heavy_ball", "nesterov"])
def test_a_diverging_mode_has_no_covariance(kind):
    limit = np.nextafter(float(of(kind, "stability_limit")(0.3)), 4)
    for first, second in ((limit, 0.1), (0.1, limit), (limit, limit)):
        assert np.isnan(of(kind, "pair_covariance")(1.0, first, second, 0.3, 1.0))
        assert np.isnan(of(kind, "pair_drift_weight")(1.0, first, second, 0.3, 1.0))


def drift_of_turning_modes(nesterov: bool, delta: float, first: float, second: float, correlation: float):
    """-(d theta per step) / (turn (l_x - l_y)) where only the eigenvectors turn with theta, and its standard error."""
    turn, eta, replicas, burn_in, steps = 1e-3, 0.1, 4000, 300, 700
    rng = np.random.default_rng(20241124)
    beta = 1 - delta
    x, y, theta, vx, vy, vtheta = np.zeros((6, replicas))
    for step in range(burn_in + steps):
        if step == burn_in:
            start = theta.copy()
        noise_x = rng.standard_normal(replicas)
        noise_y = correlation * noise_x + np.sqrt(1 - correlation**2) * rng.standard_normal(replicas)
        ahead = beta if nesterov else 0.0
        px, py, angle = x + ahead * vx, y + ahead * vy, turn * (theta + ahead * vtheta)
        # H = R(angle) diag R(angle)^T; u, w are the coordinates along its eigenvectors
        u, w = np.cos(angle) * px + np.sin(angle) * py, np.cos(angle) * py - np.sin(angle) * px
        vx = beta * vx - eta * (first * u * np.cos(angle) - second * w * np.sin(angle) + noise_x)
        vy = beta * vy - eta * (first * u * np.sin(angle) + second * w * np.cos(angle) + noise_y)
        vtheta = beta * vtheta - eta * turn * (first - second) * u * w
        x, y, theta = x + vx, y + vy, theta + vtheta
    weights = (start - theta) / (turn * (first - second) * steps)
    return weights.mean(), weights.std(ddof=1) / np.sqrt(replicas)


@pytest.mark.parametrize(
    ("nesterov", "delta", "first", "second"),
    [(False, 0.3, 1.0, 0.5), (False, 0.15, 6.0, 5.5), (True, 0.3, 4.0, 3.0), (False, 1.0, 3.0, 1.0)],
)
def test_correlated_noise_drives_the_turning_of_eigenvectors_as_derived(nesterov, delta, first, second):
    """Both off-diagonal entries count, hence the 2. Two-sided at 4 standard errors, four cases: false alarms below 3e-4."""
    simulated, error = drift_of_turning_modes(nesterov, delta, first, second, 0.8)
    theory = formulas.nesterov_pair_drift_weight if nesterov else formulas.heavy_ball_pair_drift_weight
    expected = 2 * float(theory(0.1, first, second, delta, 0.8))
    assert error < 0.05 * expected
    assert abs(simulated - expected) < 4 * error, f"simulated {simulated:.6g} +- {error:.2g}, derived {expected:.6g}"


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.floats(0.05, 3), st.floats(0.05, 3), st.floats(0.1, 3), st.sampled_from([0.25, 0.5, 0.75]))
def test_covariance_tends_to_its_limit_on_either_side_of_one_half(first, second, constant, gamma):
    """In units of (eta / delta) Sigma, at eta = 1e-12."""
    lr = 1e-12
    delta = constant * lr**gamma
    scaled = float(formulas.heavy_ball_pair_covariance(lr, first, second, delta, 1.0)) * delta / lr
    operator = float(formulas.stationary_operator(first, second, delta / np.sqrt(lr)))
    assert scaled == pytest.approx(operator, rel=2 * delta + 1e-9)
    if gamma == 0.25:
        assert scaled == pytest.approx(1 / (first + second), rel=3 * delta + 1e-4 * (first - second) ** 2 / constant**2)
    if gamma == 0.75 and abs(first - second) > 0.01:
        assert scaled < 2 * constant**2 * lr**0.5 / (first - second) ** 2 * (1 + 1e-6)
