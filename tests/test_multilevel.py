"""Multilevel Monte Carlo: exact expectations, the error that was asked for, rates, reproducibility (Giles 2008).

Chance enters with fixed seeds; tolerances are in standard errors, two-sided, the false-alarm rate beside each.
"""

import math

import numpy as np
import pytest
import xarray as xr
from given_noise import follow
from scipy import stats
from sde_equations import EXPLOSIVE, GEOMETRIC, constant, linear, volatility

import sde_momentum as sm
from sde_momentum.core.random import MULTILEVEL, fill_normal, streams
from sde_momentum.sde import METHODS, Covariance, Functional, KeepPaths, Langevin, Multilevel, UntilError, solve
from sde_momentum.sde.kernel import compiled
from sde_momentum.sde.stepping.multilevel import Pairs
from sde_momentum.sde.task import Task


def identity(x, t, p):
    return x


def square(x, t, p):
    return x * x


def call(x, t, p):
    return max(x - 1.0, 0.0)


def bounded(x, t, p):
    return max(0.0, min(x, 9.0))


def no_drift(x, t, p):
    return (0.0, 0.0)


def mixing(x, t, p):
    return ((1.0, 0.5, -0.3), (0.2, -1.0, 0.7))


OU = sm.SDE(linear, constant)
STRATONOVICH = sm.SDE(lambda x, t, p: (p[0] - 0.5 * p[1] * p[1]) * x, volatility, interpretation="stratonovich")  # the same


def euler_second_moment(theta, sigma, x0, h, n):
    """E[X_n^2] of X -> (1 - theta h) X + sigma dW."""
    decay = (1.0 - theta * h) ** 2
    return x0**2 * decay**n + sigma**2 * h * (1.0 - decay**n) / (1.0 - decay)


def black_scholes(mu, sigma):
    """E[max(X_1 - 1, 0)], X_0 = 1 (Black, Scholes 1973, before discounting)."""
    d = (mu + sigma**2 / 2) / sigma
    return math.exp(mu) * stats.norm.cdf(d) - stats.norm.cdf(d - sigma)


def multilevel(equation, x0, time, functional, *, error, step, method="milstein", max_level=12, **options):
    """`solve` with multilevel steps: `Multilevel`'s options and `solve`'s together."""
    asked = [Functional("f", functional)]
    stepping = Multilevel(step, method, max_level)
    return solve(equation, x0, time, step=stepping, n_paths=UntilError(absolute=error), statistics=asked, **options)


@pytest.mark.parametrize("seed", range(4))
def test_the_mean_of_geometric_brownian_motion(seed):
    r = multilevel(GEOMETRIC, 1.0, 1.0, identity, error=4e-3, step=0.25, seed=seed, parameters=(0.5, 0.5))
    h = float(r["step"][-1])
    exact_at_h = (1 + 0.5 * h) ** (1 / h)  # of the finest level: no allowance for the bias
    assert abs(r["mean"] - exact_at_h) < 5 * r["mean_se"]  # false alarms: 6e-7
    assert abs(exact_at_h - math.exp(0.5)) < r["bias"] + 5 * r["bias_se"] < 0.5 * 4e-3 + 5 * r["bias_se"]
    assert r["reached"]


@pytest.mark.parametrize("seed", range(4))
def test_the_second_moment_of_ornstein_uhlenbeck(seed):
    args = dict(error=4e-3, step=0.125, method="euler-maruyama", seed=seed, parameters=(-1.0, 0.7), t0=-1.0)
    r = multilevel(OU, 2.0, 1.0, square, **args)
    h = float(r["step"][-1])
    assert abs(r["mean"] - euler_second_moment(1.0, 0.7, 2.0, h, round(2 / h))) < 5 * r["mean_se"]  # false alarms: 6e-7
    assert abs(r["mean"] - (4 * math.exp(-4) + 0.245 * (1 - math.exp(-4)))) < 5 * r["rms_error"]


@pytest.mark.parametrize("method", ["milstein", "euler-maruyama", "heun"])
@pytest.mark.parametrize("seed", range(3))
def test_a_call_payoff(method, seed):
    mu, sigma = 0.05, 0.2
    sde = STRATONOVICH if method == "heun" else GEOMETRIC
    r = multilevel(sde, 1.0, 1.0, call, error=5e-4, step=0.5, method=method, seed=seed, parameters=(mu, sigma))
    assert abs(r["mean"] - black_scholes(mu, sigma)) < 5 * r["mean_se"] + r["bias"] + 5 * r["bias_se"]  # false alarms: 1e-6
    assert r["rms_error"] <= 5e-4


@pytest.mark.parametrize(
    ("sde", "functional", "method", "parameters", "exact", "error"),
    [
        (GEOMETRIC, identity, "milstein", (1.0, 0.3), math.e, 0.02),
        (OU, square, "euler-maruyama", (-1.0, 0.5), 0.875 * math.exp(-2) + 0.125, 5e-3),
        (GEOMETRIC, call, "milstein", (0.05, 0.2), black_scholes(0.05, 0.2), 1e-3),
    ],
)
def test_the_error_over_independent_seeds_is_at_most_the_one_asked_for(sde, functional, method, parameters, exact, error):
    n = 30
    args = dict(error=error, step=0.25, method=method, parameters=parameters)
    errors = [float(multilevel(sde, 1.0, 1.0, functional, seed=100 + i, **args)["mean"]) - exact for i in range(n)]
    rms = math.sqrt(np.mean(np.square(errors)))
    print(f"rms error {rms:.2e} for {error:.2e}")
    # a law of mean square error^2 whose errors are all chance exceeds this with probability 1e-4
    assert rms <= error * math.sqrt(stats.chi2.ppf(1 - 1e-4, n) / n)
    assert rms > 0.2 * error  # nor is far more done than asked


def problem(sde, functional, method, n_steps, parameters=(), x0=1.0, seed=0, step=0.25):
    asked = [Functional("f", functional)]
    task = Task.of(sde, x0, [n_steps * step], step=step, seed=seed, parameters=parameters, statistics=asked)
    return Pairs(task, compiled(sde, METHODS[method], len(parameters), task.statistics.functionals))


@pytest.mark.parametrize(
    ("sde", "functional", "method", "rate"),
    [
        (GEOMETRIC, identity, "milstein", 2.0),
        (GEOMETRIC, call, "euler-maruyama", 1.0),
        (OU, square, "euler-maruyama", 2.0),
        (STRATONOVICH, call, "heun", 2.0),
    ],
)
def test_the_variance_of_the_differences_decays_with_twice_the_strong_order(sde, functional, method, rate):
    batches, levels = 16, np.arange(1, 8)
    logs = []
    for level in levels:
        ends, _ = problem(sde, functional, method, 4, (-0.2, 0.4)).differences(int(level), 4 << int(level), 0, 16384)
        logs.append(np.log2((ends[0, -1] - ends[1, -1]).reshape(batches, -1).var(axis=1)))
    h = 2.0**-levels  # log V = c + p log h + d h: d is of the next order
    design = np.stack([np.ones_like(h), np.log2(h), h], axis=1)
    slopes = np.linalg.lstsq(design, np.array(logs), rcond=None)[0][1]
    slope, se = slopes.mean(), slopes.std(ddof=1) / math.sqrt(batches)
    print(f"{method}: variances fall as h^{slope:.3f} +- {se:.3f}")
    assert se < 0.05
    assert abs(slope - rate) < stats.t.ppf(1 - 5e-5, batches - 1) * se  # false alarms: 1e-4


def test_the_cost_grows_as_the_inverse_square_of_the_error():
    def steps(error, method):
        r = multilevel(GEOMETRIC, 1.0, 1.0, call, error=error, step=0.25, method=method, seed=3, parameters=(0.05, 0.2))
        assert r.attrs["path_steps"] == float((r["n_paths"] * r["cost"]).sum())
        return r.attrs["path_steps"]

    # variances fall faster than costs grow: error^-2, a factor of 16; chunks and new levels leave a tenth
    assert 0.9 < steps(5e-5, "milstein") / steps(2e-4, "milstein") / 16 < 1.1
    # both alike: error^-2 log(error)^2; one level at a time it would be error^-3, a factor of 64
    assert 16 < steps(1e-4, "euler-maruyama") / steps(4e-4, "euler-maruyama") < 40


def test_coarse_and_fine_paths_follow_one_brownian_path():
    sde = sm.SDE(no_drift, mixing, 2, noise="general", n_noise=3)
    ends, _ = problem(sde, lambda x, t, p: x[0] - x[1], "euler-maruyama", 5, x0=(0.0, 1.0)).differences(3, 40, 256, 4096)
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-13)
    # and that path is Brownian, of covariance B B^T T; 5 standard errors: false alarms 2e-6
    n, w = ends.shape[2], np.array(mixing(0, 0, 0))
    expected = 5 * 0.25 * w @ w.T
    width = 5 * np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / n)
    assert np.all(np.abs(np.cov(ends[0, :2]) - expected) < width)
    assert np.all(np.abs(ends[0, :2].mean(axis=1) - [0.0, 1.0]) < 5 * np.sqrt(np.diag(expected) / n))


def test_a_pair_equals_the_two_paths_on_given_increments():
    level, n_fine, n_paths, p = 2, 20, 128, (0.3, 0.4)  # more than a buffer, and not a whole number of them
    ends, _ = problem(GEOMETRIC, identity, "milstein", 5, p, seed=7).differences(level, n_fine, 0, n_paths)
    base = np.random.SeedSequence(7, spawn_key=(level,)).generate_state(1, np.uint64)
    states = streams(base + np.arange(n_paths, dtype=np.uint64), MULTILEVEL)
    z = np.empty((n_fine, n_paths))
    fill_normal(states, z)
    fine = math.sqrt(0.25 / 4) * z[:, None]
    coarse = fine[::2] + fine[1::2]
    for which, (dw, h) in enumerate(((fine, 0.0625), (coarse, 0.125))):
        last = follow(GEOMETRIC, 1.0, dw, step=h, method="milstein", parameters=p)[-1, 0]
        np.testing.assert_allclose(ends[which], np.stack([last, last]), rtol=1e-8)


def test_results_do_not_depend_on_threads():
    args = dict(error=5e-4, step=0.25, seed=2, parameters=(0.05, 0.2))
    one, two = (multilevel(GEOMETRIC, 1.0, 1.0, call, workers=n, **args) for n in (1, 2))
    assert one.identical(two)
    args["seed"] = 3
    assert one["mean"] != multilevel(GEOMETRIC, 1.0, 1.0, call, **args)["mean"]


def test_a_path_has_the_same_noise_in_any_chunk():
    whole, _ = problem(GEOMETRIC, identity, "milstein", 4, (0.1, 0.2)).differences(1, 8, 0, 512)
    part, _ = problem(GEOMETRIC, identity, "milstein", 4, (0.1, 0.2)).differences(1, 8, 256, 128)
    np.testing.assert_array_equal(whole[..., 256:384], part)
    other, _ = problem(GEOMETRIC, identity, "milstein", 4, (0.1, 0.2)).differences(2, 8, 256, 128)
    assert not np.any(other == part)


def test_pairs_with_a_faulty_path_are_counted_and_left_out():
    # dX = X^2 dt + dW explodes on some paths; max(0, NaN) = 0 must not hide it
    with pytest.warns(UserWarning, match="were lost"):
        r = multilevel(EXPLOSIVE, 0.0, 1.5, bounded, error=0.05, step=0.125, method="euler-maruyama")
    assert np.isfinite(r["mean"])
    assert 0 < r["faulty"][-1] < r["n_paths"][-1]
    n = int(r["n_paths"][2])
    ends, _ = problem(EXPLOSIVE, bounded, "euler-maruyama", 12, x0=0.0, step=0.125).differences(2, 48, 0, n)
    assert int(r["faulty"][2]) == n - np.isfinite(ends).all(axis=(0, 1)).sum()


def test_without_survivors_there_is_no_result():
    with pytest.warns(UserWarning, match="were lost"):
        r = multilevel(EXPLOSIVE, 1e200, 1.0, bounded, error=0.1, step=0.125, method="euler-maruyama")
    assert np.isnan(r["mean"])
    assert np.isnan(r["rms_error"])
    assert not r["reached"]
    np.testing.assert_array_equal(r["faulty"], r["n_paths"])


def test_a_bias_that_does_not_fit_is_reported():
    r = multilevel(GEOMETRIC, 1.0, 1.0, identity, error=1e-3, step=1.0, max_level=2, parameters=(1.0, 0.1))
    assert not r["reached"]
    assert r["bias"] > 5e-4
    assert list(r["level"]) == [0, 1, 2]


def test_exits_from_a_domain_are_counted():
    sde = sm.SDE(linear, constant, domain=(0.0, 2.0), outside="reflect")
    r = multilevel(sde, 1.0, 1.0, identity, error=0.05, step=0.125, parameters=(0.0, 1.0))
    assert np.all(r["exits"] > 0)
    assert np.all(r["faulty"] == 0)
    assert multilevel(sde, 1.0, 1.0, identity, error=0.05, step=0.125, parameters=(0.0, 0.01))["exits"].sum() == 0


def test_the_result_survives_a_file(tmp_path):
    r = multilevel(GEOMETRIC, 1.0, 1.0, identity, error=0.1, step=0.5, parameters=(0.5, 0.5))
    r.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    assert xr.load_dataset(tmp_path / "result.nc", engine="h5netcdf").equals(r)
    assert r["n_paths"].dims == ("level",)
    assert r.attrs["clock"] == r["step"].attrs["units"] == "the equation's own t"


GOOD = dict(
    equation=GEOMETRIC, x0=1.0, time=1.0, functional=identity, error=0.1, step=0.5, method="milstein", parameters=(-1.0, 1.0)
)
GENERAL = sm.SDE(no_drift, mixing, 2, noise="general", n_noise=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(time=0.7), r"times: given 0.7; allowed: increasing times >= t0 = 0, each a whole number of steps of 0.5 after it"),
        (dict(time=0.0), r"times: given \[0.\]; allowed: one time > t0 = 0 with Multilevel"),
        (dict(time=[1.0, 2.0]), r"times: given \[1. 2.\]; allowed: one time > t0 = 0 with Multilevel"),
        (dict(error=0.0), r"absolute: given 0.0; allowed: finite numbers > 0"),
        (dict(error=[0.1, 0.2]), r"absolute: given shape \(2,\); allowed: one number"),
        (dict(step=-1.0), r"step: given -1.0; allowed: finite numbers > 0"),
        (dict(max_level=1), r"max_level: given 1; allowed: a whole number >= 2"),
        (dict(seed=-1), r"seed: given -1; allowed: a whole number >= 0"),
        (dict(workers=0), r"workers: given 0; allowed: -1"),
        (dict(functional=3.0), r"f: given 3.0; allowed: a function f\(x, t, p\)"),
        (dict(functional=lambda x, t, p: (x,)), r"f: given a function that returns \(.*\); allowed: a function f"),
        (dict(functional=lambda x, t, p: p[2]), r"f: given a function that raises IndexError.*\(dim = 1\) and 2 parameters"),
        (dict(functional=lambda x, t, p: float(str(x)[:3])), r"f: given .*; allowed: scalar code that numba"),
        (
            dict(method="weak-euler"),
            r"method: given weak-euler; allowed: euler-maruyama, milstein.* \(following paths with one draw a step, for ito",
        ),
        (dict(method="sra1"), r"method: given sra1; allowed: euler-maruyama, milstein"),
        (
            dict(equation=GENERAL, x0=(0.0, 0.0), functional=lambda x, t, p: x[0]),
            r"method: given milstein; allowed: euler-maruyama \(.* ito with general noise",
        ),
        (dict(x0=(1.0, 2.0)), r"x0: given a start for each path; allowed: one start"),
    ],
)
def test_bad_input_names_argument_given_and_allowed(change, message):
    with pytest.raises(sm.InputError, match=message):
        multilevel(**(GOOD | change))


def test_an_equation_that_no_such_method_steps_is_refused():
    langevin = Langevin(lambda x, t, p: -x)
    with pytest.raises(
        sm.InputError,
        match=r"equation: given Langevin; allowed: an SDE that one of euler-maruyama, exponential-euler, milstein, heun",
    ):
        multilevel(langevin, (0.0, 0.0), 1.0, lambda x, t, p: x[0], error=0.1, step=0.5)


def test_the_mean_of_the_state_itself_needs_no_functional():
    args = dict(step=Multilevel(0.25), n_paths=UntilError(absolute=4e-3), parameters=(0.5, 0.5))
    with_one = multilevel(GEOMETRIC, 1.0, 1.0, identity, error=4e-3, step=0.25, parameters=(0.5, 0.5))
    assert float(solve(GEOMETRIC, 1.0, [1.0], **args)["mean"]) == float(with_one["mean"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(n_paths=100), r"n_paths: given 100; allowed: UntilError\(absolute=...\) alone"),
        (dict(n_paths=UntilError(relative=0.1)), r"n_paths: given UntilError.*; allowed: UntilError\(absolute=...\) alone"),
        (dict(n_paths=UntilError(absolute=0.1, max_paths=9)), r"n_paths: given UntilError.*; allowed: UntilError\(absolute"),
        (dict(statistics=[Covariance()]), "statistics: given 0 functionals and 1 others; allowed: one Functional alone"),
        (dict(statistics=[KeepPaths([1])]), "statistics: given 0 functionals and 1 others; allowed: one Functional alone"),
        (
            dict(statistics=[Functional("f", identity), Functional("g", identity)]),
            "statistics: given 2 functionals and 0 others; allowed: one Functional alone",
        ),
        (dict(equation=GENERAL, x0=(0.0, 0.0), step=Multilevel(0.5, "euler-maruyama")), "statistics: given 0 functionals"),
        (dict(checkpoint="run.npz"), "checkpoint: given run.npz; allowed: none with Multilevel steps"),
    ],
)
def test_what_a_multilevel_estimate_cannot_give_is_refused(change, message):
    ask = dict(equation=GEOMETRIC, x0=1.0, times=[1.0], step=Multilevel(0.5), n_paths=UntilError(absolute=0.1))
    with pytest.raises(sm.InputError, match=message):
        solve(**(ask | {"parameters": (-1.0, 1.0)} | change))
