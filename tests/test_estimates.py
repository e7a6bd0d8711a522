"""Power laws through measured points: exact ones, their intervals, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from validation.estimates import both_exponents, fitted_laws, lowest

LR = np.geomspace(1e-3, 0.1, 5)


def test_exact_laws_are_found_with_their_corrections():
    plain, corrected = fitted_laws(LR, 0.04 * LR ** (2 / 3) * np.exp(0.3 * np.cbrt(LR)), np.full(5, 0.01))
    assert corrected.exponent.value == pytest.approx(2 / 3)
    assert corrected.prefactor.value == pytest.approx(0.04)
    assert corrected.corrections[0].value == pytest.approx(0.3)
    assert corrected.chi2 < 1e-12 < plain.chi2
    assert (plain.freedom, corrected.freedom) == (3, 2)


def test_intervals_hold_the_exponent_in_95_percent_and_chi_squared_has_its_mean():
    """400 laws with errors of a percent; two-sided at 4 standard errors of the share and of the mean, a false alarm in 16,000."""
    noise = np.random.default_rng(0).normal(0, 0.01, (400, 5))
    laws = [fitted_laws(LR, LR**0.7 * np.exp(each), np.full(5, 0.01)) for each in noise]
    for i, freedom in enumerate((3, 2)):
        held = [law[i].exponent.low <= 0.7 <= law[i].exponent.high for law in laws]
        assert abs(np.mean(held) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 400)
        assert abs(np.mean([law[i].chi2 for law in laws]) - freedom) < 4 * np.sqrt(2 * freedom / 400)


def test_the_curve_s_band_holds_the_law_s_interval():
    law, _ = fitted_laws(LR, LR**0.7, np.full(5, 0.01))
    value, low, high = law.curve([1.0])
    assert value == pytest.approx(law.prefactor.value)
    assert (low[0], high[0]) == pytest.approx((law.prefactor.low, law.prefactor.high), rel=0.01)


def test_the_plain_exponent_is_said_first_and_with_its_chi_squared():
    text = both_exponents(fitted_laws(LR, LR**0.5, np.full(5, 0.02)))
    plain, corrected = text.split("; ")
    assert plain.startswith("γ = 0.500 (0.4")
    assert plain.endswith("χ² = 0.0 for 3, p = 1) as a plain power law")
    assert corrected.endswith("with 1 correction in lr^(1/3)")
    assert both_exponents(fitted_laws(LR[:2], LR[:2], np.ones(2))).endswith("; too few points for a fit with corrections")


def test_the_lowest_point_of_a_parabola_is_found_with_its_error():
    """Exact without noise; with it, 4 standard errors of the mean pull of 200 and of their spread."""
    x, error = np.linspace(-1, 1, 9), np.full(9, 0.01)
    assert lowest(x, 2 * (x - 0.2) ** 2, error)[0] == pytest.approx(np.exp(0.2))
    assert np.isnan(lowest(x, -(x**2), error)[0])
    noise = np.random.default_rng(1).normal(0, 0.01, (200, 9))
    pulls = [(value - np.exp(0.2)) / se for value, se in (lowest(x, 2 * (x - 0.2) ** 2 + each, error) for each in noise)]
    assert abs(np.mean(pulls)) < 4 / np.sqrt(200)
    assert abs(np.std(pulls) - 1) < 4 / np.sqrt(400)
