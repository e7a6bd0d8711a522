"""The critical exponent against the timescales themselves, evaluated at a very small learning rate."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from test_formulas import POINTS

from derivations.crossing import EXPLICIT_FORCE, LABEL_NOISE, PARAMETER_NOISE, crossing, scaled_label_noise
from derivations.symbols import lr, one_minus_beta
from sde_momentum.theory import formulas

GAMMAS = np.arange(0, 1.5, 0.002)


def fastest(powers: list[tuple[float, float]]) -> tuple[float, float]:
    """The gamma of the shortest training and its power of lr, for forces k = lr^p delta^-m, at lr = 1e-60."""
    rate = 1e-60
    delta = rate**GAMMAS
    transverse = formulas.heavy_ball_relaxation_time(rate, 1.0, delta)
    longitudinal = np.min([delta / (rate**p * delta**-m) for p, m in powers], axis=0)
    slower = np.maximum(transverse, longitudinal)
    best = np.argmin(slower)
    return GAMMAS[best], np.log(slower[best]) / np.log(rate)


@POINTS
@given(st.lists(st.tuples(st.integers(2, 11), st.integers(0, 2)), min_size=1, max_size=2))
def test_crossing_is_where_the_slower_timescale_is_shortest(drawn):
    """Powers p in quarters: below 1/2, at 1/2 and above; the factors of order 1 shift gamma by 1 / 60 at most."""
    forces = [(quarters / 4, m) for quarters, m in drawn]
    found = crossing(*(lr ** sp.Rational(quarters, 4) * one_minus_beta**-m for quarters, m in drawn))
    gamma, power = fastest(forces)
    assert float(found.gamma) == pytest.approx(gamma, abs=0.02)
    assert float(found.time_power) == pytest.approx(power, abs=0.02)


@POINTS
@given(st.floats(-1.4, 0.99))
def test_exponent_for_noise_whose_strength_scales(power):
    gamma, _ = fastest([(2 + power, 1)])
    assert float(formulas.critical_exponent(power)) == pytest.approx(gamma, abs=0.02)


@pytest.mark.parametrize("power", [-1, -0.5, -0.25, 0, 0.5])
def test_the_exponent_evaluated_is_the_solver_s(power):
    exact = crossing(scaled_label_noise(sp.Rational(power))).gamma
    assert float(formulas.critical_exponent(power)) == pytest.approx(float(exact), rel=1e-15)


def test_timescales_of_an_explicit_force_scale_alike_up_to_one_half():
    assert crossing(EXPLICIT_FORCE).equal == (sp.Interval(0, sp.Rational(1, 2)), sp.FiniteSet(sp.Rational(1, 2)))


def test_the_published_exponents_come_out():
    """2/3 of arXiv 2210.16400 for label noise; 1/2 for forces that do not need the noise's momentum."""
    assert crossing(LABEL_NOISE).gamma == sp.Rational(2, 3)
    assert crossing(EXPLICIT_FORCE).gamma == crossing(PARAMETER_NOISE).gamma == sp.Rational(1, 2)


@pytest.mark.parametrize("forces", [(), (lr * one_minus_beta**2,)], ids=["none", "rises with gamma"])
def test_a_force_that_momentum_does_not_help_is_refused(forces):
    with pytest.raises(ValueError, match=r"tau_par must fall with gamma.*given \("):
        crossing(*forces)
