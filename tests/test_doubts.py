"""Doubtful answers say so: lost paths, unstable steps, the error of the step, rare events, arguments in the wrong order."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

import sde_momentum as sm
from sde_momentum import sde


def linear(x, t, p):
    return p[0] * x


def volatility(x, t, p):
    return p[1] * x


GEOMETRIC = sm.SDE(linear, volatility)


def test_lost_paths_are_told():
    equation = sm.SDE(lambda x, t, p: 0.0, lambda x, t, p: 1.0, domain=(-1.0, 1.0))
    with pytest.warns(UserWarning, match=r"\d+ of 500 paths were lost .* of those that are left") as found:
        result = sm.solve(equation, 0.0, [1.0], step=0.25, n_paths=500)
    assert result.attrs["warnings"] == str(found[0].message)


@pytest.mark.parametrize(("rate", "told"), [(-30.0, True), (-19.0, False), (30.0, False)])
def test_steps_that_the_drift_makes_unstable_are_told(rate, told):
    """x' = rate x, steps of 0.1: Euler's factor is 1 + 0.1 rate. What grows by itself is not the step's fault."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        sm.solve(GEOMETRIC, 1.0, [0.5], step=0.1, n_paths=10, parameters=(rate, 0.1))
    assert [str(w.message) for w in found] == [
        "steps of 0.1 are unstable at x = 1: with euler-maruyama a part grows there that decays; stable are steps below 0.067"
    ] * told


def test_the_bound_of_stability_is_that_of_each_method():
    slow, spring = np.array([[-1.0]]), np.array([[0.0, 1.0], [-1.0, -0.1]])
    for method, jacobian, bound in (("euler-maruyama", slow, 2.0), ("heun", slow, 2.0), ("euler-maruyama", spring, 0.1)):
        assert not sde.METHODS[method].unstable(GEOMETRIC, jacobian, 0.99 * bound)
        assert sde.METHODS[method].unstable(GEOMETRIC, jacobian, 1.01 * bound)
    heavy = sde.Langevin(lambda q, t, p: q, mass=4.0, n_coordinates=2)
    for method in ("obabo", "baoab"):  # 2 / sqrt(k / m)
        assert not sde.METHODS[method].unstable(heavy, -16.0 * np.eye(2), 0.99)
        assert sde.METHODS[method].unstable(heavy, -16.0 * np.eye(2), 1.01)


def test_the_error_of_the_step_is_estimated_beside_that_of_chance():
    """Euler's mean of geometric Brownian motion is (1 + h)^n. The estimate is right to first order in h: 10 %."""
    ask = dict(step=0.05, n_paths=8192, parameters=(1.0, 0.2), check_step=True)
    result = sm.solve(GEOMETRIC, 1.0, [0.5, 1.0], statistics=[sde.Functional("twice", lambda x, t, p: 2.0 * x)], **ask)
    bias = 1.05 ** np.array([10, 20]) - np.exp([0.5, 1.0])
    np.testing.assert_allclose(result["step_bias"], bias, rtol=0.1)
    np.testing.assert_allclose(result["twice_step_bias"], 2.0 * result["step_bias"], rtol=1e-9)
    assert np.all(result["step_bias_se"] < 0.5 * result["mean_se"])


def test_the_error_of_the_step_of_dri1_is_estimated():
    """The mean is that of the Taylor polynomial of degree 3, of one order more: so the estimate is 7/6 of the bias."""
    how = dict(step=sde.Fixed(0.25, "dri1"), n_paths=8192, parameters=(-1.5, 0.2), check_step=True)
    result = sm.solve(GEOMETRIC, 1.0, [1.0], **how)
    z = -1.5 * 0.25
    bias = (1 + z + z**2 / 2 + z**3 / 6) ** 4 - math.exp(-1.5)
    found, error = float(result["step_bias"][0]), float(result["step_bias_se"][0])
    assert error < 0.3 * abs(bias)
    assert abs(found - 7 / 6 * bias) < 4 * error + 0.1 * abs(bias)  # false alarms: 6e-5


def test_the_error_of_the_step_is_refused_where_paths_are_not_coupled():
    weak = dict(step=sde.Fixed(0.25, "weak-euler"), n_paths=10, parameters=(1.0, 0.2), check_step=True)
    with pytest.raises(
        sm.InputError, match="check_step: given True with weak-euler; allowed: False, or one of the methods euler"
    ):
        sm.solve(GEOMETRIC, 1.0, [0.5], **weak)
    with pytest.raises(sm.InputError, match="check_step: given True; allowed: False, or Fixed steps"):
        sm.solve(GEOMETRIC, 1.0, [0.5], **weak | {"step": sde.Adaptive(0.25)})


def test_an_ensemble_may_stop_long_before_4096_paths():
    result = sm.solve(GEOMETRIC, 1.0, [1.0], step=1 / 8192, n_paths=sde.UntilError(relative=0.05), parameters=(0.05, 0.2))
    assert result.attrs["reached"]
    assert result.attrs["n_paths"] <= 256


STRIKE = sde.Functional("payoff", lambda x, t, p: max(x - p[2], 0.0))


def test_a_rare_payoff_is_searched_for():
    """A call of which one path in 900 pays (Black, Scholes 1973, before discounting); 1024 paths would show one or none."""
    strike = 1.9
    d = (math.log(1 / strike) + 0.07) / 0.2
    exact = math.exp(0.05) * stats.norm.cdf(d) - strike * stats.norm.cdf(d - 0.2)
    p, until = (0.05, 0.2, strike), sde.UntilError(absolute=0.02)
    result = sm.solve(GEOMETRIC, 1.0, [1.0], step=sde.Multilevel(0.25), n_paths=until, parameters=p, statistics=[STRIKE])
    assert result["n_paths"][0] >= 16384
    assert result["mean"] > 0
    assert abs(result["mean"] - exact) < 5 * result["rms_error"]


def test_a_multilevel_estimate_keeps_to_its_cost():
    p, until = (0.05, 0.2, 1.0), sde.UntilError(absolute=1e-5)
    step = sde.Multilevel(0.25, max_cost=1e6)
    result = sm.solve(GEOMETRIC, 1.0, [1.0], step=step, n_paths=until, parameters=p, statistics=[STRIKE])
    assert not result["reached"]
    assert result.attrs["path_steps"] <= 1e6


def test_a_payoff_that_no_path_meets_is_told():
    p, until = (0.05, 0.2, 9.0), sde.UntilError(absolute=0.02)
    with pytest.warns(UserWarning, match="the functional is 0 on all of the"):
        sm.solve(GEOMETRIC, 1.0, [1.0], step=sde.Multilevel(0.25), n_paths=until, parameters=p, statistics=[STRIKE])


@pytest.mark.parametrize("wrong", [lambda t, x, p: -x, lambda x, p, t: -x, lambda time, state: 1.0])
def test_arguments_in_another_order_are_recognised_by_their_names(wrong):
    message = r"given f\(.*\); allowed: a function f\(x, t, p\): of state, time and parameters, in this order"
    for make in (
        lambda: sm.SDE(wrong, volatility),
        lambda: sde.Langevin(wrong),
        lambda: sde.Functional("energy", wrong),
        lambda: sde.PassageTimes(wrong),
    ):
        with pytest.raises(sm.InputError, match=message):
            make()
