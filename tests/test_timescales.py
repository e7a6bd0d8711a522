"""`timescales`: regimes, units, broadcasting, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from sde_momentum.core.errors import InputError
from sde_momentum.theory.relaxation import timescales


def measured_time(lr, beta, eigenvalue, nesterov):
    """Steps per factor e of the amplitude |(x_k, x_{k-1})|, from a noise-free run of the update itself."""
    x, v, steps = 1.0, 0.0, 4000
    logs = 0.0
    for _ in range(steps):
        v = beta * v - lr * eigenvalue * (x + beta * v if nesterov else x)
        x += v
        size = np.hypot(x, v)
        logs += np.log(size)
        x, v = x / size, v / size
    return -steps / logs


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("eigenvalue", [0.01, 1.0, 5.0, 9.0, 12.0])
def test_transverse_time_is_the_decay_of_the_update_itself(nesterov, eigenvalue):
    result = timescales(0.1, 0.5, eigenvalue=eigenvalue, nesterov=nesterov)
    # the transient of a few steps is spread over 4000
    assert float(result.transverse) == pytest.approx(measured_time(0.1, 0.5, eigenvalue, nesterov), rel=0.01)


def test_regimes_of_heavy_ball_follow_the_underdamped_window():
    beta = 0.81  # window from 0.01 to 3.61, stable below 3.62
    result = timescales(1.0, beta, eigenvalue=[0.0099, 0.0101, 3.609, 3.615, 3.62001, 10.0])
    assert result.regime.tolist() == [
        "overdamped",
        "underdamped",
        "underdamped",
        "overdamped",
        "unstable",
        "unstable",
    ]


def test_regimes_of_nesterov_follow_its_own_window():
    # delta = 0.5: window from (0.5 / 1.5)^2 = 1/9 to 1, stable below 2 * 1.5 / 2 = 1.5
    result = timescales(1.0, 0.5, eigenvalue=[0.11, 0.112, 0.99, 1.01, 1.49, 1.51], nesterov=True)
    assert result.regime.tolist() == ["overdamped"] + ["underdamped"] * 2 + ["overdamped"] * 2 + ["unstable"]


def test_without_momentum_both_updates_are_gradient_descent():
    for nesterov in (False, True):
        # 1/8 and 8 multiply to 1 exactly; 0.1 * 10 is off by 5e-17, which takes 0.03 steps to decay
        result = timescales(0.125, 0.0, eigenvalue=[1.6, 8.0, 12.0, 16.0], noise=0.16, nesterov=nesterov)
        assert result.regime.tolist() == ["overdamped"] * 3 + ["unstable"]
        np.testing.assert_allclose(result.transverse, [-1 / np.log(0.8), 0, -1 / np.log(0.5), np.inf])
        np.testing.assert_allclose(result.stationary_variance, [0.02 / 1.8, 0.02, 0.04, np.inf])


def test_unstable_modes_have_infinite_times_and_variance():
    result = timescales(1.0, 0.5, eigenvalue=[1.0, 4.0], noise=1.0, curvature=1.0)
    assert np.isinf(result.transverse).tolist() == [False, True]
    assert np.isinf(result.stationary_variance).tolist() == [False, True]
    assert np.isinf(result.longitudinal).tolist() == [False, True]


def test_longitudinal_time_is_that_of_section_3():
    result = timescales(1e-3, one_minus_beta=1e-2, eigenvalue=1.0, noise=1e-2, curvature=4.0)
    assert float(result.longitudinal) == pytest.approx(4 * 1e-4 / (1e-6 * 1e-2 * 4))


@pytest.mark.parametrize("zero", ["noise", "curvature"])
def test_without_a_force_nothing_moves_along_gamma(zero):
    given = {"noise": 1.0, "curvature": 1.0, zero: 0.0}
    assert timescales(0.1, 0.9, eigenvalue=1.0, **given).longitudinal == np.inf


def test_quantities_whose_inputs_are_missing_are_none():
    assert timescales(0.1, 0.9, eigenvalue=1.0).stationary_variance is None
    assert timescales(0.1, 0.9, eigenvalue=1.0, noise=1.0).longitudinal is None
    assert timescales(0.1, 0.9, eigenvalue=1.0, curvature=1.0).longitudinal is None


def test_one_minus_beta_keeps_the_digits_that_momentum_loses():
    delta = 1.2345678901e-8
    result = timescales(1.0, one_minus_beta=delta, eigenvalue=1.0)
    assert float(result.transverse) == pytest.approx(2 / delta, rel=1e-7)
    assert float(result.transverse * delta) == pytest.approx(2 - delta, abs=1e-14)


def test_momentum_and_one_minus_beta_say_the_same():
    by_momentum = timescales(0.1, [0.5, 0.75], eigenvalue=1.0, noise=1.0)
    by_complement = timescales(0.1, one_minus_beta=[0.5, 0.25], eigenvalue=1.0, noise=1.0)
    np.testing.assert_array_equal(by_momentum.transverse, by_complement.transverse)
    np.testing.assert_array_equal(by_momentum.stationary_variance, by_complement.stationary_variance)


def test_all_results_have_the_broadcast_shape():
    result = timescales([[0.1], [0.2]], 0.9, eigenvalue=[1.0, 2.0, 3.0], noise=1.0, curvature=1.0)
    for values in (result.lr, result.one_minus_beta, result.eigenvalue, result.regime, result.transverse):
        assert values.shape == (2, 3)
    assert result.longitudinal.shape == result.stationary_variance.shape == (2, 3)
    assert timescales(0.1, 0.9, eigenvalue=1.0).transverse.shape == ()


def test_printing_counts_the_regimes_and_gives_units():
    text = str(timescales(0.1, 0.9, eigenvalue=[1.0, 2.0, 50.0], noise=1e-4, curvature=2.0))
    assert text.splitlines()[0] == "Timescales (heavy ball; 2 underdamped, 1 unstable)"
    assert "across Gamma: 19 to inf steps" in text
    assert "along Gamma:  2e+04 to inf steps" in text
    assert "variance" not in str(timescales(0.1, 0.9, eigenvalue=1.0))
    assert str(timescales(0.1, 0.9, eigenvalue=[])).splitlines()[1] == "  across Gamma: no steps"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": 0.0, "momentum": 0.9}, "lr: given 0.0; allowed: finite numbers > 0"),
        ({"lr": 0.1, "momentum": 1.0}, r"momentum: given 1.0; allowed: numbers in \[0, 1\)"),
        ({"lr": 0.1, "one_minus_beta": 0.0}, r"one_minus_beta: given 0.0; allowed: numbers in \(0, 1\]"),
        ({"lr": 0.1}, "momentum: given neither momentum nor one_minus_beta; allowed: exactly one"),
        ({"lr": 0.1, "momentum": 0.9, "one_minus_beta": 0.1}, "momentum: given momentum and one_minus_beta"),
        ({"lr": 0.1, "momentum": 0.9, "eigenvalue": [1.0, 0.0]}, "eigenvalue: given 0.0; .* normal to Gamma"),
        ({"lr": 0.1, "momentum": 0.9, "noise": -1.0}, "noise: given -1.0; allowed: finite numbers >= 0"),
        ({"lr": 0.1, "momentum": 0.9, "curvature": np.nan}, "curvature: given nan; allowed"),
        ({"lr": [0.1, 0.2], "momentum": [0.9] * 3}, r"shapes: given lr \(2,\), one_minus_beta \(3,\)"),
    ],
)
def test_bad_input_is_refused_with_argument_given_and_allowed(given, message):
    with pytest.raises(InputError, match=message):
        timescales(**{"eigenvalue": 1.0, **given})
