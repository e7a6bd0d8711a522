"""The autocovariance: equal to plain NumPy, whatever the chunks; errors and intervals that are right for few paths."""

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum.sde import Autocovariance, Functional

TIMES, DECAY, LAGS = 0.5 * np.arange(12), 0.7, 4
EXACT = DECAY ** np.arange(LAGS + 1)


def stationary(n, rng):
    """(times, n): a stationary Gaussian chain of variance 1."""
    x = rng.standard_normal((len(TIMES), n))
    for k in range(1, len(TIMES)):
        x[k] = DECAY * x[k - 1] + np.sqrt(1 - DECAY**2) * x[k]
    return x


def observed(values, sizes, observer, names=("x",)):
    """The variables for values (rows, times, n) in chunks of these sizes."""
    merged, first = None, 0
    for chunk, size in enumerate(sizes):
        part = np.ascontiguousarray(values[None, :, :, first : first + size].swapaxes(1, 2))
        state = observer.start(TIMES, names, chunk)
        observer.add(state, 0, part[:, :5], size)
        observer.add(state, 5, part[:, 5:], size)
        observer.add_extras(state, {}, size)
        first += size
        if merged is None:
            merged = state
        else:
            observer.merge(merged, state)
    return {name: array for name, (_, array, _) in observer.variables(merged, TIMES, names).items()}


def test_it_equals_plain_averages_whatever_the_chunks():
    rng = np.random.default_rng(0)
    x = np.stack([1e5 + stationary(50, rng), np.exp(stationary(50, rng))])
    x[1, 3, 7] = np.nan  # this path is left out, of all rows and times
    whole, parts = (observed(x, sizes, Autocovariance(LAGS), ("x", "f")) for sizes in ([50], [20, 1, 29]))
    good = np.delete(x, 7, axis=2)
    d = good - good.mean(axis=2, keepdims=True)
    u = np.stack([(d[:, : 12 - lag] * d[:, lag:]).mean(axis=1) for lag in range(LAGS + 1)], axis=1)
    np.testing.assert_allclose(whole["autocovariance"], u.sum(axis=2) / 48, rtol=1e-9)
    np.testing.assert_allclose(whole["autocorrelation"], u.sum(axis=2) / u.sum(axis=2)[:, :1], rtol=1e-9)
    for name in whole:
        if name != "row":
            np.testing.assert_allclose(whole[name], parts[name], rtol=1e-8, err_msg=name)
    one = observed(x, [50], Autocovariance(LAGS, row="f"), ("x", "f"))
    np.testing.assert_array_equal(one["f_autocovariance_se"], whole["autocovariance_se"][1])


@pytest.mark.parametrize("n", [4, 10, 100])
def test_errors_are_right_and_intervals_cover(n):
    rng, repeats = np.random.default_rng([7, n]), 600
    found = [observed(stationary(n, rng)[None], [n], Autocovariance(LAGS, row="x")) for _ in range(repeats)]
    for name, least in (("autocovariance", 92.0), ("autocorrelation", 92.0)):
        value, se, low, high = (np.array([one[f"x_{name}{end}"] for one in found]) for end in ("", "_se", "_low", "_high"))
        covered = 100 * np.mean((low <= EXACT) & (high >= EXACT), axis=0)
        ratio = (se**2).mean(axis=0)[1:] / value.var(axis=0, ddof=1)[1:]
        print(n, name, "covered", covered, "squared error over variance", ratio)
        if n >= 10:
            assert np.all((covered >= least) & (covered <= 97.5) | (value.std(axis=0) == 0))
            # the variance of 600 estimates is known to 6 %, or a little less for their tails: 4 standard errors
            np.testing.assert_allclose(ratio, 1.0, atol=0.25)
    assert np.all(np.abs(found[0]["x_autocorrelation"][0] - 1.0) < 1e-12)


def test_an_ornstein_uhlenbeck_process_has_its_exponential_autocovariance():
    ou = sm.sde.OrnsteinUhlenbeck(0.8, 0.5, 2.0)
    square = Functional("square", lambda x, t, p: x * x)
    result = sm.solve(
        ou, 2.0, np.arange(10.0, 16.0, 0.5), step=0.5, n_paths=4000, statistics=[square, Autocovariance(6)], progress=False
    )
    exact = 0.25 / 1.6 * np.exp(-0.8 * result["lag"].values)
    # X = 2 + z: Cov(X_t^2, X_s^2) = 16 c + 2 c^2; false alarms 6e-5 each
    for row, value in (("x", exact), ("square", 16.0 * exact + 2.0 * exact**2)):
        found = result.sel(row=row)
        assert np.all(np.abs(found["autocovariance"] - value) < 4 * found["autocovariance_se"])
        assert np.all(np.abs(found["autocorrelation"] - value / value[0]) <= 4 * found["autocorrelation_se"] + 1e-12)


@pytest.mark.parametrize(
    ("observer", "times", "message"),
    [
        (Autocovariance(), [1.0, 2.0, 4.0], "times: given 3 times; allowed: 2 to 1000 equally spaced ones"),
        (Autocovariance(), [1.0], "times: given 1 times"),
        (Autocovariance(3), [1.0, 2.0, 3.0], "max_lag: given 3; allowed: a whole number from 0 to 2"),
        (Autocovariance(row="y"), [1.0, 2.0], "row: given y; allowed: one of x"),
    ],
)
def test_what_it_cannot_give_is_refused_in_one_line(observer, times, message):
    with pytest.raises(sm.InputError, match=message):
        sm.solve(sm.sde.OrnsteinUhlenbeck(1.0, 1.0), 0.0, times, step=0.5, n_paths=10, statistics=[observer])
