"""Exponential steps, Levy areas and autocovariances in every form of an equation, with odd inputs: right, or one clear line."""

import math
from dataclasses import replace

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum import sde

RATES = np.array([1.0, 50.0, 2000.0])


def modes(x, t, p):
    return (-x[0] + 0.3 * math.sin(x[1]), -50.0 * x[1], -2000.0 * x[2] + x[0])


def modes_on_arrays(x, t, p):
    return np.stack([-x[0] + 0.3 * np.sin(x[1]), -50.0 * x[1], -2000.0 * x[2] + x[0]])


def modes_in_place(x, t, p, out):
    out[0], out[1], out[2] = -x[0] + 0.3 * math.sin(x[1]), -50.0 * x[1], -2000.0 * x[2] + x[0]


def unit(x, t, p, out):
    for i in range(len(out)):
        out[i] = 1.0


def kept(equation, method, n=300, times=(0.5, 1.0), x0=(1.0, 1.0, 1.0), **options):
    """(n, times, dim)."""
    options = dict(step=sde.Fixed(0.05, method), n_paths=n, statistics=[sde.KeepPaths(range(n))], progress=False) | options
    return sm.solve(equation, x0, times, **options)["path_value"].values


@pytest.mark.parametrize("linear", [-RATES, -np.diag(RATES)], ids=["diagonal", "matrix"])
def test_exponential_steps_are_the_same_in_every_form(linear):
    forms = [
        sm.SDE(modes, lambda x, t, p: (1.0, 1.0, 1.0), 3, linear=linear),
        sm.SDE(modes_on_arrays, lambda x, t, p: 1.0, 3, linear=linear, batched=True),
        sm.SDE(modes_in_place, unit, 3, linear=linear),
    ]
    one, *others = (kept(equation, "exponential-euler") for equation in forms)
    for other in others:
        np.testing.assert_allclose(other, one, atol=1e-10)


def test_stiff_modes_have_their_stationary_variance_at_any_step():
    stiff = sm.SDE(modes_on_arrays, lambda x, t, p: 1.0, 3, linear=-RATES, batched=True)
    x = kept(stiff, "exponential-euler", n=4000, times=(4.0,))[:, 0, 1:]
    ratio = 2.0 * RATES[1:] * x.var(axis=0, ddof=1)
    assert np.all(abs(ratio - 1.0) < 5 * math.sqrt(2 / 4000))  # false alarms: 6e-7 each
    with pytest.warns(UserWarning, match="unstable"):
        sm.solve(stiff, np.ones(3), [0.1], step=0.05, n_paths=10)


def test_components_without_noise_are_stepped_by_the_matrix_too():
    drift = lambda x, t, p: np.stack([-x[0], -300.0 * x[1] + x[0]])  # noqa: E731
    quiet = sm.SDE(drift, lambda x, t, p: 0.0 * x[:1], 2, driven=(0,), linear=(-1.0, -300.0), batched=True)
    x = kept(quiet, "exponential-euler", n=1, x0=(1.0, 1.0))[0]
    np.testing.assert_allclose(x[:, 0], np.exp([-0.5, -1.0]), rtol=1e-12)
    np.testing.assert_allclose(x[:, 1], x[:, 0] / 300.0, rtol=0.06)  # it follows; the step's error is of order h


@pytest.mark.parametrize("a", [0.0, 1e-12, -3.0, 2.0, [[0.0, 1.0], [-1.0, 0.0]], [[-1e6, 0.0], [0.0, -1.0]]])
def test_a_linear_drift_has_its_exact_mean(a):
    matrix = np.asarray(a) * np.eye(2) if np.ndim(a) == 0 else np.asarray(a)
    linear = sm.SDE(lambda x, t, p: matrix @ x, lambda x, t, p: 0.0, 2, linear=a, batched=True)
    from scipy.linalg import expm

    x = kept(linear, "exponential-euler", n=1, times=(1.0,), x0=(1.0, 0.5))[0, 0]
    np.testing.assert_allclose(x, expm(matrix) @ [1.0, 0.5], atol=1e-11)


UNLIKE = (np.array([[0.5, 0.2], [-0.3, 0.1]]), np.array([[0.1, 0.6], [0.4, -0.2]]), np.array([[0.0, -0.3], [0.2, 0.2]]))


def levy_equation(m, interpretation="ito"):
    columns = UNLIKE[:m]
    return sm.SDE(
        lambda x, t, p: -0.5 * x,
        lambda x, t, p: np.stack([b @ x for b in columns], axis=1),
        2,
        interpretation,
        noise="general",
        n_noise=m,
        batched=True,
    )


@pytest.mark.parametrize("m", [1, 2, 3])
def test_srk_levy_has_the_second_moments_of_noise_that_does_not_commute(m):
    from scipy.linalg import expm

    rate = -0.5 * np.eye(2)
    generator = np.kron(rate, np.eye(2)) + np.kron(np.eye(2), rate) + sum(np.kron(b, b) for b in UNLIKE[:m])
    exact = expm(generator) @ np.kron([1.0, 0.5], [1.0, 0.5])
    x = kept(levy_equation(m), "srk-levy", n=8000, times=(1.0,), x0=(1.0, 0.5), step=sde.Fixed(0.02, "srk-levy"))[:, 0]
    for i, j, value in ((0, 0, exact[0]), (0, 1, exact[1]), (1, 1, exact[3])):
        product = x[:, i] * x[:, j]
        # the bias of steps of 0.02 is about 0.01; false alarms: 6e-5 each
        assert abs(product.mean() - value) < 4 * product.std() / math.sqrt(8000) + 0.01 * abs(value)


def test_srk_levy_is_the_same_compiled():
    compiled = sm.SDE(
        lambda x, t, p: (-0.5 * x[0], -0.5 * x[1]),
        lambda x, t, p: ((0.5 * x[0] + 0.2 * x[1], 0.1 * x[0] + 0.6 * x[1]), (-0.3 * x[0] + 0.1 * x[1], 0.4 * x[0] - 0.2 * x[1])),
        2, noise="general", n_noise=2,
    )  # fmt: skip

    def drift(x, t, p, out):
        out[0], out[1] = -0.5 * x[0], -0.5 * x[1]

    def diffusion(x, t, p, out):
        for k in range(2):
            for i in range(2):
                out[i, k] = columns[k, i, 0] * x[0] + columns[k, i, 1] * x[1]

    columns = np.stack(UNLIKE[:2])
    in_place = sm.SDE(drift, diffusion, 2, noise="general", n_noise=2)
    one = kept(levy_equation(2), "srk-levy", x0=(1.0, 0.5))
    for equation in (compiled, in_place):
        np.testing.assert_allclose(kept(equation, "srk-levy", x0=(1.0, 0.5)), one, rtol=1e-9)


WIENER = np.ones((20, 2, 2))
ONE = sm.SDE(lambda x, t, p: -x, lambda x, t, p: 1.0, batched=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: replace(ONE, linear=math.nan), "linear: given nan; allowed: a finite number"),
        (lambda: replace(ONE, linear=[[1.0, 2.0]]), r"linear: given shape \(1, 2\); allowed: a finite number"),
        (lambda: replace(ONE, linear="stiff"), "linear: given stiff"),
        (lambda: kept(ONE, "exponential-euler", x0=1.0), "given exponential-euler; allowed: .*without `linear`"),
        (lambda: kept(replace(ONE, linear=-1.0), "srk-levy", x0=1.0), "given srk-levy; allowed: .*exponential-euler"),
        (
            lambda: kept(levy_equation(2), None, n=2, x0=(1.0, 0.5), step=sde.OnIncrements(WIENER, 0.05, "srk-levy")),
            "method: given srk-levy; allowed: one whose step follows from dW: increments do not tell the Levy areas",
        ),
        (lambda: sde.Autocovariance(-1), "max_lag: given -1"),
        (lambda: sde.Autocovariance(2.5), "max_lag: given 2.5"),
        (lambda: sde.Autocovariance(row=3), "row: given 3; allowed: a text or None"),
        (lambda: sde.PassageTimes(lambda t, x: x, stop=True), "event: given f\\(t, x\\)"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call, message):
    with pytest.raises(sm.InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_few_paths_have_no_error_rather_than_a_wrong_one(n):
    asked = [sde.Autocovariance(1)]
    found = sm.solve(ONE, 0.0, [1.0, 2.0, 3.0], step=0.25, n_paths=n, statistics=asked, progress=False)
    assert np.isfinite(found["autocovariance"].values).all() == (n >= 2)
    assert np.isfinite(found["autocovariance_se"].values).all() == (n >= 4)


@pytest.mark.filterwarnings("ignore:.*were lost")
def test_an_autocovariance_of_lost_paths_only_is_nan():
    lost = sm.SDE(lambda x, t, p: np.nan * x, lambda x, t, p: 1.0, batched=True)
    found = sm.solve(lost, 0.0, [1.0, 2.0], step=0.5, n_paths=10, statistics=[sde.Autocovariance()], progress=False)
    assert np.isnan(found["autocovariance"].values).all()


@pytest.mark.parametrize("t0", [0.0, 1e6])
def test_late_clocks_and_sweeps_stop_and_correlate_alike(t0):
    asked = [sde.PassageTimes(lambda x, t, p: x - p[0], stop=True), sde.KeepPaths(range(200)), sde.Autocovariance(1)]
    times, levels = t0 + np.array([0.5, 1.0, 1.5]), {"level": [0.5, 1.0]}
    found = sm.solve(ONE, 0.0, times, step=0.125, n_paths=200, parameters=levels, t0=t0, statistics=asked, progress=False)
    when, last = found["path_passage_time"], found["path_value"].isel(time=-1)
    assert when.dims == ("level", "path")
    for level in levels["level"]:
        passed = (when.sel(level=level) <= times[-1]).values
        np.testing.assert_allclose(last.sel(level=level).values[passed], level, atol=1e-9)
    assert (when.values.min(axis=1) > t0).all()
    np.testing.assert_allclose(found["lag"], [0.0, 0.5])


def test_a_product_is_that_of_numpy():
    rng = np.random.default_rng(0)
    for rows, columns in ((1, 1), (4, 3), (7, 5), (13, 13)):
        a, x, out = rng.standard_normal((rows, columns)), rng.standard_normal(columns), np.empty(rows)
        sde.multiply(a, x, out)
        np.testing.assert_allclose(out, a @ x, rtol=1e-12)


def test_a_dense_linear_system_by_products_is_that_on_arrays():
    d = 9
    a = -np.eye(d) + 0.2 * np.random.default_rng(1).standard_normal((d, d))

    def drift(x, t, p, out):
        sde.multiply(a, x, out)

    in_place = sm.SDE(drift, unit, d)
    arrays = sm.SDE(lambda x, t, p: a @ x, lambda x, t, p: 1.0, d, batched=True)
    one, two = (kept(equation, "euler-maruyama", x0=np.ones(d), n=100) for equation in (in_place, arrays))
    np.testing.assert_allclose(one, two, atol=1e-11)
