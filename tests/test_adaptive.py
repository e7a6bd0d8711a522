"""Adaptive paths on a dyadic Brownian tree: the tree's law, the tolerance, one Brownian path for all tolerances, faults.

Chance enters with fixed seeds; tolerances are in standard errors, two-sided, the false-alarm rate beside each.
"""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from sde_equations import EXPLOSIVE, GEOMETRIC, constant, linear, pair_drift, volatility

import sde_momentum as sm
from sde_momentum.sde import Adaptive, KeepPaths, Langevin, PassageTimes, solve
from sde_momentum.sde.stepping.brownian_tree import brownian_keys, node_normals


def burst(x, t, p):
    return -x * x * x + p[0] * math.exp(-(((t - 5.0) / p[2]) ** 2))


def pair_diffusion(x, t, p):
    return (0.3 * x[0], p[1] * (1.0 + x[1] * x[1]) ** 0.5)


def pair_slope(x, t, p):
    return (0.3, p[1] * x[1] / (1.0 + x[1] * x[1]) ** 0.5)


def growing(x, t, p):
    return (p[0] * x[0], p[0] * x[1])


def exchanging(x, t, p):
    return (p[1] * x[1], p[1] * x[0])


def turning(x, t, p):
    return (p[0] * x[1], -p[0] * x[0])


def by_time(x, t, p):
    return ((1.0, 0.5 + p[1] * math.cos(t), -0.3), (0.2, -1.0, 0.7 + p[1] * t))


OU = sm.SDE(linear, constant, additive=True)
EXCHANGE = sm.SDE(growing, exchanging, 2, noise="scalar")  # x0 + x1 and x0 - x1 are geometric, of volatilities p1 and -p1
ADDITIVE = sm.SDE(turning, by_time, 2, noise="general", n_noise=3, additive=True)
BURST = sm.SDE(burst, volatility)
FORCED = dict(rtol=0.0, atol=1e-300)  # no step is accepted but the smallest


def adaptive(equation, x0, times, *, step, paths=(), **options):
    """`solve` with adaptive steps: `Adaptive`'s options and `solve`'s together, `paths` to keep."""
    own = {name: options.pop(name) for name in ("rtol", "atol", "max_depth") if name in options}
    statistics = [KeepPaths(paths)] if len(paths) else []
    return solve(equation, x0, times, step=Adaptive(step, **own), statistics=statistics, **options)


def normals(key, root, node, m):
    out = np.empty((m, 1))
    node_normals(*key, root, node, out)
    return out[:, 0]


def halves(dw, h, z):
    """The increments over both halves of an interval of length h (Lévy's construction)."""
    return dw / 2 + math.sqrt(h) / 2 * z, dw / 2 - math.sqrt(h) / 2 * z


def halves_with_integrals(numbers, h, z):
    """The same for dW and dU, where int (W_s - W_t) ds = (h / 2) (dW + dU / sqrt 3): the integrals add up too."""
    (dw, du), (swing, other) = np.split(numbers, 2), np.split(math.sqrt(h) * z, 2)
    first_dw = dw / 2 + math.sqrt(3) / 4 * du + swing / 4
    first = np.concatenate([first_dw, du / 4 + other / 2 - math.sqrt(3) / 4 * swing])
    second = np.concatenate([dw - first_dw, du / 4 - other / 2 - math.sqrt(3) / 4 * swing])
    whole, one, two = (
        s / 2 * (n[: len(dw)] + n[len(dw) :] / math.sqrt(3)) for s, n in ((h, numbers), (h / 2, first), (h / 2, second))
    )
    np.testing.assert_allclose(whole, one + two + h / 2 * first_dw, atol=1e-13)
    return first, second


def sra1(x, t, h, numbers):
    (dw, du), a = np.split(numbers, 2), np.array(turning(x, t, P))
    mean, start, end = (dw + du / math.sqrt(3)) / 2, np.array(by_time(x, t, P)), np.array(by_time(x, t + h, P))
    inner = np.array(turning(x + 0.75 * a * h + 1.5 * end @ mean, t + 0.75 * h, P))
    return x + (a + 2 * inner) * h / 3 + end @ dw + (start - end) @ mean


def naive(step, m, x, key, n_roots, h0, rtol, atol, max_depth):
    """The path at the end of each root interval, and its numbers of steps and of forced nodes, by plain recursion."""
    count = [0, 0]

    def follow(x, t, h, dw, root, node, level):
        first, second = (halves_with_integrals if step is sra1 else halves)(dw, h, normals(key, root, node, m))
        one = step(x, t, h, dw)
        two = step(step(x, t, h / 2, first), t + h / 2, h / 2, second)
        close = np.all(np.abs(two - one) <= atol + rtol * np.maximum(np.abs(x), np.abs(two)))
        if close or level == max_depth - 1:
            count[0] += 2
            count[1] += not close
            return two
        x = follow(x, t, h / 2, first, root, 2 * node, level + 1)
        return follow(x, t + h / 2, h / 2, second, root, 2 * node + 1, level + 1)

    values = []
    for root in range(n_roots):
        x = follow(x, T0 + root * h0, h0, math.sqrt(h0) * normals(key, root, 0, m), root, 1, 0)
        values.append(x)
    return np.array(values), *count


def milstein(a, b, slope):
    return lambda x, t, h, dw: x + a(x, t) * h + b(x, t) * dw + b(x, t) * slope(x, t) * (dw**2 - h) / 2


P = (0.7, 0.4)
T0 = 0.3
CASES = {
    "dim 1": (GEOMETRIC, milstein(lambda x, t: P[0] * x, lambda x, t: P[1] * x, lambda x, t: P[1])),
    "dim 2": (
        sm.SDE(pair_drift, pair_diffusion, 2),
        milstein(*(lambda x, t, f=f: np.array(f(x, t, P)) for f in (pair_drift, pair_diffusion, pair_slope))),
    ),
    "given derivative": (
        sm.SDE(pair_drift, pair_diffusion, 2, diffusion_derivative=pair_slope),
        milstein(*(lambda x, t, f=f: np.array(f(x, t, P)) for f in (pair_drift, pair_diffusion, pair_slope))),
    ),
    "scalar": (  # (b . grad) b = p1^2 x
        EXCHANGE,
        lambda x, t, h, dw: x + P[0] * x * h + P[1] * x[::-1] * dw + P[1] ** 2 * x * (dw**2 - h) / 2,
    ),
    "additive": (ADDITIVE, sra1),
    "driven": (
        sm.SDE(pair_drift, lambda x, t, p: p[1] * x[1], 2, driven=(1,)),
        milstein(
            lambda x, t: np.array(pair_drift(x, t, P)),
            lambda x, t: np.array([0.0, P[1] * x[1]]),
            lambda x, t: np.array([0.0, P[1]]),
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_paths_equal_a_plain_recursion(case):
    sde, step = CASES[case]
    x0 = 1.0 if sde.dim == 1 else (1.0, -0.5)
    args = dict(rtol=3e-3, atol=1e-4, max_depth=5)
    times = T0 + 0.5 * np.arange(1, 4)
    r = adaptive(sde, x0, times, step=0.5, n_paths=5, paths=range(5), seed=3, parameters=P, t0=T0, **args)
    some = 0
    for i, key in enumerate(brownian_keys(3, 0, 5).T):
        start = np.atleast_1d(x0).astype(float)
        values, steps, forced = naive(
            step, sde.n_noise * (2 if step is sra1 else 1), start, key, 3, 0.5, args["rtol"], args["atol"], 5
        )
        np.testing.assert_allclose(r["path_value"][i].values.reshape(3, -1), values, rtol=1e-7)
        assert (r["path_steps"][i, -1], r["path_forced"][i, -1]) == (steps, forced)
        some += steps
    assert float(r["steps"][-1]) == some / 5
    least, most = 3 * 2, 3 * 2**5  # of 3 intervals, none of them refined or all to the smallest step: this is neither
    assert least < some / 5 < most


def test_the_numbers_of_the_tree_are_independent_standard_normals():
    keys = brownian_keys(0, 0, 10_000).T
    columns = {
        "root 0": [normals(k, 0, 0, 3) for k in keys],
        "its middle": [normals(k, 0, 1, 3) for k in keys],
        "a quarter": [normals(k, 0, 2, 3) for k in keys],
        "the next root": [normals(k, 1, 0, 3) for k in keys],
    }
    z = np.concatenate([np.array(c).T for c in columns.values()])
    n = z.shape[1]
    for row in (*z, np.array([normals(keys[0], i % 100, i // 100, 2)[0] for i in range(n)])):
        assert stats.kstest(row, stats.norm.cdf).pvalue > 1e-4  # false alarms: 1e-4 each
    correlation = np.corrcoef(np.concatenate([z, z**2, z[:, 1:][:, [*range(n - 1), 0]]]))
    off = correlation[~np.eye(len(correlation), dtype=bool)]
    assert np.abs(off).max() < 5.2 / math.sqrt(n)  # false alarms: 1e-4 over the 630 pairs


def test_moments_of_geometric_brownian_motion():
    mu, sigma = 0.5, 0.3
    args = dict(step=0.5, n_paths=20_000, seed=5, parameters=(mu, sigma))
    r = adaptive(GEOMETRIC, 1.0, [1.0, 2.0], rtol=1e-4, atol=0.0, **args)
    t = r["time"]
    mean, square = np.exp(mu * t), np.exp((2 * mu + sigma**2) * t)
    # 5 standard errors, false alarms: 6e-7 each; the bias is below the mean error of a path, 2e-3
    assert np.all(np.abs(r["mean"] - mean) < 5 * r["mean_se"] + 2e-3)
    assert np.all(np.abs(r["variance"] - (square - mean**2)) < 5 * r["variance_se"] + 1e-2)
    assert np.all(r["forced"] == 0)
    assert np.all(r["faulty"] == 0)


def test_moments_of_ornstein_uhlenbeck_with_additive_noise():
    args = dict(rtol=1e-3, atol=1e-3, step=0.5, n_paths=20_000, seed=6, parameters=(-1.0, 0.5))
    r = adaptive(OU, 2.0, [1.0, 3.0], **args)
    decay = np.exp(-r["time"])
    assert np.all(np.abs(r["mean"] - 2 * decay) < 5 * r["mean_se"] + 2e-3)  # false alarms: 6e-7 each
    assert np.all(np.abs(r["variance"] - 0.125 * (1 - decay**2)) < 5 * r["variance_se"] + 2e-3)


def wiener(n_paths, seed, step, time):
    """W(time) of the paths of the same seed and step."""
    w = adaptive(OU, 0.0, [time], step=step, n_paths=n_paths, seed=seed, paths=range(n_paths), parameters=(0.0, 1.0))
    return w["path_value"].values[:, 0]


@pytest.mark.parametrize("noise", ["diagonal", "scalar"])
def test_strong_error_falls_with_the_tolerance(noise):
    # exact on the same Brownian path; for scalar noise in two components that multiply each other's
    (mu, sigma), n, batches = (0.5, 0.5), 3200, 16
    w = wiener(n, 1, 0.25, 1.0)
    exact = np.exp(mu - sigma**2 / 2 + sigma * w)[:, None]
    sde, x0 = GEOMETRIC, 1.0
    if noise == "scalar":
        sde, x0 = EXCHANGE, (1.0, 0.0)
        minus = np.exp(mu - sigma**2 / 2 - sigma * w)
        exact = np.stack([exact[:, 0] + minus, exact[:, 0] - minus], axis=1) / 2
    tolerances = 10.0 ** np.arange(-2, -4.6, -0.5)
    errors, steps = [], []
    for tol in tolerances:
        args = dict(step=0.25, n_paths=n, seed=1, paths=range(n), parameters=(mu, sigma))
        r = adaptive(sde, x0, [1.0], rtol=tol, atol=tol if noise == "scalar" else 0.0, **args)
        assert r["forced"][0] == 0
        found = np.abs(r["path_value"].values.reshape(n, -1) - exact).mean(axis=1)
        errors.append(found.reshape(batches, -1).mean(axis=1))
        steps.append(float(r["steps"][0]))
    slopes = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    slope, se = slopes.mean(), slopes.std(ddof=1) / math.sqrt(batches)
    work = np.polyfit(np.log(steps), np.log(np.mean(errors, axis=1)), 1)[0]
    print(f"error as tolerance^{slope:.3f} +- {se:.3f}, as steps^{work:.3f}, {errors[-1].mean():.1e} at the last")
    assert slope - 4 * se > 0.5  # false alarms: 3e-5, were it 1/2
    assert slope + 4 * se < 0.7
    assert -1.05 < work < -0.8  # of steps of one size: -1
    assert np.mean(errors[-1]) < 2e-3


def test_all_tolerances_follow_one_brownian_path():
    args = dict(step=0.5, n_paths=50, seed=2, paths=range(50), parameters=(0.5, 0.5))
    limit = adaptive(GEOMETRIC, 1.0, [1.0, 2.0], **FORCED, max_depth=14, **args)["path_value"]
    gaps = []
    for tol in (1e-2, 1e-3, 1e-4, 1e-5):
        near = adaptive(GEOMETRIC, 1.0, [1.0, 2.0], rtol=tol, atol=0.0, max_depth=14, **args)["path_value"]
        gaps.append(float(np.abs(near / limit - 1).max()))
    print(f"largest relative distance from the limit: {gaps}")
    assert np.all(np.diff(gaps) < 0)
    assert gaps[-1] < 5e-3  # of any path


def test_refining_one_interval_changes_no_other():
    # a burst in [5, 5.5) alone: until then the paths are the same, whatever its size
    args = dict(step=0.5, n_paths=20, seed=2, paths=range(20), rtol=1e-2)
    runs = [adaptive(BURST, 1.0, [4.0, 6.0], parameters=(a, 0.3, 0.05), **args) for a in (0.0, 300.0)]
    for name in ("path_value", "path_steps"):
        np.testing.assert_array_equal(runs[0][name][:, 0], runs[1][name][:, 0])
    assert np.all(runs[0]["path_steps"][:, 1] < runs[1]["path_steps"][:, 1])


def test_without_drift_additive_noise_is_followed_exactly():
    n, b = 4000, np.array(by_time(0, 0, (0.0, 0.0)))
    args = dict(step=0.25, n_paths=n, paths=range(n), parameters=(0.0, 0.0))
    r = adaptive(ADDITIVE, (0.0, 1.0), [1.0, 2.0], rtol=1e-12, atol=1e-12, **args)
    deep = adaptive(ADDITIVE, (0.0, 1.0), [1.0, 2.0], **FORCED, max_depth=5, **args)
    np.testing.assert_allclose(r["path_value"], deep["path_value"], atol=1e-13)
    np.testing.assert_array_equal(r["steps"], [8, 16])
    covariance = np.cov(r["path_value"][:, 1].values.T)
    expected = 2 * b @ b.T
    width = 5 * np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / n)
    assert np.all(np.abs(covariance - expected) < width)  # false alarms: 2e-6


def test_a_short_force_takes_fewer_steps_than_steps_of_one_size():
    n, p, times = 100, (2000.0, 0.2, 0.01), [5.5]
    args = dict(step=0.5, n_paths=n, paths=range(n), parameters=p)
    limit = adaptive(BURST, 1.0, times, **FORCED, max_depth=13, **args)["path_value"]

    def root_mean_square(r):
        return float(np.sqrt(((r["path_value"] - limit) ** 2).mean()))

    fixed = adaptive(BURST, 1.0, times, **FORCED, max_depth=8, **args)
    ours = adaptive(BURST, 1.0, times, rtol=2e-4, atol=2e-4, max_depth=13, **args)
    print(f"error {root_mean_square(ours):.2e} in {float(ours.steps[0]):.0f} steps ({float(ours.tried[0]):.0f} tried), ", end="")
    print(f"{root_mean_square(fixed):.2e} in {float(fixed.steps[0]):.0f} of one size")
    assert fixed["steps"] == 11 * 256
    assert root_mean_square(ours) < root_mean_square(fixed)
    assert ours["steps"] < fixed["steps"] / 3
    assert ours["tried"] < fixed["steps"]  # with all that was computed and refused


def test_a_stiff_transient_takes_fewer_steps_than_steps_of_one_size():
    # dX = -X^3 dt + X dW / 2 from 50: steps of one size explode above 2 / 50^2
    args = dict(step=1.0, n_paths=50, paths=range(50), parameters=(0.0, 0.5, 1.0))
    limit = adaptive(BURST, 50.0, [1.0], **FORCED, max_depth=16, **args)["path_value"]
    ours = adaptive(BURST, 50.0, [1.0], rtol=1e-2, atol=0.0, max_depth=16, **args)
    assert ours["forced"][0] == 0
    assert ours["steps"] < 200
    assert np.sqrt(((ours["path_value"] - limit) ** 2).mean()) < 0.05
    with pytest.warns(UserWarning, match="were lost"):
        fixed = adaptive(BURST, 50.0, [1.0], **FORCED, max_depth=9, **args)
    assert fixed["faulty"] == 50


def test_results_do_not_depend_on_threads_or_on_the_times_of_record():
    args = dict(step=0.5, n_paths=5000, seed=4, paths=[0, 4999], parameters=(0.5, 0.5))
    one = adaptive(GEOMETRIC, 1.0, [2.0], workers=1, **args)
    two = adaptive(GEOMETRIC, 1.0, [0.5, 1.0, 2.0], workers=2, **args)
    assert one.identical(two.isel(time=[-1]))
    few = adaptive(GEOMETRIC, 1.0, [2.0], **(args | dict(n_paths=7, paths=[0])))
    np.testing.assert_array_equal(few["path_value"][0], one["path_value"][0])
    args["seed"] = 5
    assert np.all(adaptive(GEOMETRIC, 1.0, [2.0], **args)["path_value"] != one["path_value"])


def test_forced_steps_are_counted():
    args = dict(step=0.5, n_paths=30, paths=[3], parameters=(0.5, 0.5))
    r = adaptive(GEOMETRIC, 1.0, [0.5, 1.5], **FORCED, max_depth=3, **args)
    np.testing.assert_array_equal(r["forced"], [30 * 4, 30 * 12])
    np.testing.assert_array_equal(r["steps"], [8, 24])
    np.testing.assert_array_equal(r["steps_se"], 0.0)
    np.testing.assert_array_equal(r["tried"], [18, 54])  # 3 at the root and at a right child, 2 at a left one
    np.testing.assert_array_equal(r["path_forced"], [[4, 12]])
    assert r.attrs["paths_with_forced"] == 30
    some = adaptive(GEOMETRIC, 1.0, [1.5], rtol=3e-3, max_depth=4, **args)
    assert 0 < some["forced"] < 30 * 24


def test_faulty_paths_are_counted_and_left_out():
    with pytest.warns(UserWarning, match="were lost"):
        r = adaptive(EXPLOSIVE, 0.0, [1.0, 2.0, 3.0], step=0.5, n_paths=200, paths=range(200))
    good = np.isfinite(r["path_value"].values)
    np.testing.assert_array_equal(r["faulty"], 200 - good.sum(axis=0))
    assert 0 < r["faulty"][-1] < 200
    np.testing.assert_array_equal(r["fault_path"], np.flatnonzero(~good[:, -1]))
    np.testing.assert_array_equal(r["fault_time"], 1.0 + good.sum(axis=1)[~good[:, -1]])
    for k in range(3):
        np.testing.assert_allclose(r["mean"][k], r["path_value"].values[good[:, k], k].mean(), rtol=1e-10)


def test_an_ensemble_without_survivors_has_no_moments():
    with pytest.warns(UserWarning, match="were lost"):
        r = adaptive(EXPLOSIVE, 1e200, [0.0, 1.0], step=0.5, n_paths=10, max_depth=3)
    np.testing.assert_array_equal(r["faulty"], [0, 10])
    assert r["mean"][0] == 1e200
    assert np.isnan(r["mean"][1])
    np.testing.assert_array_equal(r["fault_time"], 1.0)


@pytest.mark.parametrize("outside", ["fault", "clip"])
def test_the_rule_of_the_domain_holds_at_every_step(outside):
    sde = sm.SDE(linear, constant, domain=(0.5, 2.0), outside=outside)
    n = 300
    args = dict(step=0.25, n_paths=n, paths=range(n), parameters=(0.0, 0.5), max_depth=6)
    with pytest.warns(UserWarning, match="were lost") if outside == "fault" else nullcontext():
        r = adaptive(sde, 1.0, [1.0], **args)
    value = r["path_value"].values[:, 0]
    inside = np.isfinite(value)
    assert np.all((value[inside] >= 0.5) & (value[inside] <= 2.0))
    assert 0 < r.attrs["paths_with_exits"] < n
    assert outside == "clip" or r["forced"] == 0  # a fault is no forced step
    if outside == "fault":
        assert r["faulty"] == n - inside.sum() == r.attrs["exits"] == r.attrs["paths_with_exits"]
    else:
        assert r["faulty"] == 0
        assert r.attrs["exits"] >= r.attrs["paths_with_exits"]
        assert np.any(value == 0.5)


def test_the_result_is_labelled_and_survives_a_file(tmp_path):
    pair = sm.SDE(pair_drift, pair_diffusion, 2)
    r = adaptive(pair, (1.0, 2.0), [0.0, 0.5], step=0.5, n_paths=10, parameters=P, paths=[1])
    assert r["variance_se"].dims == ("time", "component")
    assert r["path_value"].dims == ("path", "time", "component")
    np.testing.assert_array_equal(r["mean"][0], [1.0, 2.0])
    assert r.attrs["clock"] == r["time"].attrs["units"] == "the equation's own t"
    r.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    assert xr.load_dataset(tmp_path / "result.nc", engine="h5netcdf").equals(r)


GOOD = dict(equation=GEOMETRIC, x0=1.0, times=[1.0], step=0.5, n_paths=10, parameters=(-1.0, 1.0))
GENERAL = sm.SDE(pair_drift, by_time, 2, noise="general", n_noise=3)
CROSSED = sm.SDE(pair_drift, lambda x, t, p: (x[1], 1.0), 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(times=[0.7]), r"times: given \[0.7\]; allowed: increasing times >= t0 = 0, each a whole number of steps of 0.5"),
        (dict(rtol=-1.0), r"rtol: given -1.0; allowed: finite numbers >= 0"),
        (dict(atol=[0.1]), r"atol: given shape \(1,\); allowed: one number"),
        (dict(rtol=0.0, atol=0.0), r"atol: given 0.0; allowed: a number > 0 where rtol is 0"),
        (dict(step=0.0), r"step: given 0.0; allowed: finite numbers > 0"),
        (dict(n_paths=0), r"n_paths: given 0; allowed: a whole number >= 1"),
        (dict(seed=-1), r"seed: given -1; allowed: a whole number >= 0"),
        (dict(max_depth=0), r"max_depth: given 0; allowed: a whole number >= 1"),
        (dict(max_depth=49), r"max_depth: given 49; allowed: a whole number from 1 to 48"),
        (dict(paths=[10]), r"numbers: given \[10\]; allowed: different whole numbers from 0 to 9"),
        (dict(workers=0), r"workers: given 0; allowed: -1"),
        (dict(equation=3.0), r"equation: given 3.0; allowed: an SDE, OrnsteinUhlenbeck or Langevin"),
        (dict(equation=Langevin(linear), x0=(1.0, 0.0)), r"equation: given Langevin; allowed: an Ito SDE with diagonal"),
        (dict(equation=GENERAL, x0=(1.0, 0.0)), r"equation: given ito with general noise; allowed: an Ito SDE with diagonal"),
        (
            dict(equation=sm.SDE(linear, constant, interpretation="stratonovich")),
            r"equation: given stratonovich with diagonal noise; allo",
        ),
        (
            dict(equation=CROSSED, x0=(1.0, 0.0)),
            r"diffusion: given b_0 that depends on x_1: 0.0 and 0.125; allowed: b_i of x_i and t alone: steps that depend on dW",
        ),
        (
            dict(equation=sm.SDE(linear, lambda x, t, p: float(str(x)[:3]))),
            r"diffusion: given .*; allowed: scalar code that numba",
        ),
        (
            dict(parameters=(1.0,)),
            r"diffusion: given a function that raises IndexError.*\(dim = 1\) and 1 param",
        ),
    ],
)
def test_bad_input_names_argument_given_and_allowed(change, message):
    with pytest.raises(sm.InputError, match=message):
        adaptive(**(GOOD | change))


def test_first_passages_are_refused():
    with pytest.raises(sm.InputError, match=r"statistics: given PassageTimes\(.*; allowed: no passages with adaptive m"):
        solve(GEOMETRIC, 1.0, [1.0], step=Adaptive(0.5), n_paths=1, parameters=P, statistics=[PassageTimes(linear)])
