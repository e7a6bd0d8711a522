"""The prefactor at finite learning rate: against the update's multipliers, potentials, moments, and 50 digits."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from test_formulas import ACCURACY, DELTAS, POINTS, powers, relative_error, trace_and_determinant

from sde_momentum.theory import formulas

GEOMETRY = (
    powers(1e-8, 10),
    st.one_of(st.just(0.0), powers(1e-12, 1)),
    st.one_of(st.just(0.0), powers(1e-6, 1e4)),
    st.one_of(st.just(0.0), powers(1e-8, 1)),
)


def stiffness(lr, delta, noise, curvature, explicit):
    return lr * explicit + lr**2 * noise * curvature / (4 * delta)


def exact_critical(lr, noise, curvature, explicit):
    """By bisection: (1 - sqrt(beta))^2 - k(delta) rises with delta."""
    if stiffness(lr, mp.mpf(1), noise, curvature, explicit) >= 1:
        return mp.mpf(1)
    low, high = mp.mpf(0), mp.mpf(1)
    for _ in range(300):
        delta = (low + high) / 2 if low else high / 8
        edge = (delta / (1 + mp.sqrt(1 - delta))) ** 2
        low, high = (low, delta) if edge > stiffness(lr, delta, noise, curvature, explicit) else (delta, high)
    return high


def exact_lr(delta, noise, curvature, explicit):
    edge = (delta / (1 + mp.sqrt(1 - delta))) ** 2
    return 2 * edge / (explicit + mp.sqrt(explicit**2 + noise * curvature * edge / delta))


@POINTS
@given(*GEOMETRY)
def test_discrete_critical_damping_agrees_with_50_digits(lr, noise, curvature, explicit):
    assume(noise * curvature + explicit > 0)
    delta = float(formulas.discrete_critical_one_minus_beta(lr, noise, curvature, explicit))
    assert relative_error(delta, exact_critical, (lr, noise, curvature, explicit)) < ACCURACY
    if delta < 0.9:  # near 1 the inverse depends on beta, of which delta keeps few digits
        inverse = formulas.discrete_critical_lr(delta, noise, curvature, explicit)
        assert relative_error(inverse, exact_lr, (delta, noise, curvature, explicit)) < ACCURACY
        assert float(inverse) == pytest.approx(lr, rel=1e-11)


@POINTS
@given(powers(1e-3, 1), powers(1e-3, 1), powers(1e-3, 1), st.one_of(st.just(0.0), powers(1e-4, 0.3)))
def test_the_update_along_gamma_decays_fastest_at_discrete_critical_damping(lr, noise, curvature, explicit):
    def largest_multiplier(delta):
        k = float(formulas.longitudinal_stiffness(lr, delta, noise, curvature, explicit))
        trace, determinant = trace_and_determinant("heavy_ball", k, delta)
        return np.abs(np.linalg.eigvals(np.array([[trace, -determinant], [1, 0]]))).max()

    best = float(formulas.discrete_critical_one_minus_beta(lr, noise, curvature, explicit))
    assume(best < 0.9)
    at_best = largest_multiplier(best)
    assert at_best == pytest.approx(np.sqrt(1 - best), abs=1e-7)
    assert at_best < min(largest_multiplier(best * 0.97), largest_multiplier(best * 1.03))


@POINTS
@given(powers(1e-9, 1e-2))
def test_first_correction_to_the_prefactor_is_a_sixth_of_itself(lr):
    delta0 = float(formulas.label_noise_one_minus_beta(lr, 1.0, 1.0, 1.0))
    delta = float(formulas.discrete_critical_one_minus_beta(lr, 1.0, 1.0, 0.0))
    assert delta == pytest.approx(delta0 * (1 - delta0 / 6), rel=0.1 * delta0**2 + 1e-14)
    assert abs(delta - delta0) > 0.1 * delta0**2


def test_without_a_force_nothing_is_to_be_damped_and_with_a_strong_one_no_momentum_is_best():
    assert float(formulas.discrete_critical_one_minus_beta(0.1, 0.0, 1.0, 0.0)) == 0
    assert float(formulas.discrete_critical_one_minus_beta(1.0, 0.0, 1.0, 1.5)) == 1


@POINTS
@given(powers(1e-3, 1e-1), st.integers(0, 2**32 - 1), st.floats(0.05, 1))
def test_curvature_of_the_potential_at_its_own_flattest_point(lr, seed, delta):
    """Cubic lambda_j(theta), sum lambda_j' = 0 at 0: V'' where V' = 0, by mpmath on the exact potential."""
    rng = np.random.default_rng(seed)
    level, bend, third = rng.uniform(0.3, 1, 3), rng.uniform(0.5, 1, 3), rng.uniform(-0.5, 0.5, 3)
    slope = rng.uniform(-0.5, 0.5, 3)
    slope -= slope.mean()
    mu, mu_slope = bend.sum(), third.sum()
    square_slope, square_bend = 2 * np.sum(level * slope), 2 * np.sum(slope**2 + level * bend)
    nu = square_bend - mu_slope * square_slope / mu
    limit = 4 - 2 * delta

    def potential(theta):
        modes = [
            v + s * theta + b * theta**2 / 2 + t * theta**3 / 6 for v, s, b, t in zip(level, slope, bend, third, strict=True)
        ]
        return -limit / lr * sum(mp.log(1 - lr * mode / limit) for mode in modes)

    with mp.workdps(40):
        flattest = mp.findroot(lambda theta: mp.diff(potential, theta), -lr * square_slope / (2 * limit * mu))
        exact = float(mp.diff(potential, flattest, 2))
    corrected = float(formulas.finite_lr_curvature(lr, delta, mu, nu))
    assert corrected == pytest.approx(exact, rel=5 * lr**2)


@POINTS
@given(st.integers(0, 400), st.floats(0.001, 0.999), DELTAS)
def test_normal_modes_fill_as_the_moments_of_the_update_do(n_steps, fraction, delta):
    """x_k^2 - T x_k x_{k-1} + d x_{k-1}^2, the mode's energy up to a factor, is free of the oscillation at 2 omega."""
    a = fraction * float(formulas.heavy_ball_stability_limit(delta))
    trace, determinant = trace_and_determinant("heavy_ball", a, delta)
    variance = float(formulas.heavy_ball_stationary_variance(1.0, a, delta, 1.0))
    at_rest = variance * (1 + determinant - trace**2 / (1 + determinant))
    xx, xy, yy = 0.0, 0.0, 0.0
    for _ in range(n_steps):
        xx, xy, yy = trace**2 * xx - 2 * trace * determinant * xy + determinant**2 * yy + a, trace * xx - determinant * xy, xx
    energy = xx - trace * xy + determinant * yy
    assert energy == pytest.approx((1 - (1 - delta) ** n_steps) * at_rest, rel=1e-6, abs=1e-6 * at_rest)
    if float(formulas.heavy_ball_discriminant(1.0, a, delta)) < 0:
        time = formulas.heavy_ball_relaxation_time(1.0, a, delta)
        share = float(formulas.energy_share_after(0.0, time, 0.0, n_steps))
        assert relative_error(share, lambda k, d: 1 - (1 - d) ** k, (float(n_steps), delta)) < ACCURACY
