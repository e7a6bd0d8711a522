"""Ensembles of a user's equation: orders, exactness on given noise, reproducibility, faults (Kloeden, Platen 1992).

Chance enters with fixed seeds; tolerances are in standard errors, two-sided, the false-alarm rate beside each.
"""

import math
import threading

import numpy as np
import pytest
import xarray as xr
from given_noise import follow
from scipy import stats
from sde_equations import constant, linear, pair_drift, volatility

import sde_momentum as sm
from sde_momentum.core import moments
from sde_momentum.sde import METHODS, Fixed, standard_increments

DIAGONAL = ("euler-maruyama", "weak-euler", "milstein", "heun")  # the others have tests of their own
INTERPRETATION = {m: METHODS[m].interpretations[0] for m in METHODS}


GEOMETRIC = (0.5, 0.5)  # dX = 0.5 X dt + 0.5 X dW: multiplicative noise


def geometric(method):
    return sm.SDE(linear, volatility, interpretation=INTERPRETATION[method])


def pair_diffusion(x, t, p):
    return (0.1 * x[0], p[1] * (1.0 + x[1] * x[1]) ** 0.5)


def naive(method, a, b, slope, x, dw, h):
    """The method as the textbook has it; functions of (x, t) over arrays (dim, paths)."""
    for k, w in enumerate(dw):
        t = k * h
        if method == "heun":
            guess = x + a(x, t) * h + b(x, t) * w
            x = x + (a(x, t) + a(guess, t + h)) * h / 2 + (b(x, t) + b(guess, t + h)) * w / 2
        else:
            correction = b(x, t) * slope(x, t) * (w**2 - h) / 2 if method == "milstein" else 0.0
            x = x + a(x, t) * h + b(x, t) * w + correction
    return x


@pytest.mark.parametrize("method", DIAGONAL)
@pytest.mark.parametrize("dim", [1, 2])
def test_the_ensemble_equals_a_plain_loop_on_the_same_noise(method, dim):
    n_paths, n_steps, h, p = 130, 41, 0.05, (0.7, 0.3)  # neither a multiple of the lanes nor of the buffer
    dw = math.sqrt(h) * standard_increments(5, n_paths, n_steps, dim, METHODS[method].increments)
    if dim == 1:
        sde, x0 = sm.SDE(linear, volatility, interpretation=INTERPRETATION[method]), 1.0
        functions = [lambda x, t: p[0] * x, lambda x, t: p[1] * x, lambda x, t: p[1]]
    else:
        sde, x0 = sm.SDE(pair_drift, pair_diffusion, 2, INTERPRETATION[method]), (1.0, -0.5)
        functions = [
            lambda x, t: np.stack(pair_drift(x, t, p)),
            lambda x, t: np.stack(pair_diffusion(x, t, p)),
            lambda x, t: np.stack([np.full(n_paths, 0.1), p[1] * x[1] / np.sqrt(1 + x[1] ** 2)]),
        ]
    start = np.repeat(np.atleast_1d(x0)[:, None], n_paths, axis=1)
    x = naive(method, *functions, start, dw, h)
    ours = sm.solve(sde, x0, [0.15, n_steps * h], step=Fixed(h, method), n_paths=n_paths, seed=5, parameters=p)
    rtol = 1e-8 if method == "milstein" else 1e-11  # Milstein differentiates numerically
    np.testing.assert_allclose(follow(sde, x0, dw, step=h, method=method, parameters=p)[-1], x, rtol=rtol, atol=rtol)
    last = ours.isel(time=-1)
    variance, n = x.var(axis=1, ddof=1), n_paths
    k4 = np.array([stats.kstat(row, 4) for row in x])
    expected = {
        "mean": x.mean(axis=1),
        "variance": variance,
        "mean_se": np.sqrt(variance / n_paths),
        "variance_se": np.sqrt((2 * n * variance**2 + (n - 1) * k4) / (n * (n + 1))),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(np.atleast_1d(last[name]), value, rtol=10 * rtol, err_msg=name)


def test_moments_merged_chunk_by_chunk_equal_those_of_all_at_once():
    lanes = 16
    x = 100.0 + np.random.default_rng(0).gamma(1.0, size=(5, 1, 2, lanes))  # (blocks, times, rows, lanes): skewed, far from 0
    x[1, 0, 0, 7] = np.nan
    x[2, 0, 1, 8] = np.inf
    x[3] = np.nan
    count, central = np.zeros(1), np.zeros((1, 2, 4))
    for blocks, active in ((x[:3], 3 * lanes), (x[3:], lanes + 3)):
        part = np.zeros(1), np.zeros((1, 2)), np.zeros((1, 2, 4))
        moments.add(blocks, active, *part)
        moments.centre(*part)
        moments.merge(count, central, part[0], part[2])
    plain = np.concatenate([block[0][:, :n] for block, n in zip(x, [lanes] * 4 + [3], strict=True)], axis=1)
    plain = plain[:, np.isfinite(plain).all(axis=0)]
    assert count[0] == plain.shape[1] == 3 * lanes - 2 + 3
    np.testing.assert_allclose(central[0, :, 0], plain.mean(axis=1), rtol=1e-14)
    for power in (2, 3, 4):
        np.testing.assert_allclose(central[0, :, power - 1], count[0] * stats.moment(plain, power, axis=1), rtol=1e-11)


@pytest.mark.parametrize("method", ["euler-maruyama", "milstein"])
def test_components_without_noise_need_no_numbers(method):
    def drift(x, t, p):
        return (x[1], -x[0] - 0.5 * x[1], -x[2])

    every = sm.SDE(drift, lambda x, t, p: (0.0, 0.3 + 0.1 * x[1], 0.2 * x[2]), dim=3)
    some = sm.SDE(drift, lambda x, t, p: (0.3 + 0.1 * x[1], 0.2 * x[2]), dim=3, driven=(1, 2))
    dw = 0.1 * standard_increments(0, 50, 20, n_noise=3)
    ends = [follow(s, (1, 0, 1), w, step=0.01, method=method)[-1] for s, w in ((every, dw), (some, dw[:, 1:]))]
    np.testing.assert_array_equal(*ends)


def test_a_given_derivative_equals_the_numerical_one():
    dw = 0.1 * standard_increments(1, 64, 50)
    given = sm.SDE(linear, volatility, diffusion_derivative=lambda x, t, p: p[1])
    paths = [follow(s, 1.0, dw, step=0.01, method="milstein", parameters=GEOMETRIC) for s in (given, geometric("milstein"))]
    np.testing.assert_allclose(*paths, rtol=1e-8)


def test_mean_and_variance_of_ornstein_uhlenbeck_at_all_times():
    theta, sigma, h, n = 1.0, 0.5, 0.01, np.array([1, 10, 100, 500])
    sde = sm.SDE(linear, constant)
    for method in ("euler-maruyama", "weak-euler"):
        r = sm.solve(sde, 2.0, n * h, step=Fixed(h, method), n_paths=20_000, seed=1, parameters=(-theta, sigma))
        decay = 1 - theta * h  # the method's own moments are exact: no allowance for its bias
        variance = sigma**2 * h * (1 - decay ** (2 * n)) / (1 - decay**2)
        for name, value in (("mean", 2.0 * decay**n), ("variance", variance)):
            error = np.abs(r[name] - value) / r[f"{name}_se"]
            assert np.all(error < 5), f"{method} {name}: {error.values} standard errors"  # false alarms: 1e-5 over all 16


@pytest.mark.parametrize("method", DIAGONAL)
def test_results_do_not_depend_on_threads_or_on_the_times_of_record(method):
    args = dict(step=Fixed(0.1, method), n_paths=5000, seed=4, parameters=GEOMETRIC)
    one = sm.solve(geometric(method), 1.0, [5.0], workers=1, **args)
    two = sm.solve(geometric(method), 1.0, [0.3, 1.7, 5.0], workers=2, **args)
    assert one.identical(two.isel(time=[-1]))


@pytest.mark.parametrize("law", ["normal", "rademacher"])
def test_a_longer_ensemble_contains_a_shorter_one(law):
    many, few = (standard_increments(4, n, 70, 3, law) for n in (300, 7))
    np.testing.assert_array_equal(many[:, :, :7], few)
    np.testing.assert_array_equal(many[:50], standard_increments(4, 300, 50, 3, law))
    assert not np.array_equal(many, standard_increments(5, 300, 70, 3, law))


@pytest.mark.parametrize("law", ["normal", "rademacher"])
def test_increments_have_their_law_and_add_up(law):
    z = standard_increments(6, 2000, 96, 1, law)[:, 0]
    pairs = (z[::2] + z[1::2]) / math.sqrt(2)
    for x in (z, pairs):  # W(2h) = W(h) + the next, again of variance 1; 5 standard errors: false alarms 6e-7 each
        assert abs(x.mean()) < 5 / math.sqrt(x.size)
        assert abs((x**2).mean() - 1) <= 5 * (x**2).std() / math.sqrt(x.size)
    assert abs((z[1:] * z[:-1]).mean()) < 5 / math.sqrt(z.size)
    assert abs((z[:, 1:] * z[:, :-1]).mean()) < 5 / math.sqrt(z.size)


def test_faulty_paths_are_counted_and_left_out():
    # dX = X^2 dt + dW explodes on some paths; the naive loop tells which
    sde = sm.SDE(lambda x, t, p: x * x, lambda x, t, p: 1.0)
    n, h, times = 1000, 0.1, [1.0, 2.0, 3.0]
    with pytest.warns(UserWarning, match="were lost"):
        r = sm.solve(sde, 0.0, times, step=h, n_paths=n, seed=1)
    with np.errstate(all="ignore"), pytest.warns(UserWarning, match="were lost"):
        paths = follow(sde, 0.0, math.sqrt(h) * standard_increments(1, n, 30), step=h)[[10, 20, 30], 0]
    good = np.isfinite(paths)
    np.testing.assert_array_equal(r["faulty"], n - good.sum(axis=1))
    assert 0 < r["faulty"][-1] < n
    for k in range(3):
        np.testing.assert_allclose(r["mean"][k], paths[k][good[k]].mean(), rtol=1e-10)


def test_an_ensemble_without_survivors_has_no_moments():
    nowhere = sm.SDE(lambda x, t, p: 1.0 / (x - x), constant)
    with pytest.warns(UserWarning, match="were lost"):
        r = sm.solve(nowhere, 1.0, [0.0, 0.1], step=0.1, n_paths=10, parameters=(0.0, 1.0))
    np.testing.assert_array_equal(r["faulty"], [0, 10])
    assert r["mean"][0] == 1.0
    assert np.isnan(r["mean"][1])


def test_the_result_is_labelled_and_survives_a_file(tmp_path):
    args = dict(times=[0.0, 0.5], step=0.1, n_paths=100)
    scalar = sm.solve(sm.SDE(lambda x, t, p: -x, lambda x, t, p: 1), 1.0, **args)
    assert scalar["mean"].dims == scalar["faulty"].dims == ("time",)
    assert scalar.attrs["clock"] == scalar["time"].attrs["units"] == "the equation's own t"
    pair = sm.solve(sm.SDE(pair_drift, pair_diffusion, 2), (1.0, 2.0), parameters=(0.1, 0.2), **args)
    assert pair["variance_se"].dims == ("time", "component")
    np.testing.assert_array_equal(pair["mean"][0], [1.0, 2.0])
    np.testing.assert_array_equal(pair["variance"][0], 0.0)
    for result in (scalar, pair):
        result.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
        assert xr.load_dataset(tmp_path / "result.nc", engine="h5netcdf").equals(result)


def test_the_clock_of_the_coefficients_starts_at_t0():
    r = sm.solve(sm.SDE(lambda x, t, p: t, lambda x, t, p: 0.0), 0.0, [3.0], t0=1.0, step=0.5, n_paths=4)
    assert r["mean"].item() == 0.5 * (1.0 + 1.5 + 2.0 + 2.5)


OU = sm.SDE(linear, constant)
GOOD = dict(system=OU, start=1.0, times=[0.1], step=0.1, n_paths=10, parameters=(-1.0, 1.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(start=[1.0, 2.0]), r"x0: given 2 starts; allowed: one, or n_paths = 10 of them"),
        (dict(step=0.0), r"step: given 0.0; allowed: finite numbers > 0"),
        (dict(times=[0.1, 0.25]), r"times: given .*; allowed: increasing times >= t0 = 0, each a whole number of steps of 0.1"),
        (dict(times=[0.2, 0.1]), r"times: given \[0.2, 0.1\]; allowed: increasing"),
        (dict(n_paths=0), r"n_paths: given 0; allowed: a whole number >= 1"),
        (dict(seed=-1), r"seed: given -1; allowed: a whole number >= 0"),
        (dict(workers=0), r"workers: given 0; allowed: -1"),
        (dict(step=Fixed(0.1, "euler")), f"method: given euler; allowed: {', '.join(METHODS)}, or a class"),
        (
            dict(step=Fixed(0.1, "heun")),
            r"method: given heun; allowed: euler-maruyama, weak-euler, milstein.* \(for ito with diag",
        ),
        (
            dict(parameters=(1.0,)),
            r"diffusion: given a function that raises IndexError.*\(dim = 1\) and 1 param",
        ),
        (dict(parameters=(np.nan, 1.0)), r"parameters: given nan; allowed"),
        (
            dict(system=sm.SDE(linear, lambda x, t, p: (x,))),
            r"diffusion: given a function that returns \(.*\); allowed: .* a float",
        ),
        (
            dict(system=sm.SDE(linear, lambda x, t, p: float(str(x)[:3]))),
            r"diffusion: given .*; allowed: scalar code that numba",
        ),
    ],
)
def test_bad_input_names_argument_given_and_allowed(change, message):
    with pytest.raises(sm.InputError, match=message):
        sm.solve(**(GOOD | change))


def test_a_run_too_short_for_a_bar_starts_no_thread_to_wait_for_one(monkeypatch):
    class Timer:
        started = 0

        def __init__(self, seconds, go_off):
            pass

        def start(self):
            Timer.started += 1

        def cancel(self):
            pass

    monkeypatch.setattr(threading, "Timer", Timer)
    sm.solve(**GOOD)
    assert Timer.started == 0
    sm.solve(**GOOD | {"n_paths": 4_000_000})
    assert Timer.started > 0


def test_a_method_of_one_s_own_needs_no_name_in_the_list():
    class Own(METHODS["euler-maruyama"]):
        name = "own"

    one, two = (sm.solve(**GOOD | {"step": Fixed(0.1, method)}) for method in (Own, "euler-maruyama"))
    assert one.attrs["method"] == "own"
    assert one.equals(two)
    for wrong in (int, Own(), 3):
        with pytest.raises(sm.InputError, match=r"method: given .*; allowed: euler-maruyama, .*, or a class of your own"):
            sm.solve(**GOOD | {"step": Fixed(0.1, wrong)})


def test_an_equation_that_cannot_be_is_refused():
    with pytest.raises(sm.InputError, match=r"interpretation: given Ito; allowed: 'ito' or 'stratonovich'"):
        sm.SDE(linear, constant, interpretation="Ito")
    with pytest.raises(sm.InputError, match=r"driven: given \(1, 0\); allowed: increasing whole numbers from 0 to 1"):
        sm.SDE(pair_drift, pair_diffusion, 2, driven=(1, 0))
    with pytest.raises(sm.InputError, match=r"domain: given \(1.0, 0.0\); allowed: 1 pairs \(low, high\)"):
        sm.SDE(linear, constant, domain=(1.0, 0.0))
    with pytest.raises(sm.InputError, match=r"additive: given True, but b depends on x: .*; allowed: True for b\(t\)"):
        sm.solve(sm.SDE(linear, volatility, additive=True), 1.0, [0.1], step=0.1, n_paths=4, parameters=GEOMETRIC)
    with pytest.raises(sm.InputError, match=r"dim: given 0; allowed: a whole number >= 1"):
        sm.SDE(linear, constant, dim=0)
    with pytest.raises(sm.InputError, match=r"diffusion: given 1.0; allowed: a function f\(x, t, p\)"):
        sm.SDE(linear, 1.0)
    with pytest.raises(sm.InputError, match=r"increments: given shape \(3, 2, 5\); allowed: shape \(n_steps, 1, n_paths\)"):
        follow(OU, 1.0, np.zeros((3, 2, 5)), step=0.1, parameters=(-1.0, 1.0))
