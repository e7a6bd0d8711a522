"""The generated formulas against matrices, Lyapunov solves, and the plain definitions with 50 digits."""

from __future__ import annotations

from functools import partial

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_discrete_lyapunov

from derivations import codegen
from derivations.__main__ import FORMULAS
from sde_momentum.theory import formulas

POINTS = settings(max_examples=200, derandomize=True, deadline=None)
ACCURACY = 1e-12  # relative error, the arguments taken as exact


def powers(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers spread evenly in their logarithm."""
    return st.floats(np.log10(low), np.log10(high)).map(lambda x: float(10**x))


# a as a fraction of the stability limit: small, of order one, and close to the limit.
FRACTIONS = st.one_of(powers(1e-12, 0.99), st.floats(0.01, 0.99), powers(1e-6, 0.5).map(lambda x: 1 - x))
DELTAS = st.one_of(powers(1e-8, 1), st.floats(0.01, 1.0), st.just(1.0))
KINDS = st.sampled_from(["heavy_ball", "nesterov"])


def of(kind: str, name: str):
    return getattr(formulas, f"{kind}_{name}")


def trace_and_determinant(kind: str, a, delta):
    """Of the 2 x 2 companion matrix; the only place where these tests say what an update is."""
    beta = 1 - delta
    return (1 + beta - a, beta) if kind == "heavy_ball" else ((1 - a) * (1 + beta), (1 - a) * beta)


# --- The same with 50 digits -------------------------------------------------------------------------
def exact_time(kind: str, lr, eigenvalue, delta):
    trace, determinant = trace_and_determinant(kind, lr * eigenvalue, delta)
    root = mp.sqrt(trace**2 - 4 * determinant)
    largest = max(abs(trace + root), abs(trace - root)) / 2
    return mp.inf if largest >= 1 else (-1 / mp.log(largest) if largest else mp.mpf(0))


def exact_margin(kind: str, lr, eigenvalue, delta):
    """The characteristic polynomial at -1: positive below the stability limit."""
    trace, determinant = trace_and_determinant(kind, lr * eigenvalue, delta)
    return 1 + trace + determinant


def exact_discriminant(kind: str, lr, eigenvalue, delta):
    trace, determinant = trace_and_determinant(kind, lr * eigenvalue, delta)
    return trace**2 - 4 * determinant


def exact_moments(kind: str, lr, eigenvalue, delta, noise):
    """E x_k^2 and E x_k x_{k-1}, from the autocovariance of an AR(2) process."""
    trace, determinant = trace_and_determinant(kind, lr * eigenvalue, delta)
    kick = lr**2 * noise * eigenvalue
    variance = kick * (1 + determinant) / ((1 - determinant) * ((1 + determinant) ** 2 - trace**2))
    return variance, variance * trace / (1 + determinant)


def exact_variance(kind: str, *arguments):
    return exact_moments(kind, *arguments)[0]


def exact_weight(kind: str, lr, eigenvalue, delta, noise):
    """eta / (2 delta) times the second moment of the point where the gradient is taken."""
    variance, covariance = exact_moments(kind, lr, eigenvalue, delta, noise)
    ahead = 0 if kind == "heavy_ball" else 1 - delta
    point = ((1 + ahead) ** 2 + ahead**2) * variance - 2 * ahead * (1 + ahead) * covariance
    return lr / (2 * delta) * point


def exact_potential(kind: str, lr, eigenvalue, delta, noise):
    """In closed form; that it is the integral of the weight has a test of its own."""
    beta, a = 1 - delta, lr * eigenvalue
    if kind == "heavy_ball":
        return -lr * noise * (1 + beta) / (2 * delta**2) * mp.log(1 - a / (2 * (1 + beta)))
    near = (1 + beta) * (1 + 2 * beta) * mp.log(1 - a * (1 + 2 * beta) / (2 * (1 + beta)))
    return lr * noise / (2 * delta * (1 + 3 * beta)) * (2 * beta**2 * mp.log(1 + a * beta / delta) - near)


def exact_cubic_root(p, q):
    """The positive root of x^3 - p x - q, by Newton from above."""
    x = mp.sqrt(p) + mp.cbrt(q)
    for _ in range(60):
        x -= (x**3 - p * x - q) / (3 * x**2 - p)
    return x


def exact_critical(lr, noise, curvature, explicit, zeta):
    return exact_cubic_root(4 * zeta**2 * lr * explicit, zeta**2 * lr**2 * noise * curvature)


def exact_critical_lr(delta, noise, curvature, explicit, zeta):
    """Of zeta^2 c mu eta^2 + 4 zeta^2 h delta eta = delta^3, the positive root."""
    half, q = 2 * zeta**2 * explicit * delta, zeta**2 * noise * curvature
    return delta**3 / (half + mp.sqrt(half**2 + q * delta**3))


def relative_error(computed, exact, arguments: tuple[float, ...]) -> float:
    """Of a computed value against `exact` evaluated with 50 digits at the arguments as they are."""
    with mp.workdps(50):
        value = mp.mpf(exact(*(mp.mpf(x) for x in arguments)))
        if mp.isinf(value) or value == 0:
            return 0.0 if float(computed) == value else float("inf")
        return float(abs(mp.mpf(float(computed)) - value) / abs(value))


# --- Tests -------------------------------------------------------------------------------------------
def test_checked_in_formulas_are_what_the_derivations_generate():
    assert FORMULAS.read_text(encoding="utf-8") == codegen.module()


def test_every_generated_function_has_a_derivation_behind_it():
    derived = {formula.name for derivation in codegen.DERIVATIONS for formula in derivation.formulas}
    public = {name for name, value in vars(formulas).items() if getattr(value, "__module__", "") == formulas.__name__}
    assert public == derived
    assert len(derived) == sum(len(derivation.formulas) for derivation in codegen.DERIVATIONS)


@POINTS
@given(KINDS, powers(1e-8, 10), st.one_of(FRACTIONS, st.floats(1.001, 5)), DELTAS)
def test_relaxation_time_and_stability_match_the_companion_matrix(kind, lr, fraction, delta):
    a = fraction * float(of(kind, "stability_limit")(delta))
    trace, determinant = trace_and_determinant(kind, a, delta)
    multipliers = np.linalg.eigvals(np.array([[trace, -determinant], [1, 0]]))
    time = float(of(kind, "relaxation_time")(lr, a / lr, delta))
    if fraction > 1:
        assert np.abs(multipliers).max() > 1
        assert time == np.inf
    else:
        # eigvals resolves a nearly double multiplier to the square root of the rounding error only
        multiplier = np.exp(-1 / time) if time else 0.0
        assert multiplier == pytest.approx(np.abs(multipliers).max(), abs=1e-7)


@POINTS
@given(KINDS, st.floats(0.001, 0.999), st.floats(0.01, 1.0))
def test_discriminant_is_negative_where_the_multipliers_are_complex(kind, fraction, delta):
    a = fraction * float(of(kind, "stability_limit")(delta))
    trace, determinant = trace_and_determinant(kind, a, delta)
    plain = trace**2 - 4 * determinant
    assert float(of(kind, "discriminant")(0.1, a / 0.1, delta)) == pytest.approx(plain, rel=1e-9, abs=1e-14)


@POINTS
@given(KINDS, powers(1e-3, 1), st.floats(1e-3, 0.99), powers(1e-3, 1))
def test_stationary_variance_matches_lyapunov(kind, lr, fraction, delta):
    a = fraction * float(of(kind, "stability_limit")(delta))
    eigenvalue, noise = a / lr, 0.37
    trace, determinant = trace_and_determinant(kind, a, delta)
    step = np.array([[trace, -determinant], [1, 0]])
    covariance = solve_discrete_lyapunov(step, np.diag([lr**2 * noise * eigenvalue, 0.0]))
    variance = float(of(kind, "stationary_variance")(lr, eigenvalue, delta, noise))
    assert variance == pytest.approx(covariance[0, 0], rel=1e-7)
    # The drift needs the second moment of the point where the gradient is taken.
    ahead = 0.0 if kind == "heavy_ball" else 1 - delta
    point = np.array([1 + ahead, -ahead])
    weight = float(of(kind, "drift_weight")(lr, eigenvalue, delta, noise))
    assert weight == pytest.approx(lr / (2 * delta) * (point @ covariance @ point), rel=1e-7)


def check_mode(kind: str, lr: float, eigenvalue: float, delta: float) -> None:
    """Every formula of one mode, below and above the stability limit."""
    mode = (lr, eigenvalue, delta)
    exact = [("relaxation_time", exact_time, mode), ("discriminant", exact_discriminant, mode)]
    with mp.workdps(50):
        stable = exact_margin(kind, *map(mp.mpf, mode)) > 0
    if stable:
        exact += [
            ("stationary_variance", exact_variance, (*mode, 0.3)),
            ("drift_weight", exact_weight, (*mode, 0.3)),
            ("potential", exact_potential, (*mode, 0.3)),
        ]
    for name, plain, arguments in exact:
        error = relative_error(of(kind, name)(*arguments), partial(plain, kind), arguments)
        assert error < ACCURACY, f"{kind}_{name}: relative error {error:.2g}"


@POINTS
@given(KINDS, powers(1e-8, 10), FRACTIONS, DELTAS)
@example("heavy_ball", 1e-8, 1e-12, 1e-8)
@example("heavy_ball", 1.0, 0.5, 1.0)  # one multiplier is 0: the time is 0
@example("nesterov", 1.0, 0.5, 1.0)
def test_mode_formulas_agree_with_50_digits(kind, lr, fraction, delta):
    check_mode(kind, lr, fraction * float(of(kind, "stability_limit")(delta)) / lr, delta)


@POINTS
@given(KINDS, powers(1e-8, 10), DELTAS, st.sampled_from([0, 1, 2]), st.floats(-52, -10), st.sampled_from([-1, 1]))
def test_they_agree_next_to_the_edges_of_the_regimes_too(kind, lr, delta, edge, distance, side):
    """a = edge (1 +- 2^distance), down to the last bit of a float."""
    beta = 1 - delta
    limit = float(of(kind, "stability_limit")(delta))
    if kind == "heavy_ball":
        edges = ((delta / (1 + np.sqrt(beta))) ** 2, (1 + np.sqrt(beta)) ** 2, limit)
    else:
        edges = ((delta / (1 + beta)) ** 2, 1.0, limit)
    check_mode(kind, lr, float(edges[edge] * (1 + side * 2.0**distance) / lr), delta)


@POINTS
@given(KINDS, powers(1e-6, 1), FRACTIONS, DELTAS)
def test_potential_is_the_integral_of_the_drift_weight(kind, lr, fraction, delta):
    """Its derivative with 60 digits is the weight that the autocovariance gives, and it vanishes at eigenvalue 0."""
    eigenvalue = fraction * float(of(kind, "stability_limit")(delta)) / lr
    potential = of(kind, "potential")(lr, eigenvalue, delta, 0.3)
    arguments = (lr, eigenvalue, delta, 0.3)
    assert relative_error(potential, partial(exact_potential, kind), arguments) < ACCURACY
    with mp.workdps(60):
        point = [mp.mpf(x) for x in arguments]
        slope = mp.diff(lambda x: exact_potential(kind, point[0], x, *point[2:]), point[1], h=point[1] * mp.mpf(10) ** -25)
        assert abs(slope / exact_weight(kind, *point) - 1) < mp.mpf(10) ** -15
        assert exact_potential(kind, point[0], 0, *point[2:]) == 0


@POINTS
@given(
    powers(1e-8, 10),
    st.one_of(st.just(0.0), powers(1e-12, 1)),
    st.one_of(st.just(0.0), powers(1e-6, 1e4)),
    st.one_of(st.just(0.0), powers(1e-8, 1)),
    powers(0.1, 1),
)
def test_critical_damping_agrees_with_50_digits(lr, noise, curvature, explicit, zeta):
    geometry = (noise, curvature, explicit, zeta)
    delta = float(formulas.critical_one_minus_beta(lr, *geometry))
    if noise * curvature == 0 and explicit == 0:
        assert delta == 0
        return
    assert relative_error(delta, exact_critical, (lr, *geometry)) < ACCURACY
    assert float(formulas.critical_lr(delta, *geometry)) == pytest.approx(lr, rel=1e-12)
    stiffness = float(formulas.longitudinal_stiffness(lr, delta, noise, curvature, explicit))
    assert delta**2 == pytest.approx(4 * zeta**2 * stiffness, rel=1e-12)
    alone = float(formulas.label_noise_one_minus_beta(lr, noise, curvature, zeta))
    assert relative_error(alone, lambda x, c, mu, z: mp.cbrt(c * mu * z**2 * x**2), (lr, noise, curvature, zeta)) < ACCURACY
    assert relative_error(formulas.critical_lr(delta, *geometry), exact_critical_lr, (delta, *geometry)) < ACCURACY
    if explicit == 0:
        assert delta == pytest.approx(alone, rel=1e-13)
    else:
        assert delta > alone


@POINTS
@given(st.one_of(powers(1e-300, 0.5), powers(1e-12, 0.5).map(lambda x: 1 - x)))
def test_damping_ratio_overshoots_by_just_the_target(x):
    assert relative_error(formulas.damping_ratio(x), lambda y: -mp.log(y) / mp.sqrt(mp.pi**2 + mp.log(y) ** 2), (x,)) < ACCURACY
    with mp.workdps(50):  # the first extremum of the swing itself, from the matrix exponential
        zeta = -mp.log(mp.mpf(x)) / mp.sqrt(mp.pi**2 + mp.log(mp.mpf(x)) ** 2)
        half_period = mp.pi / mp.sqrt(1 - zeta**2)
        swing = mp.expm(mp.matrix([[0, 1], [-1, -2 * zeta]]) * half_period, method="taylor") if x > 1e-3 else None
    if swing is not None:
        assert float(-swing[0, 0]) == pytest.approx(x, rel=1e-9)


@POINTS
@given(powers(1e-6, 1), powers(1e-6, 1), powers(1e-3, 1e3), st.one_of(st.just(0.0), powers(1e-6, 1)))
def test_motion_along_gamma_decays_fastest_at_the_critical_momentum(lr, noise, curvature, explicit):
    """Slowest rate of theta'' + delta theta' + k(delta) theta = 0, at the derived delta and 3 % beside it."""

    def slowest(delta):
        k = float(formulas.longitudinal_stiffness(lr, delta, noise, curvature, explicit))
        expected = lr * explicit + lr**2 * noise * curvature / (4 * delta)
        assert k == pytest.approx(expected, rel=1e-14)
        return -np.linalg.eigvals(np.array([[0.0, 1.0], [-k / delta**2, -1.0]])).real.max() * delta

    best = float(formulas.critical_one_minus_beta(lr, noise, curvature, explicit, 1.0))
    assert slowest(best) == pytest.approx(best / 2, rel=1e-6)
    assert slowest(best) > max(slowest(0.97 * best), slowest(1.03 * best))


@POINTS
@given(powers(1e-8, 10), powers(1e-6, 1), powers(1e-3, 1), st.floats(0.2, 2))
def test_power_law_and_its_inverse_agree_with_50_digits(lr, reference_lr, reference, gamma):
    arguments = (lr, reference_lr, reference, gamma)
    delta = formulas.power_law_one_minus_beta(*arguments)
    assert relative_error(delta, lambda x, x0, d0, g: d0 * (x / x0) ** g, arguments) < ACCURACY
    inverse = formulas.power_law_lr(float(delta), *arguments[1:])
    assert relative_error(inverse, lambda d, x0, d0, g: x0 * (d / d0) ** (1 / g), (float(delta), *arguments[1:])) < ACCURACY


@POINTS
@given(KINDS, powers(1e-3, 1), powers(1e-3, 1e3), powers(1e-3, 1e3), powers(1e-3, 1e3))
def test_small_lr_limit_holds_for_both_updates(kind, delta, noise, eigenvalue, curvature):
    lr = 1e-8 * delta / eigenvalue
    limit = float(formulas.small_lr_drift_weight(lr, delta, noise))
    assert relative_error(limit, lambda x, d, c: x**2 * c / (4 * d**2), (lr, delta, noise)) < ACCURACY
    assert float(of(kind, "drift_weight")(lr, eigenvalue, delta, noise)) == pytest.approx(limit, rel=1e-7)
    assert float(of(kind, "potential")(lr, eigenvalue, delta, noise)) == pytest.approx(limit * eigenvalue, rel=1e-7)
    assert float(formulas.longitudinal_time(lr, delta, noise, curvature)) == pytest.approx(1 / (curvature * limit), rel=1e-14)


@pytest.mark.parametrize("kind", ["heavy_ball", "nesterov"])
def test_everything_diverges_at_the_stability_limit(kind):
    limit = np.nextafter(float(of(kind, "stability_limit")(0.25)), 4)  # the limit itself may be rounded down
    assert np.isinf(of(kind, "relaxation_time")(1.0, [limit, 2 * limit], 0.25)).all()
    for name in ("stationary_variance", "drift_weight", "potential"):
        values = of(kind, name)(1.0, [0.999 * limit, limit, 2 * limit], 0.25, 1.0)
        assert np.isfinite(values).tolist() == [True, False, False]


def test_arguments_broadcast():
    times = formulas.nesterov_relaxation_time([[1e-3], [1e-2]], [1.0, 2.0, 3.0], 0.1)
    assert times.shape == (2, 3)
    assert times[1, 2] == formulas.nesterov_relaxation_time(1e-2, 3.0, 0.1)
    both = formulas.critical_one_minus_beta([[1e-3], [1e-2]], [0.0, 1e-4, 1.0], 1.0, 1e-3, 1.0)
    assert both.shape == (2, 3)
    assert both[1, 1] == formulas.critical_one_minus_beta(1e-2, 1e-4, 1.0, 1e-3, 1.0)
