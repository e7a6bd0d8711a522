"""Observers: equal to plain numpy on all values at once, whatever the chunks, slabs and merges; errors that are right.

Chance enters with fixed seeds; tolerances are in standard errors, two-sided, the false-alarm rate beside each.
"""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from sde_momentum.core.errors import InputError
from sde_momentum.sde.observers import Covariance, Histogram, PassageTimes, Quantiles


def event(x, t, p):
    """Of the passage times, whose numbers these tests give."""
    return x


LANES = 128
TIMES = np.array([0.5, 1.0, 1.5, 2.0, 2.5])
NAMES = ("x", "y", "f")
EDGES = (-2.0, -1.0, -0.5, 0.1, 0.2, 3.0)
ALL = [Covariance(), Quantiles(), Histogram(EDGES), Histogram(EDGES, row="y"), PassageTimes(event)]


def paths(n, law="normal", seed=0, rows=3):
    """(n, times, rows), rows correlated and of different scales; a tenth of the paths become faulty in some row."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.standard_normal((n, len(TIMES), rows)), axis=1)
    x[..., -1] += x[..., 0]
    if law == "far":
        x += 1e6
    elif law == "heavy":
        x = np.sinh(3 * x)
    elif law == "constant":
        x[:] = 1e6 + 1 / 3
    elif law == "atoms":
        x = np.where(x > 1, np.exp(5 * x), 0.0)
    elif law == "tiny":
        x *= 1e-30
    if law != "constant":
        for path in range(0, n, 10):
            x[path, 1 + path % 5 :, path % rows] = (np.nan, np.inf)[path % 2]
    return x


def passages(n, seed=0):
    hit = np.random.default_rng(seed).exponential(1.5, n)
    hit[3::17] = TIMES[1]
    hit[hit > TIMES[-1]] = np.inf
    hit[5::40] = np.nan
    return hit


def chunked(array, sizes):
    """Chunks of paths in blocks of lanes (blocks, ..., lanes); the padding is filled with numbers that must not count."""
    first = 0
    for size in sizes:
        blocks = -(-size // LANES) + first % 2  # at times a whole block of padding
        chunk = np.full((blocks * LANES, *array.shape[1:]), 7.25)
        chunk[:size] = array[first : first + size]
        yield size, np.ascontiguousarray(np.moveaxis(chunk.reshape(blocks, LANES, *array.shape[1:]), 1, -1))
        first += size


def states(observer, x, hit, sizes, slabs=((0, 5),)):
    """One state a chunk."""
    found = []
    names = NAMES[: x.shape[2]]
    for chunk, ((size, values), (_, hits)) in enumerate(zip(chunked(x, sizes), chunked(hit, sizes), strict=True)):
        state = observer.start(TIMES, names, chunk)
        for first, last in slabs:
            observer.add(state, first, np.ascontiguousarray(values[:, first:last]), size)
        observer.add_extras(state, {"passages": hits}, size)
        found.append(state)
    return found


def merged(observer, parts):
    state = copy.deepcopy(parts[0])
    for part in parts[1:]:
        before = copy.deepcopy(part)
        observer.merge(state, part)
        assert all(np.array_equal(before[name], part[name], equal_nan=True) for name in before)
    return state


def observed(observer, x, hit=None, sizes=None):
    hit = np.zeros(len(x)) if hit is None else hit
    state = merged(observer, states(observer, x, hit, sizes or [len(x)]))
    return xr.Dataset(observer.variables(state, TIMES, NAMES[: x.shape[2]]), coords={"time": TIMES})


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def good_paths(x, t):
    return x[np.isfinite(x[:, t]).all(axis=1), t]


@pytest.mark.parametrize("observer", ALL, ids=repr)
def test_chunks_filled_by_threads_at_the_same_time_are_those_filled_one_by_one(observer):
    x, hit = paths(1900), passages(1900)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: states(observer, x, hit, [500, 500, 900]), range(4)))
    for parts in found[1:]:
        for one, other in zip(found[0], parts, strict=True):
            same(one, other)


def test_states_of_sums_grow_with_the_logarithm_of_the_number_of_chunks():
    observer, x = Covariance(), paths(128)
    state = states(observer, x, np.zeros(128), [128])[0]
    for chunk in range(1, 100):
        part = observer.start(TIMES, NAMES, chunk)
        observer.merge(state, part)
        assert len(state["node"]) == (chunk + 1).bit_count()


LAWS = ["normal", "far", "heavy", "constant", "atoms", "tiny"]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("observer", ALL, ids=repr)
def test_results_are_bit_for_bit_those_of_any_grouping_of_chunks_and_any_slabs(observer, law):
    x, hit, sizes = paths(1900, law), passages(1900), [300, 300, 300, 300, 1, 300, 300, 99]
    parts = states(observer, x, hit, sizes)
    whole = merged(observer, parts)
    pairs = [merged(observer, parts[a : a + 2]) for a in range(0, 8, 2)]
    uneven = [merged(observer, parts[a:b]) for a, b in ((0, 1), (1, 4), (4, 6), (6, 8))]
    right = merged(observer, [parts[0], merged(observer, [parts[1], merged(observer, parts[2:])])])
    for other in (pairs, uneven, parts[::-1], [parts[k] for k in (3, 6, 0, 7, 1, 5, 2, 4)]):
        same(whole, merged(observer, other))
    same(whole, right)
    for slabs in (((0, 1), (1, 3), (3, 5)), [(k, k + 1) for k in range(5)]):
        for one, other in zip(parts, states(observer, x, hit, sizes, slabs), strict=True):
            same(one, other)


def squared_error(u):
    """The unbiased estimate of the variance of each covariance, from deviations (n, rows) (Kendall, Stuart 1977, sec. 13.3)."""
    n, s11, s22 = len(u), u.T @ u, (u**2).T @ u**2
    product = np.outer(np.diag(s11), np.diag(s11))
    k22 = (n * (n + 1) / (n - 1) * s22 - product - 2 * s11**2) / ((n - 2) * (n - 3))
    # the products of the estimates have these expectations, in terms of var x var y and cov^2
    q = 1 / (n - 1)
    given = np.stack([product * q**2 - k22 / n, (s11 * q) ** 2 - k22 / n])
    both = np.einsum("ij,jkl->ikl", np.linalg.inv([[1, 2 * q], [q, 1 + q]]), given)
    return k22 / n + q * both.sum(axis=0)


def wilson(share, n):
    """Half the width of Wilson's interval for one standard deviation."""
    return np.sqrt(share * (1 - share) / n + 1 / (4 * n**2)) / (1 + 1 / n)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("sizes", [[1900], [500, 500, 500, 400], [128] * 14 + [108]])
def test_covariances_and_their_errors_equal_numpy(law, sizes):
    x = paths(1900, law)
    result = observed(Covariance(), x, sizes=sizes)
    for t in range(len(TIMES)):
        good = good_paths(x, t)
        n, u = len(good), good - good.mean(axis=0)
        m11, m22 = u.T @ u / n, (u**2).T @ u**2 / n
        squared = squared_error(u)
        scale = np.sqrt(np.outer(np.diag(m11), np.diag(m11)))
        if law == "constant":
            np.testing.assert_array_equal(result.covariance[t], 0.0)
            np.testing.assert_array_equal(result.covariance_se[t], 0.0)
            continue
        error = np.abs(result.covariance[t].values - np.cov(good.T)) / scale
        assert error.max() < 1e-12
        # the mean is rounded, to 1e-10 of the spread where it is 1e6, in numpy too
        error = np.abs(result.covariance_se[t].values - np.sqrt(squared)) / np.sqrt(m22 / n)
        assert error.max() < (1e-9 if law == "far" else 1e-12)
        np.testing.assert_array_equal(result.covariance[t], result.covariance[t].T)


def test_standard_errors_of_covariances_are_the_scatter_of_replicas():
    rng = np.random.default_rng(1)
    replicas, n = 2000, 200
    x = rng.exponential(size=(replicas, n, 1, 3))
    x[..., 1] = x[..., 0] ** 2 / 2 - x[..., 1]
    found = [observed_once(Covariance(), replica) for replica in x]
    covariance = np.array([f["covariance"][1][0] for f in found])
    squares = np.array([f["covariance_se"][1][0] ** 2 for f in found])
    scatter = (covariance - covariance.mean(axis=0)) ** 2 * replicas / (replicas - 1)
    difference = scatter - squares
    z = difference.mean(axis=0) / (difference.std(axis=0) / np.sqrt(replicas))
    # 6 different z at 4.5 standard errors: false alarm 4e-5; the squares are biased by O(1 / n) of themselves, 0.5 %
    assert np.abs(z).max() < 4.5
    truth = np.cov(np.concatenate(x)[:, 0].T)
    z = (covariance.mean(axis=0) - truth) / (covariance.std(axis=0) / np.sqrt(replicas))
    assert np.abs(z).max() < 0.2  # the mean of unbiased estimates is that of all values, but for O(1 / n) of a scatter


def observed_once(observer, x):
    """Variables at one time, without the cost of a Dataset."""
    ((size, values),) = chunked(x, [len(x)])
    names = NAMES[: x.shape[2]]
    state = observer.start(TIMES[:1], names, 0)
    observer.add(state, 0, values, size)
    return observer.variables(state, TIMES[:1], names)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("sizes", [[1900], [500, 500, 500, 400], [128] * 14 + [108]])
def test_quantiles_are_within_their_resolution_and_that_within_its_bound(law, sizes):
    x, p = paths(1900, law), [0.001, 0.05, 0.3, 0.5, 0.9, 0.999]
    observer = Quantiles(p, resolution=32)
    state = merged(observer, states(observer, x, np.zeros(1900), sizes))
    result = xr.Dataset(observer.variables(state, TIMES, NAMES))
    for t in range(len(TIMES)):
        good = good_paths(x, t)
        exact = np.quantile(good, p, axis=0, method="inverted_cdf")
        width = result.quantile_resolution[t].values
        assert np.all(np.abs(result["quantile"][t].values - exact) <= width)
        centre = state["centre"][t]
        farthest = np.maximum(np.abs(exact - centre[:, 0]), np.abs(exact - centre[:, 1]))
        narrowest = np.ldexp(1.0, state["level"][t])
        assert np.all((width <= np.maximum(narrowest, farthest / 32)) | np.isinf(width))
        assert law == "atoms" or np.all(np.isfinite(width))  # those reach over 80 octaves
    if law in ("normal", "far", "tiny"):
        spread = np.subtract(*np.quantile(good, [0.75, 0.25], axis=0))
        assert np.all(result.quantile_resolution.values[-1, 1:5] < spread / 8)
        assert np.all(np.abs(result["quantile"].values[-1] - exact)[1:5] < spread / 25)
    if law == "constant":
        np.testing.assert_array_equal(result["quantile"], 1e6 + 1 / 3)
        np.testing.assert_array_equal(result.quantile_se[:, 1:5], 0.0)


def test_the_narrowest_bins_follow_the_spread_not_the_mean():
    for law, shift in (("normal", 0.0), ("far", 1e6)):
        state = states(Quantiles(resolution=64), paths(1900, law), np.zeros(1900), [1900])[0]
        spread = np.subtract(*np.quantile(good_paths(paths(1900), 4), [0.75, 0.25], axis=0))
        assert np.all(np.ldexp(1.0, state["level"][4]) < spread / 32)
        assert np.all(np.abs(state["centre"][4] - shift) < 3 * spread[:, None])


def test_heavy_tails_and_huge_ranges_keep_the_resolution_of_the_bulk():
    rng = np.random.default_rng(2)
    x = np.repeat(rng.standard_cauchy((4096, 1, 1)), len(TIMES), axis=1)
    x[100, 0] = 1e300  # beyond all bins: infinite to a quantile, and no harm to the others
    x[200, 0] = -1e300
    result = observed(Quantiles([0.0001, 0.25, 0.5, 0.75, 0.9999]), x, sizes=[1024] * 4)
    exact = np.quantile(x[:, 0, 0], [0.25, 0.5, 0.75], method="inverted_cdf")
    assert np.all(np.abs(result["quantile"][0, 1:4, 0] - exact) < 0.01)
    assert np.all(result.quantile_resolution[0, 1:4] < 0.2)
    np.testing.assert_array_equal(result["quantile"][0, [0, 4], 0], [-np.inf, np.inf])
    assert np.isfinite(result["quantile"][1]).all()


def test_standard_errors_of_quantiles_are_the_scatter_of_replicas():
    rng = np.random.default_rng(3)
    replicas, n, p = 1000, 1000, [0.1, 0.5, 0.9]
    found = [observed_once(Quantiles(p), 1e6 + rng.standard_normal((n, 1, 1))) for _ in range(replicas)]
    value, error = (np.array([f[name][1][0, :, 0] for f in found]) for name in ("quantile", "quantile_se"))
    exact = np.sqrt(np.multiply(p, np.subtract(1, p)) / n) / stats.norm.pdf(stats.norm.ppf(p))
    # 3 at 4.5 standard errors of a scatter, 1 / sqrt(2 replicas) = 2.2 %: false alarm 2e-5
    assert np.abs(value.std(axis=0) / exact - 1).max() < 4.5 * 0.022
    assert np.abs(np.sqrt((error**2).mean(axis=0)) / exact - 1).max() < 0.05  # in n: O(n^-1/2) of itself
    bias = (value.mean(axis=0) - 1e6 - stats.norm.ppf(p)) / (value.std(axis=0) / np.sqrt(replicas))
    assert np.abs(bias).max() < 4.5  # false alarm 2e-5


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("row", [None, "y"])
@pytest.mark.parametrize("edges", [np.linspace(-3, 3, 61), EDGES, [-1e300, -1.0, -1e-300, 0.0, 1e-300, 1.0], [0.0, 1e-3]])
def test_histograms_equal_numpy(law, row, edges):
    x = paths(1900, law)
    x[7, 2] = edges[-1]
    x[8, 2] = edges[0]
    result = observed(Histogram(edges, row), x, sizes=[500, 500, 900])
    prefix = "" if row is None else "y_"
    for t in range(len(TIMES)):
        good = good_paths(x, t)
        n = len(good)
        for i, name in enumerate(NAMES):
            if row not in (None, name):
                continue
            at = result.isel(time=t) if row else result.isel(time=t, row=i)
            counts = np.bincount(np.searchsorted(edges, good[:, i], side="right"), minlength=len(edges) + 1)
            share = counts / n
            error = wilson(share, n)
            np.testing.assert_allclose(at[f"{prefix}density"], share[1:-1] / np.diff(edges), rtol=1e-14)
            np.testing.assert_allclose(at[f"{prefix}density_se"], error[1:-1] / np.diff(edges), rtol=1e-13)
            ends = [at[f"{prefix}{key}"] for key in ("below", "above", "below_se", "above_se")]
            np.testing.assert_allclose(ends, [share[0], share[-1], error[0], error[-1]], rtol=1e-13)


def test_standard_errors_of_histograms_are_the_scatter_of_replicas():
    rng = np.random.default_rng(4)
    replicas, n = 1000, 300
    found = [observed_once(Histogram([-1, 0, 2]), rng.standard_normal((n, 1, 1))) for _ in range(replicas)]
    density, error = (np.array([f[name][1][0, 0] for f in found]) for name in ("density", "density_se"))
    ratio = density.var(axis=0, ddof=1) / (error**2).mean(axis=0)
    assert np.abs(ratio - 1).max() < 4.5 * np.sqrt(2 / replicas)  # 2 at 4.5 standard errors: false alarm 1e-5
    z = (density.mean(axis=0) - np.diff(stats.norm.cdf([-1, 0, 2])) / [1, 2]) / (density.std(axis=0) / np.sqrt(replicas))
    assert np.abs(z).max() < 4.5


@pytest.mark.parametrize("sizes", [[1900], [500, 500, 500, 400]])
def test_passage_times_equal_numpy(sizes):
    hit = passages(1900)
    result = observed(PassageTimes(event, [0.1, 0.5, 0.99]), paths(1900), hit, sizes)
    known = hit[~np.isnan(hit)]
    n, stopped = len(known), np.minimum(known, TIMES[-1])
    survival = (known > TIMES[:, None]).mean(axis=1)
    np.testing.assert_allclose(result.survival, survival, rtol=1e-13)
    np.testing.assert_allclose(result.survival_se, wilson(survival, n), rtol=1e-13)
    np.testing.assert_allclose(result.mean_passage_time, stopped.mean(), rtol=1e-13)
    np.testing.assert_allclose(result.mean_passage_time_se, stopped.std(ddof=1) / np.sqrt(n), rtol=1e-12)
    assert result.passed == (known <= TIMES[-1]).sum()
    assert result.passage_faulty == np.isnan(hit).sum()
    exact = np.quantile(known, [0.1, 0.5], method="inverted_cdf")
    assert np.all(np.abs(result.passage_quantile[:2] - exact) <= result.passage_quantile_resolution[:2])
    assert np.all(result.passage_quantile_resolution[:2] < 0.05)
    assert np.all(result.passage_quantile_se[:2] > 0)
    assert np.isnan(result.passage_quantile[2])  # fewer than 99 % have passed
    assert np.isnan(result.passage_quantile_se[2])


def test_standard_errors_of_passage_times_are_the_scatter_of_replicas():
    rng = np.random.default_rng(5)
    replicas, n = 1000, 300
    keys = ["survival", "mean_passage_time", "passage_quantile"]
    value, square = [], []
    for _ in range(replicas):
        hit = rng.exponential(2.0, n)
        hit[hit > TIMES[-1]] = np.inf
        state = PassageTimes(event, [0.5]).start(TIMES, ("x",), 0)
        ((size, hits),) = chunked(hit, [n])
        PassageTimes(event, [0.5]).add_extras(state, {"passages": hits}, size)
        table = PassageTimes(event, [0.5]).variables(state, TIMES, ("x",))
        value.append([float(np.ravel(table[key][1])[0]) for key in keys])
        square.append([float(np.ravel(table[f"{key}_se"][1])[0]) ** 2 for key in keys])
    ratio = np.var(value, axis=0, ddof=1) / np.mean(square, axis=0)
    # 3 at 4.5 standard errors, 4.5 %: false alarm 2e-5; the quantile's error has a bias of a few percent at n = 300
    assert np.abs(ratio - 1).max() < 4.5 * 0.045
    truth = [np.exp(-0.25), 2 * (1 - np.exp(-1.25)), 2 * np.log(2)]
    z = (np.mean(value, axis=0) - truth) / (np.std(value, axis=0) / np.sqrt(replicas))
    assert np.abs(z[:2]).max() < 4.5  # false alarm 1e-5
    assert abs(np.mean(value, axis=0)[2] - truth[2]) < 2 / n  # a quantile is biased by O(1 / n)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("observer", ALL, ids=repr)
def test_tiny_ensembles_give_what_there_is_and_nan_for_the_rest(observer, n):
    x = np.full((9, 5, 3), np.nan)
    x[:n] = paths(9)[1 : n + 1]
    hit = np.full(9, np.nan)
    hit[:n] = np.where(np.arange(n) % 2, np.inf, 0.7)
    result = observed(observer, x, hit, [4, 5])
    if isinstance(observer, Covariance):
        assert np.isnan(result.covariance).all() == (n < 2)
        assert np.isnan(result.covariance_se).all() == (n < 4)
        if n >= 2:
            np.testing.assert_allclose(result.covariance[0], np.cov(x[:n, 0].T), rtol=1e-12)
    elif isinstance(observer, Quantiles):
        assert np.isnan(result["quantile"]).all() == (n == 0)
        if n:
            exact = np.quantile(x[:n], 0.5, axis=0, method="inverted_cdf")
            assert np.all(np.abs(result["quantile"].sel(probability=0.5) - exact) <= result.quantile_resolution[:, 2])
    elif isinstance(observer, Histogram):
        prefix = "" if observer.row is None else "y_"
        assert np.isnan(result[f"{prefix}density"]).all() == (n == 0)
        assert np.isnan(result[f"{prefix}density_se"]).all() == (n == 0)
    else:
        assert np.isnan(result.survival).all() == (n == 0)
        assert np.isnan(result.survival_se).all() == (n == 0)
        assert np.isnan(result.mean_passage_time) == (n == 0)
        assert result.passed == -(-n // 2)
        assert result.passage_faulty == 9 - n


def test_no_passage_at_all_is_survival_one():
    result = observed(PassageTimes(event), paths(200), np.full(200, np.inf))
    np.testing.assert_array_equal(result.survival, 1.0)
    assert result.mean_passage_time == TIMES[-1]
    assert result.mean_passage_time_se == 0
    assert np.isnan(result.passage_quantile).all()


@pytest.mark.parametrize("observer", ALL, ids=repr)
def test_observers_can_be_pickled_and_states_are_plain_arrays(observer):
    assert pickle.loads(pickle.dumps(observer)) == observer
    state = states(observer, paths(300), passages(300), [300])[0]
    assert all(isinstance(array, np.ndarray) and array.dtype.kind in "fiu" for array in state.values())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Quantiles([]), r"probabilities: given \[\]; allowed: increasing numbers in \(0, 1\), one at least"),
        (lambda: Quantiles([0.5, 1.0]), r"probabilities: given 1.0; allowed: increasing numbers in \(0, 1\)"),
        (lambda: Quantiles([0.5, 0.5]), r"probabilities: given \[0.5, 0.5\]; allowed: increasing"),
        (lambda: Quantiles("half"), r"probabilities: given half; allowed: increasing"),
        (lambda: Quantiles([0.5], resolution=2), r"resolution: given 2; allowed: a whole number >= 4"),
        (lambda: PassageTimes(event, [0.0]), r"probabilities: given 0.0; allowed: increasing"),
        (lambda: Histogram([1.0]), r"edges: given \[1.0\]; allowed: two or more increasing finite numbers"),
        (lambda: Histogram([0, 2, 1]), r"edges: given \[0, 2, 1\]; allowed: two or more increasing"),
        (lambda: Histogram([0, np.inf]), r"edges: given inf; allowed: two or more increasing"),
        (lambda: Histogram([0, 1e-310]), r"edges: given half a span of 5e-311; allowed: half a span between"),
        (lambda: Histogram([0, 1], row=1), r"row: given 1; allowed: a text or None"),
        (lambda: Histogram([0, 1], row="z").start(TIMES, NAMES, 0), r"row: given z; allowed: one of x, y, f"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
