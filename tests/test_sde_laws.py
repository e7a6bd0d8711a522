"""Laws: stationary distributions, the noise itself, and the rules at bounds and events against a plain loop.

Chance enters with fixed seeds and sample sizes. Kolmogorov-Smirnov tests are two-sided at 1e-3 each: about 1 run of 40
with fresh seeds would have a false alarm.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from given_noise import follow
from scipy import stats
from scipy.integrate import quad

import sde_momentum as sm
from sde_momentum.sde import (
    METHODS,
    Fixed,
    Functional,
    Langevin,
    OrnsteinUhlenbeck,
    PassageTimes,
    coarsen,
    standard_increments,
)
from sde_momentum.sde.task import Task

ALPHA = 1e-3


def run_of(equation, x0, times, step, method, seed=0, t0=0.0, statistics=()):
    return Fixed(step, method).paths(Task.of(equation, x0, times, step=step, seed=seed, t0=t0, statistics=statistics))


def record(run, n_paths):
    """Rows at the times of record (n_times, rows, n_paths), exits and passages by name (n_paths,), as the ensemble steps them."""
    out = np.empty((len(run.task.steps), len(run.names), n_paths))
    extras = {name: np.empty(n_paths) for name in ("exits", "passages")}
    run.prepare()

    def chunk(first):
        n = min(run.chunk_size, n_paths - first)

        def see(t, values):
            _, times, rows, _ = values.shape
            out[t : t + times, :, first : first + n] = values.transpose(1, 2, 0, 3).reshape(times, rows, -1)[:, :, :n]

        for name, extra in run.chunk(first, n, see).items():
            extras[name][first : first + n] = extra.reshape(-1)[:n]

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(chunk, range(0, n_paths, run.chunk_size)))
    return out, extras


def last(equation, x0, time, step, method, n_paths, seed=0):
    return record(run_of(equation, x0, [time], step, method, seed), n_paths)[0][0]


def assert_law(name, sample, cdf):
    result = stats.kstest(sample, cdf)
    print(f"{name}: KS distance {result.statistic:.5f} of {len(sample)} paths, p = {result.pvalue:.3f}")
    assert result.pvalue > ALPHA


def resolution(n):
    """The distance that a KS test of n paths at ALPHA refuses."""
    return stats.kstwo.isf(ALPHA, n)


# -- stationary laws ---------------------------------------------------------------------------------


@pytest.mark.parametrize("h", [0.05, 1.0, 20.0])
def test_stationary_law_of_ornstein_uhlenbeck_with_exact_steps(h):
    process = OrnsteinUhlenbeck(1.0, 0.5, 0.3)
    x = last(process, 3.0, 20.0, h, "exact", 100_000, seed=1)[0]
    assert_law(f"Ornstein-Uhlenbeck, h = {h}", x, stats.norm(0.3, math.sqrt(0.125)).cdf)


@pytest.mark.parametrize("h", [0.1, 5.0])
@pytest.mark.parametrize("noise", [[0.6, 0.4], [[0.0], [0.7]], [[0.5, 0.2, 0.0], [0.0, 0.3, 0.4]]], ids=["2", "1", "3"])
def test_stationary_law_of_ornstein_uhlenbeck_in_the_plane(noise, h):
    # whitened by the stationary covariance: two normals and the law of their radius, for any number of noises
    process = OrnsteinUhlenbeck([[0.5, -1.5], [1.0, 0.7]], noise, [1.0, -1.0])
    z = last(process, (2.0, 2.0), 40.0, h, "exact", 50_000, seed=2) - process.mean_vector[:, None]
    white = np.linalg.solve(np.linalg.cholesky(process.stationary_covariance()), z)
    for i in range(2):
        assert_law(f"plane, component {i}, h = {h}", white[i], stats.norm.cdf)
    assert_law(f"plane, radius, h = {h}", (white**2).sum(axis=0), stats.chi2(2).cdf)


def test_stationary_law_of_ornstein_uhlenbeck_with_euler_is_that_of_its_chain():
    h, process = 0.05, sm.SDE(lambda x, t, p: -x, lambda x, t, p: 1.0)
    sd = math.sqrt(h / (1 - (1 - h) ** 2))
    assert_law("Euler chain", last(process, 0.0, 20.0, h, "euler-maruyama", 100_000, seed=3)[0], stats.norm(scale=sd).cdf)


CIR = (1.0, 1.0, 1.2)  # k, m, s: 2 k m / s^2 = 1.4 > 1 (Feller), near enough to 0 for Euler steps to leave the domain
CIR_LAW = stats.gamma(2 * CIR[0] * CIR[1] / CIR[2] ** 2, scale=CIR[2] ** 2 / (2 * CIR[0]))


def cir(outside):
    """dX = k (m - X) dt + s sqrt(X) dW on [0, inf), with its derivative: the numerical one leaves the domain at 0."""
    k, m, s = CIR
    return sm.SDE(
        lambda x, t, p: k * (m - x),
        lambda x, t, p: s * math.sqrt(x),
        # b b' = s^2 / 2 everywhere, also where b = 0
        diffusion_derivative=lambda x, t, p: 0.5 * s / math.sqrt(max(x, 1e-300)),
        domain=((0.0, math.inf),),
        outside=outside,
    )


@pytest.mark.parametrize(("method", "outside"), [("euler-maruyama", "clip"), ("euler-maruyama", "reflect"), ("milstein", "clip")])
def test_stationary_law_of_the_square_root_process(method, outside):
    n, h, coarser, time = 20_000, 1 / 256, 32, 12.0
    # The bias is at least of first order in h (the variance's is k h / 2 of it): measured where it is 32 times larger,
    # with 10 times the paths, it shows what is left at h, less than a tenth of what the test can tell.
    rough = stats.kstest(last(cir(outside), 1.0, time, coarser * h, method, 10 * n, seed=4)[0], CIR_LAW.cdf).statistic
    print(f"bias at {coarser} h: {rough:.4f}, so at h: {rough / coarser:.5f}, resolution {resolution(n):.4f}")
    assert rough / coarser < resolution(n) / 10
    run = run_of(cir(outside), 1.0, [time], h, method, 5)
    x, extras = record(run, n)
    exits = extras["exits"]
    print(f"exits a step: {exits.mean() * h / time:.1e}")
    # a Milstein step is (sqrt X + s dW / 2)^2 + (k (m - X) - s^2 / 4) h: positive near 0 as k m > s^2 / 4
    assert (exits.sum() == 0) == (method == "milstein")
    assert x.min() >= 0
    assert_law(f"square root, {method}, {outside}", x[0, 0], CIR_LAW.cdf)


def test_stationary_law_of_the_harmonic_langevin_equation():
    # obabo's own chain has a normal law: T / (k (1 - k h^2 / 4)) for q, T for v (its docstring), at any h < 2 / sqrt(k)
    k, temperature, h = 1.0, 0.7, 0.8
    x = last(Langevin(lambda q, t, p: -q, 0.8, temperature), (1.0, 0.0), 48.0, h, "obabo", 100_000, seed=6)
    assert_law("harmonic q", x[0], stats.norm(scale=math.sqrt(temperature / (k * (1 - k * h**2 / 4)))).cdf)
    assert_law("harmonic v", x[1], stats.norm(scale=math.sqrt(temperature)).cdf)
    correlation = np.corrcoef(x)[0, 1] * math.sqrt(x.shape[1])
    assert abs(correlation) < 5  # false alarms: 6e-7


def test_stationary_law_of_a_double_well():
    # U = q^4 / 4 - q^2 / 2, from one well; density by quadrature
    temperature, n, h, coarser, time = 0.4, 50_000, 1 / 32, 8, 64.0
    well = Langevin(lambda q, t, p: q - q * q * q, 1.0, temperature)

    def density(q):
        return math.exp(-(q**4 / 4 - q**2 / 2) / temperature)

    grid = np.linspace(-4, 4, 801)
    pieces = [quad(density, a, b, epsabs=1e-13)[0] for a, b in pairwise(grid)]
    mass = np.concatenate([[0.0], np.cumsum(pieces)])

    def cdf(q):
        return np.interp(q, grid, mass / mass[-1])  # linear within 0.01: off by 2e-5 at most

    # the bias is of second order: at 8 h it is 64 times that at h
    rough = stats.kstest(last(well, (1.0, 0.0), time, coarser * h, "obabo", 4 * n, seed=7)[0], cdf).statistic
    print(f"bias at {coarser} h: {rough:.4f}, so at h: {rough / coarser**2:.6f}, resolution {resolution(n):.4f}")
    assert rough / coarser**2 < resolution(n) / 10
    x = last(well, (1.0, 0.0), time, h, "obabo", n, seed=8)
    assert_law("double well q", x[0], cdf)
    assert_law("double well v", x[1], stats.norm(scale=math.sqrt(temperature)).cdf)


# -- noise -------------------------------------------------------------------------------------------


def fine_noise(seed, n_steps, h, n_noise=1, n_paths=20_000):
    z = standard_increments(seed, n_paths, n_steps, n_noise, draws=2)
    dw = math.sqrt(h) * z[:, :n_noise]
    return dw, h / 2 * (dw + math.sqrt(h / 3) * z[:, n_noise:])


def test_coarse_noise_is_the_fine_noise_added_up():
    h, (dw, area) = 0.1, fine_noise(1, 12, 0.1, 2, 300)
    w1, w = coarsen(dw, area, 3, h), coarsen(dw, area, 6, h)
    np.testing.assert_allclose(w1[0][::2] + w1[0][1::2], w[0], rtol=1e-13, atol=1e-14)  # W1 + W2 = W
    # the integral over both: that over the first, and the second's above where the first has come to
    np.testing.assert_allclose(w1[1][::2] + w1[1][1::2] + 3 * h * w1[0][::2], w[1], rtol=1e-12, atol=1e-14)
    for one, two in zip(coarsen(*w1, 2, 3 * h), w, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-14)
    path = np.concatenate([np.zeros((1, 2, 300)), np.cumsum(dw, axis=0)])
    for k in range(2):  # by hand
        a = sum(area[6 * k + i] + h * (path[6 * k + i] - path[6 * k]) for i in range(6))
        np.testing.assert_allclose(w[1][k], a, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("factor", [1, 4])
def test_increments_and_integrals_have_their_joint_law(factor):
    # of a step H: var dW = H, var int = H^3 / 3, cov = H^2 / 2; the steps, the processes and the paths independent
    h = 0.25
    dw, area = coarsen(*fine_noise(2, 4 * factor, h, 2), factor, h)
    big = factor * h
    one, two = dw / math.sqrt(big), (2 * area / big - dw) * math.sqrt(3 / big)  # independent standard normals, if so
    for name, z in (("dW", one), ("the rest of its integral", two)):
        assert_law(f"{name}, factor {factor}", z.ravel(), stats.norm.cdf)
    rows = np.concatenate([one, two], axis=1).reshape(16, -1)
    off = np.corrcoef(rows)[np.triu_indices(16, 1)] * math.sqrt(rows.shape[1])
    assert np.abs(off).max() < 5  # of 120: false alarms 7e-5


def test_two_point_increments_are_fair_and_independent():
    z = standard_increments(3, 20_000, 16, 1, "rademacher")[:, 0]
    assert set(np.unique(z)) == {-1.0, 1.0}
    assert stats.binomtest(int((z > 0).sum()), z.size).pvalue > ALPHA
    words = ((z > 0) * 2 ** np.arange(16)[:, None]).sum(axis=0) % 256  # 8 steps of each path: 256 equally likely words
    assert stats.chisquare(np.bincount(words, minlength=256)).pvalue > ALPHA


# -- bounds ------------------------------------------------------------------------------------------


def at_bounds(x, new, domain, outside):
    """The rule of `outside`, path by path and component by component; which paths left."""
    left = np.zeros(new.shape[1], dtype=bool)
    for path in range(new.shape[1]):
        for i, (low, high) in enumerate(domain):
            value = new[i, path]
            if value < low:
                left[path] = True
                new[i, path] = low if outside == "clip" else min(2 * low - value, high)
            elif value > high:
                left[path] = True
                new[i, path] = high if outside == "clip" else max(2 * high - value, low)
        if outside == "fault" and left[path]:
            new[:, path] = np.nan
    return new, left


def plain_steps(equation, method, x0, n_paths, n_steps, h, seed, t0=0.0):
    """Paths (n_steps + 1, dim, n_paths) and exits by a plain loop of Euler steps on the ensemble's own increments."""
    dw = math.sqrt(h) * standard_increments(seed, n_paths, n_steps, equation.n_noise, METHODS[method].increments)
    x, exits = np.repeat(np.atleast_1d(np.array(x0, dtype=float))[:, None], n_paths, axis=1), np.zeros(n_paths)
    paths = [x]
    for k in range(n_steps):
        columns = [x[0, j] if len(x) == 1 else tuple(x[:, j]) for j in range(n_paths)]
        a = np.array([np.atleast_1d(equation.drift(c, t0 + k * h, ())) for c in columns]).T
        b = np.array([np.atleast_1d(equation.diffusion(c, t0 + k * h, ())) for c in columns]).T
        new = x + a * h + b * dw[k]
        if equation.domain is not None:
            new, left = at_bounds(x, new, equation.domain, equation.outside)
            exits += left
        x = new
        paths.append(x)
    return np.array(paths), exits


def bounded(dim, outside, bounds):
    if dim == 1:
        return sm.SDE(lambda x, t, p: -0.3 * x, lambda x, t, p: 0.8 + 0.1 * x, domain=bounds, outside=outside), 0.2
    drift = lambda x, t, p: (x[1], -x[0])  # noqa: E731
    return sm.SDE(drift, lambda x, t, p: (0.7, 0.9), 2, domain=bounds, outside=outside), (0.2, -0.1)


@pytest.mark.parametrize(
    ("method", "outside", "bounds"),
    [
        ("euler-maruyama", "fault", ((-0.5, 0.7),)),
        ("euler-maruyama", "clip", ((-math.inf, 0.4),)),
        ("euler-maruyama", "reflect", ((-0.05, 0.25),)),  # narrower than a step: mirrored beyond the other bound
        ("euler-maruyama", "reflect", ((-0.4, 0.6), (-0.5, 0.3))),  # some steps take both components out
        ("weak-euler", "fault", ((-0.4, 0.6), (-0.5, math.inf))),
        ("weak-euler", "clip", ((-0.4, 0.6), (-0.5, 0.3))),
    ],
)
def test_paths_and_exits_at_bounds_equal_a_plain_loop(method, outside, bounds):
    n_paths, n_steps, h = 200, 30, 0.1
    equation, x0 = bounded(len(bounds), outside, bounds)
    run = run_of(equation, x0, h * np.arange(1, n_steps + 1), h, method, seed=9)
    x, extras = record(run, n_paths)
    paths, exits = plain_steps(equation, method, x0, n_paths, n_steps, h, 9)
    np.testing.assert_allclose(x, paths[1:], rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(extras["exits"], exits)
    assert exits.sum() > 10
    if outside == "fault":
        assert exits.max() == 1
    else:
        low, high = np.array(bounds).T
        assert np.all((x >= low[:, None]) & (x <= high[:, None]))


def test_paths_on_given_increments_obey_the_bounds_too():
    equation, x0 = bounded(2, "reflect", ((-0.4, 0.6), (-0.5, 0.3)))
    dw = math.sqrt(0.1) * standard_increments(9, 100, 20, 2)
    np.testing.assert_allclose(
        follow(equation, x0, dw, step=0.1),
        plain_steps(equation, "euler-maruyama", x0, 100, 20, 0.1, 9)[0],
        rtol=1e-12,
        atol=1e-13,
    )


def test_solve_leaves_out_the_paths_that_left():
    equation, x0 = bounded(1, "fault", ((-0.5, 0.7),))
    with pytest.warns(UserWarning, match="were lost"):
        result = sm.solve(equation, x0, [1.0, 2.0], step=0.1, n_paths=200, seed=9)
    paths, _ = plain_steps(equation, "euler-maruyama", x0, 200, 20, 0.1, 9)
    np.testing.assert_array_equal(result["faulty"], np.isnan(paths[[10, 20], 0]).sum(axis=1))


# -- events ------------------------------------------------------------------------------------------


BOX = ((-0.6, 0.8), (-math.inf, math.inf))


def passages(event, paths, h, t0):
    """First times at which the event comes from below 0 to 0 or above, linear within the step; t0 if it starts there."""
    n_paths, first = paths.shape[2], np.full(paths.shape[2], math.inf)
    for path in range(n_paths):
        value = event(paths[0, :, path], t0)
        if value >= 0:
            first[path] = t0
            continue
        for k in range(len(paths) - 1):
            now = event(paths[k + 1, :, path], t0 + (k + 1) * h)
            if value < 0 <= now:
                first[path] = t0 + k * h + (h * value / (value - now) if math.isfinite(value) else h)
                break
            value = now
    return first


@pytest.mark.parametrize(
    ("method", "bounds", "event", "plain"),
    [
        ("euler-maruyama", None, lambda x, t, p: x[0] + 0.1 * t - 0.5, lambda x, t: x[0] + 0.1 * t - 0.5),
        ("weak-euler", BOX, lambda x, t, p: 0.3 - x[1] * x[1], lambda x, t: 0.3 - x[1] * x[1]),  # at the start already
        (
            "weak-euler",
            None,
            lambda x, t, p: math.log(max(x[0] - 0.2, 0.0)) + 1.5,
            lambda x, t: np.log(max(x[0] - 0.2, 0.0)) + 1.5,
        ),  # from -inf
    ],
    ids=["level", "start", "infinite"],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_first_passages_equal_a_plain_loop(method, bounds, event, plain):
    n_paths, n_steps, h, t0 = 150, 40, 0.1, 2.0
    equation, x0 = bounded(2, "reflect", bounds)
    run = run_of(equation, x0, [t0 + 1.3, t0 + n_steps * h], h, method, 10, t0=t0, statistics=[PassageTimes(event)])
    _, extras = record(run, n_paths)
    paths, exits = plain_steps(equation, method, x0, n_paths, n_steps, h, 10, t0)
    first = passages(plain, paths, h, t0)
    if method == "euler-maruyama":  # between its steps a path may cross, too
        assert (extras["passages"] <= first * (1 + 1e-11)).all()
        assert (extras["passages"] == first).mean() > 0.3
    else:
        np.testing.assert_allclose(extras["passages"], first, rtol=1e-11)
    if bounds is not None:
        np.testing.assert_array_equal(extras["exits"], exits)
    assert np.isfinite(first).any()


def test_the_law_of_first_passages_of_a_random_walk():
    # P(W reaches 1 before t = 4) = 2 P(W_4 > 1) by reflection; crossings between the steps are found by Brownian bridges
    h, n = 1 / 64, 100_000
    run = run_of(
        sm.SDE(lambda x, t, p: 0.0, lambda x, t, p: 1.0),
        0.0,
        [4.0],
        h,
        "euler-maruyama",
        11,
        statistics=[PassageTimes(lambda x, t, p: x - 1)],
    )
    hit = np.isfinite(record(run, n)[1]["passages"]).mean()
    expected = 2 * stats.norm.sf(1 / 2)
    assert abs(hit - expected) < 4 * math.sqrt(expected * (1 - expected) / n)  # false alarms: 6e-5


# -- functions that branch ---------------------------------------------------------------------------


def force(q, t, p):
    return (-math.sin(q[0]) + 0.1 * q[1], -q[1] * math.exp(-0.1 * q[1] * q[1]) - 0.2 * abs(q[0]))


def branching_force(q, t, p):
    """The same, with a branch that lanes cannot take: it is stepped path by path."""
    size = q[0] if q[0] > 0.0 else -q[0]
    return (-math.sin(q[0]) + 0.1 * q[1], -q[1] * math.exp(-0.1 * q[1] * q[1]) - 0.2 * size)


def both(method):
    """The equation, on lanes and path by path."""
    noise = "general" if "general" in METHODS[method].noises and not METHODS[method].additive else "diagonal"
    additive = METHODS[method].additive
    diffusion = {
        "general": lambda x, t, p: ((0.3 * x[1], 0.2), (0.1, 0.4 * math.tanh(x[0]))),
        "diagonal": lambda x, t, p: (0.3 * (1.0 + x[0] * x[0]) ** 0.5, 0.4),
    }[noise]
    if additive:
        diffusion = lambda x, t, p: (0.3 + 0.1 * t, 0.4)  # noqa: E731
    options = dict(interpretation=METHODS[method].interpretations[0], noise=noise, additive=additive)
    options |= dict(n_noise=2 if noise == "general" else 0, domain=((-math.inf, 1.5), (-1.2, 1.2)), outside="reflect")
    for drift in (force, branching_force):
        yield Langevin(drift, n_coordinates=2) if method in ("obabo", "baoab") else sm.SDE(drift, diffusion, 2, **options)


@pytest.mark.parametrize("method", ["weak-euler", "milstein", "heun", "sra1", "obabo", "baoab", "dri1"])
def test_functions_that_branch_step_as_those_on_lanes(method):
    results = []
    for equation in both(method):
        x0 = np.array([0.5, -0.4, 0.1, 0.2])[: equation.dim]
        energy = Functional("energy", lambda x, t, p: x[0] * x[0] + math.cos(x[1]))
        event = PassageTimes(lambda x, t, p: x[0] - 1.0)
        run = run_of(equation, x0, [1.0, 4.0], 0.1, method, 12, statistics=[energy, event])
        results.append(record(run, 300))
    (x, extras), (y, others) = results
    assert np.isfinite(x).all()
    np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-11)
    for name in ("exits", "passages"):
        np.testing.assert_allclose(extras[name], others[name], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(x[:, -1], x[:, 0] ** 2 + np.cos(x[:, 1]), rtol=1e-12, atol=1e-13)
