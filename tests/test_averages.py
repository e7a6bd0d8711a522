"""Averages of gradients: the simulator against torch and the library's update, mu_A, the rule for Adam, and the drift.

Statistical tests have fixed seeds and are two-sided at 4 standard errors: false alarms below 7e-5 for each number.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

import sde_momentum as sm
from sde_momentum.core.errors import InputError
from sde_momentum.predictors import adam_curvature
from sde_momentum.theory import formulas
from validation.neighbours import averaged_gradients as experiment
from validation.neighbours.adam_effective_loss import adam_effective_course
from validation.neighbours.averaged_descent import averaged_descent
from validation.neighbours.averaged_edge import edges, linear_time
from validation.neighbours.drift_rate import decay_rate

VALLEY = sm.Valley([1.0, 2.0], [0.1, -0.1], curvature=0.5)
START = np.array([0.7, 0.3, -0.2])


# --- The simulator ------------------------------------------------------------------------------------
def test_dampened_momentum_is_the_library_s_update_at_lr_delta():
    times = [0, 1, 17, 60]
    ours = averaged_descent(VALLEY, START, times, lr=0.5, beta1=0.8, n_runs=2, seed=0, label_noise=0.0)
    theirs = sm.solve(sm.LabelNoiseSGD(VALLEY, 0.0), START, times, lr=0.1, momentum=0.8, seeds=[0], progress=False)
    np.testing.assert_allclose(np.square(ours[:, 0, 0]), theirs.test_error.values[0, 0, 0], rtol=1e-12)
    np.testing.assert_array_equal(ours[:, 0], ours[:, 1])


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_it_is_torch_s_adamw_in_turned_coordinates(decay):
    torch = pytest.importorskip("torch")
    basis = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    ours = averaged_descent(
        VALLEY, START, [30], lr=0.02, beta1=0.8, beta2=0.95, epsilon=1e-3, weight_decay=decay, basis=basis, n_runs=1, seed=0,
        label_noise=0.0,
    )  # fmt: skip
    w = torch.tensor(basis.T @ START, requires_grad=True)
    optimizer = torch.optim.AdamW([w], lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=decay)
    for _ in range(30):
        point = basis @ w.detach().numpy()
        w.grad = torch.tensor(basis.T @ (VALLEY.residual(point) @ VALLEY.jacobian(point)) / 2)
        optimizer.step()
    np.testing.assert_allclose(ours[0, 0], basis @ w.detach().numpy(), rtol=1e-10)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"beta1": 1.0}, "beta1: given 1.0"),
        ({"beta2": -0.1}, "beta2: given -0.1"),
        ({"lr": 0.0}, "lr: given 0.0"),
        ({"n_runs": 0}, "n_runs: given 0"),
        ({"label_noise": -1.0}, "label_noise: given -1.0"),
        ({"weight_decay": -1.0}, "weight_decay: given -1.0"),
        ({"epsilon": 1e-8, "beta2": None}, "epsilon, basis: given"),
        ({"basis": np.eye(2)}, "basis: given shape (2, 2)"),
        ({"start": [0.0]}, "start: given shape (1,)"),
    ],
)
def test_the_simulator_refuses_bad_input(changed, message):
    given = {"start": START, "times": [1], "lr": 0.1, "beta1": 0.5, "beta2": 0.9, "n_runs": 1, "seed": 0, "label_noise": 0.1}
    with pytest.raises(InputError) as error:
        averaged_descent(VALLEY, **(given | changed))
    assert message in str(error.value)


# --- Dampened momentum: exact -------------------------------------------------------------------------
@pytest.mark.parametrize("delta", [1.0, 0.1, 1e-3])
def test_the_stationary_variance_of_an_averaged_mode_matches_lyapunov(delta):
    """m <- beta m + delta (lambda x - n), x <- x - eta m, n of variance c lambda."""
    lr, value, c = 0.3, 0.7, 0.02
    step = np.array([[1 - lr * delta * value, -lr * (1 - delta)], [delta * value, 1 - delta]])
    kick = np.array([lr * delta, -delta])
    exact = solve_discrete_lyapunov(step, np.outer(kick, kick) * c * value)[0, 0]
    assert formulas.heavy_ball_stationary_variance(lr * delta, value, delta, c) == pytest.approx(exact, rel=1e-9)
    assert exact == pytest.approx(lr * c / 2, rel=0.12)  # nearly whatever the momentum


def test_an_average_that_starts_at_the_first_gradient_has_too_much_energy():
    """As in torch: E x^2 over a few periods is 1 / delta of the stationary one, that of an average from 0 next to none."""
    lr, value, c, delta = 0.1, 1.0, 0.02, 1e-4
    step = np.array([[1 - lr * delta * value, -lr * (1 - delta)], [delta * value, 1 - delta]])
    kick = np.array([lr * delta, -delta])
    for weight, expected in ((1.0, 1 / delta), (delta, 0.0)):
        first = np.array([-lr * weight, weight])
        moments, mean = np.outer(first, first) * c * value, 0.0
        for _ in range(1987):  # a period, 2 pi / sqrt(eta delta lambda)
            mean += moments[0, 0] / 1987
            moments = step @ moments @ step.T + np.outer(kick, kick) * c * value
        assert mean / (lr * c / 2) == pytest.approx(expected, rel=0.12, abs=0.12)


def test_the_drift_does_not_depend_on_momentum():
    weights = [float(formulas.heavy_ball_drift_weight(0.01 * delta, 1.0, delta, 0.02)) for delta in (1.0, 0.1, 1e-3)]
    np.testing.assert_allclose(weights, 0.01**2 * 0.02 / 4, rtol=0.006)


# --- Adam ---------------------------------------------------------------------------------------------
def test_adam_s_curvature_is_that_of_the_valley_and_of_a_product():
    assert experiment.turned_curvature() == pytest.approx(experiment.valley()[2], rel=1e-5)
    product = sm.Problem.from_function(lambda w: w[:1] * w[1:], [1.0], 2)
    assert adam_curvature(sm.ManifoldPoint(product, np.ones(2)), np.array([1.0, -1.0])) == pytest.approx(2.0, rel=1e-6)


def test_adam_s_curvature_refuses_points_where_it_does_not_exist():
    valley = experiment.valley()[0]
    with pytest.raises(InputError, match=r"point: given element 0 with H_ii = 0; allowed: a point where every H_ii > 0"):
        adam_curvature(sm.ManifoldPoint(valley, valley.start(0.0)), np.eye(17)[0])
    product = sm.Problem.from_function(lambda w: w[:1] * w[1:], [1.0], 2)
    with pytest.raises(InputError, match="allowed: a point where sum_i sqrt"):
        adam_curvature(sm.ManifoldPoint(product, np.array([2.0, 0.5])), np.array([1.0, -0.25]))
    with pytest.raises(InputError, match="displacement: given no part along Gamma"):
        adam_curvature(sm.ManifoldPoint(product, np.ones(2)), np.ones(2))


@pytest.mark.parametrize("decay", [0.0, 0.05, 3.0])
def test_the_bound_of_beta1_gives_the_fastest_decay(decay):
    """The slowest rate of theta' = -h theta - p, p' = -delta (p - k0 theta) is largest there."""
    lr, curvature = 0.01, 4.0
    k0, h = lr**2 * curvature / 4, lr * decay
    best = sm.MomentumRule.for_adam(curvature, decay).one_minus_beta(lr)

    def slowest(delta):
        return -np.linalg.eigvals([[-h, -1], [delta * k0, -delta]]).real.max()

    assert slowest(best) > max(slowest(0.9 * best), slowest(1.1 * best))
    assert slowest(best) == pytest.approx((best + h) / 2, rel=1e-6)


def test_the_bound_inverts_and_is_clamped_to_no_momentum():
    lr = np.array([1e-3, 0.01, 0.3])
    for rule in (sm.MomentumRule.for_adam(3.0), sm.MomentumRule.for_adam(3.0, 0.02)):
        np.testing.assert_allclose(rule.lr(rule.momentum(lr)), lr, rtol=1e-9)
    assert sm.MomentumRule.for_adam(3.0).momentum(1.0) == 0
    assert "clamped to momentum 0" in sm.MomentumRule.for_adam(3.0).explain(1.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((-1.0,), "curvature: given -1.0"),
        ((1.0, -1.0), "decay: given -1.0"),
        ((0.0, 0.0), "curvature and decay: given both 0"),
        (([1.0, 2.0], [1.0, 2.0, 3.0]), "shapes: given curvature (2,), decay (3,)"),
        (("x",), "curvature: given x"),
    ],
)
def test_the_rule_for_adam_refuses_bad_input(given, message):
    with pytest.raises(InputError) as error:
        sm.MomentumRule.for_adam(*given)
    assert message in str(error.value)


def test_adam_drifts_at_the_derived_rate_whatever_the_noise():
    """eta^2 mu_A / 4 over 1 + a / 2, a = eta / sqrt(c): what Adam takes for noise includes the signal, 128 runs."""
    problem, basis, curvature = experiment.valley()
    for c, seed in ((0.5, 1), (8.0, 2)):
        lr, times = 0.1, [60, 600]
        runs = averaged_descent(
            problem, problem.start(0.4), times, lr=lr, beta1=0.5, beta2=0.999, n_runs=128, seed=seed,
            label_noise=np.sqrt(16 * c), basis=basis,
        )[..., 0]  # fmt: skip
        rate = decay_rate(runs[0], runs[1], 540)
        expected = lr**2 * curvature / 4 / (1 + lr / np.sqrt(c) / 2)
        assert rate.standard_error < 0.03 * expected
        assert abs(rate.value - expected) < 4 * rate.standard_error


def test_adam_without_noise_on_the_effective_loss_follows_the_linear_drift():
    """At small eta and no momentum theta decays by eta^2 mu_A / 4 a step, by twice that before 1 / delta steps."""
    problem, basis, curvature = experiment.valley()
    turned = sm.Problem.from_function(lambda w: problem.outputs(w @ basis.T), np.zeros(16), 17, batched=True)
    lr = 0.01
    course = adam_effective_course(turned, 0.01 * basis[0], lr, [0.5, 1e-6], 0.999, 4.0, [0, 900, 2000])
    theta = course @ basis[0]
    rates = np.log(theta[1] / theta[2]) / 1100 / (lr**2 * curvature / 4)
    assert rates[0] == pytest.approx(1.0, abs=0.02)
    assert rates[1] == pytest.approx(2.0, abs=0.1)


# --- The experiment's own parts -----------------------------------------------------------------------
def test_the_linear_drift_gains_nothing_above_the_bound_and_loses_below():
    assert linear_time(50.0, adam=False) == pytest.approx(1.0, abs=0.01)
    assert linear_time(0.2, adam=False) > 2
    assert linear_time(0.7, adam=True) < 0.5
    assert linear_time(0.1, adam=True) > 2


def test_an_edge_is_interpolated_in_the_logarithm():
    delta, times = np.array([9.0, 4.0, 1.0, 0.25]), np.array([[1.0], [1.0], [1.1], [1.5]])
    np.testing.assert_allclose(edges(delta, times, 1.3), [0.5])
    assert np.isnan(edges(delta, times, 2.0)[0])
