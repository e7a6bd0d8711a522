"""Mini-batches without label noise: the second-moment recursion, exact and by simulation, the rule, the drift's whole way.

Statistical tests have fixed seeds and are two-sided at 4 standard errors: false alarms below 7e-5 for each number.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.linalg import hadamard

import sde_momentum as sm
from sde_momentum.core.errors import InputError
from sde_momentum.predictors import loss_multiplier, second_moment_matrix
from validation.neighbours import interpolation as experiment


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_the_multiplier_is_that_of_the_exact_second_moments_over_all_batches(size, momentum):
    """P = 4: the mean over every batch of the Kronecker square of the update of (w_k, w_{k-1})."""
    lr, values = 0.5, np.array([1.0, 0.5, 0.3, 0.1])
    jacobian = hadamard(4) / 2 * np.sqrt(4 * values)
    one, square, batches = np.eye(4), np.zeros((64, 64)), list(combinations(range(4), size))
    for rows in map(list, batches):
        hessian = jacobian[rows].T @ jacobian[rows] / size
        step = np.block([[(1 + momentum) * one - lr * hessian, -momentum * one], [one, 0 * one]])
        square += np.kron(step, step) / len(batches)
    exact = np.abs(np.linalg.eigvals(square)).max()
    assert loss_multiplier(values, lr, momentum, 4, size) == pytest.approx(exact, rel=1e-9)


def test_the_mean_loss_follows_the_recursion():
    values = np.array([2.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.1, 0.1])
    start = np.linspace(1.0, 2.0, 8)
    given = {"lr": 0.08, "momentum": 0.7, "batch_size": 2}
    loss, theta = experiment.batch_descent(values, start, 60, **given, n_runs=2000, seed=3)
    expected = experiment.expected_loss(values, start, 60, **given)
    for step in (0, 1, 2, 10, 60):
        error = loss[step].std(ddof=1) / np.sqrt(2000)
        assert error < 0.05 * expected[step]
        assert abs(loss[step].mean() - expected[step]) <= 4 * error + 1e-12
    assert not theta.any()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_mean_loss_neither_falls_nor_grows_where_e_is_one(momentum):
    values = np.geomspace(0.25, 2.0, 32)
    lr = experiment._lr_at(1.0, momentum)
    assert loss_multiplier(values, lr, momentum, 32, 1) == pytest.approx(1.0, abs=1e-9)
    trace = values.sum() / (2 * (1 - momentum))  # e = phi eta tr H / (2 delta) at small eta, phi = 1 here
    assert experiment.stability_share(values, 1e-6, momentum, 32, 1) == pytest.approx(1e-6 * trace, rel=1e-4)


@pytest.mark.parametrize("size", [1, 4, 16, 32])
def test_the_rule_costs_little_time_at_any_batch_size_and_learning_rate(size):
    """Against the best of a grid: soft modes of a quarter, a fiftieth and a thousandth of tr H."""
    for values in ([1.0] * 12 + [0.25] * 16, [1.0] * 16 + [0.02] * 16, [1.0] * 30 + [0.02] * 2):
        rule = sm.MomentumRule.for_interpolation(values, 32, size)
        for lr in (1e-3, 0.01, 0.05):
            delta = min(1.0, float(rule.one_minus_beta(lr)))
            grid = np.minimum(1.0, delta * np.geomspace(0.4, 2.5, 21))
            rates = [-np.log(loss_multiplier(values, lr, 1 - each, 32, size)) for each in grid]
            assert max(rates) < 1.16 * -np.log(loss_multiplier(values, lr, 1 - delta, 32, size)) or max(rates) < 0


def test_the_rule_s_limits_and_inverse():
    full = sm.MomentumRule.for_interpolation([0.04, 1.0], 100, 100)
    assert full.one_minus_beta(0.25) == pytest.approx(2 * 0.1 - 0.01, rel=1e-12)
    equal = sm.MomentumRule.for_interpolation([1.0] * 50, 50, 1)
    assert equal.one_minus_beta(0.01) == pytest.approx(np.hypot(0.01 * 50, 0.2 - 0.01), rel=1e-12)
    for rule in (full, equal, sm.MomentumRule.for_interpolation([0.04, 1.0], 100, 7)):
        for lr in (1e-8, 1e-3, 0.1):
            delta = rule.one_minus_beta(lr)
            if delta < 1:
                assert rule.lr(1 - delta) == pytest.approx(lr, rel=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_the_drift_goes_the_gradient_flow_s_way_over_one_minus_e(momentum):
    way, error, derived = experiment._end(0.5, momentum, 400, 5)
    assert error < 0.03 * derived
    assert abs(way - derived) < 4 * error + 1e-3  # second order in the way
    if momentum == 0:
        assert derived == pytest.approx(2.0, rel=0.01)


def test_beyond_the_stability_limit_the_drift_ends_below_it():
    end, error, below, mean_field = experiment._beyond(1.1, 64, 6)
    assert below == 1.0
    assert end < 1
    assert abs(end - mean_field) < 0.02
    assert error < 0.01


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"eigenvalues": [0.0, 1.0]}, "eigenvalues: given 0"),
        ({"eigenvalues": [[1.0]]}, "eigenvalues: given shape (1, 1)"),
        ({"n_outputs": 1}, "n_outputs: given 1"),
        ({"batch_size": 9}, "batch_size: given 9; allowed: a whole number from 1 to n_outputs = 8"),
        ({"batch_size": 0}, "batch_size: given 0"),
    ],
)
@pytest.mark.parametrize("call", [sm.MomentumRule.for_interpolation, second_moment_matrix, loss_multiplier])
def test_bad_input_is_refused(call, changed, message):
    given = {"eigenvalues": [1.0, 2.0], "n_outputs": 8, "batch_size": 2}
    if call in (second_moment_matrix, loss_multiplier):
        given |= {"lr": 0.1, "momentum": 0.9}
    with pytest.raises(InputError) as error:
        call(**(given | changed))
    assert message in str(error.value)
