"""The critical limit in the valley: exact laws, the order of the scheme, the discrete update, and its faults
[theory: Critical limit]."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

import sde_momentum as sm
from sde_momentum.core.random import next_words, streams
from sde_momentum.dynamics.valley_kernel import TILE, inverse_fourth_root, load, load_word, simplified_pair, store
from sde_momentum.theory import formulas


@njit
def simplified(words, out):
    """The pairs of 16 modes from each word, (32, lanes), as the kernel takes them."""
    for n in range(0, words.size, TILE):
        word = load_word(words, n)
        for j in range(16):
            x, y = simplified_pair(word)
            store(out, 2 * j * words.size + n, x)
            store(out, (2 * j + 1) * words.size + n, y)
            word = word << 4


@njit
def inverse_fourth_roots(x, out):
    for n in range(0, x.size, TILE):
        store(out, n, inverse_fourth_root(load(x, n)))


def test_inverse_fourth_roots_are_true_to_5e_10():
    """Over a factor of 16, after which the bits repeat, densely; and over all eigenvalues that a path can meet."""
    for x in (np.geomspace(1, 16, 2**20), np.geomspace(1e-290, 1e290, 2**16)):
        out = np.empty_like(x)
        inverse_fourth_roots(x, out)
        np.testing.assert_allclose(out, x**-0.25, rtol=5e-10)


def test_simplified_increments_have_the_moments_of_normals_up_to_the_fifth():
    """Zero and 8 directions with the right shares make the moments exact."""
    lanes, pairs = 4096, 16
    state, words = streams(np.arange(lanes, dtype=np.uint64), 0), np.empty(lanes, np.uint64)
    next_words(state, words)
    out = np.empty((2 * pairs, lanes))
    simplified(words, out)
    cases, counts = np.unique(
        np.round(out.reshape(pairs, 2, lanes).swapaxes(1, 2).reshape(-1, 2), 9) + 0.0, axis=0, return_counts=True
    )
    assert len(cases) == 9  # zero and 8 directions
    share = counts / counts.sum()
    zero = (cases == 0).all(axis=1)
    n = counts.sum()  # 4.5 standard errors: a false alarm in 1e5
    assert abs(share[zero][0] - 1 / 2) < 4.5 * 0.5 / np.sqrt(n)
    np.testing.assert_allclose(share[~zero], 1 / 16, atol=4.5 * 0.25 / np.sqrt(n))
    weights = np.where(zero, 1 / 2, 1 / 16)
    normal = {0: 1, 1: 0, 2: 1, 3: 0, 4: 3, 5: 0}
    for i in range(6):
        for j in range(6 - i):
            assert weights @ (cases[:, 0] ** i * cases[:, 1] ** j) == pytest.approx(normal[i] * normal[j], abs=1e-7)


@pytest.mark.parametrize("increments", ["simplified", "normal"])
def test_energies_fill_up_exponentially_and_are_exponentially_distributed(increments):
    """At the flattest point theta rests: E e_j = lambda_j (1 - exp(-s)), and the standard deviation is as large.

    4.5 standard errors, 16 comparisons: a false alarm in 1e4.
    """
    valley = sm.Valley([1.0, 3.0], 0.0, curvature=1e-6)
    times = np.array([0.25, 1.0, 3.0, 8.0])
    runs = sm.solve(sm.dynamics.CriticalValley(valley), 0.0, times, kappa=1e-3, n_paths=4_000, step=0.05, increments=increments)
    exact = valley.eigenvalues[:, None] * (1 - np.exp(-times))
    assert (np.abs(runs.energy.values[0] - exact) < 4.5 * runs.energy_se.values[0]).all()
    # the standard error shows the standard deviation; that of an exponential's has a relative error of sqrt(2 / n)
    np.testing.assert_allclose(runs.energy_se.values[0] * np.sqrt(4_000), exact, rtol=4.5 * np.sqrt(2 / 4_000))


@pytest.mark.parametrize("coupling", [0.3, 1.5])
def test_stationary_variance_along_the_valley_is_the_closed_form(coupling):
    """2 kappa G2 / (m (2 + kappa (m - g))), for excursions that are small against l / b.

    4 standard errors; what is not linear is below 2 %: lambda_j change by 3 % (rms).
    """
    valley = sm.Valley.balanced(32, curvature=1.0, coupling=coupling, lowest=5.0, highest=9.0)
    wide = sm.Valley(valley.eigenvalues, valley.slopes, 1.0)
    kappa = np.array([0.05, 0.2])
    runs = sm.solve(sm.dynamics.CriticalValley(wide), 0.0, [60.0], kappa=kappa, n_paths=4_000, step=0.1)
    exact = formulas.valley_variance(kappa, 1.0, coupling, wide.squared_slopes)
    difference = np.abs(runs.position_variance.values[:, 0] - exact)
    assert (difference < 4 * runs.position_variance_se.values[:, 0] + 0.02 * exact).all(), (runs.position_variance.values, exact)


@pytest.mark.parametrize("increments", ["simplified", "normal"])
def test_weak_order_is_two(increments):
    """The error of E theta at s = 3 against a fine step: its slope in ln h is 2 within 3 standard errors + 0.1.

    The 0.1 is for the next order: error / h^2 itself changes by 5 % over these steps. False alarm: 3 in 1000.
    """
    limit = sm.dynamics.CriticalValley(sm.Valley.balanced(4, curvature=2.0, coupling=1.0))
    n_paths = 200_000
    sizes = np.array([0.6, 0.5, 0.375, 0.3, 0.25])

    def mean(h, seed):
        runs = sm.solve(limit, 1.0, [3.0], kappa=2.0, n_paths=n_paths, seed=seed, step=h, increments=increments)
        return float(runs.position[0, 0]), float(runs.position_se[0, 0])

    reference, reference_error = mean(0.05, 99)
    values, errors = np.array([mean(h, i) for i, h in enumerate(sizes)]).T
    bias = np.abs(values - reference)
    weights = (bias / np.hypot(errors, reference_error)) ** 2
    x = np.log(sizes) - np.average(np.log(sizes), weights=weights)
    slope, slope_error = (weights * x) @ np.log(bias) / (weights @ x**2), 1 / np.sqrt(weights @ x**2)
    assert slope_error < 0.2
    assert abs(slope - 2) < 3 * slope_error + 0.1, f"{slope} +- {slope_error}: {bias}"


def test_numbers_do_not_depend_on_threads_or_on_the_other_kappas():
    limit = sm.dynamics.CriticalValley(sm.Valley.balanced(4, curvature=1.0, coupling=2.0))
    one, two = (sm.solve(limit, 1.0, [1.0, 5.0], kappa=[0.5, 3.0], n_paths=1_500, workers=w) for w in (1, 2))
    assert one.equals(two)
    # nor on the other kappas
    few = sm.solve(limit, 1.0, [1.0], kappa=0.5, n_paths=64)
    again = sm.solve(limit, 1.0, [1.0], kappa=[0.5, 9.0], n_paths=64)
    assert few.position.values[0, 0] == again.position.values[0, 0]
    other = sm.solve(limit, 1.0, [1.0], kappa=0.5, n_paths=64, seed=1)
    assert few.position.values[0, 0] != other.position.values[0, 0]


def test_a_path_that_becomes_infinite_is_marked_with_its_time_and_left_out():
    """A step far above the stability limit: every path's divergence has a time, and no moment is made up."""
    limit = sm.dynamics.CriticalValley(sm.Valley([1.0, 1.0], 0.0, curvature=1.0))
    runs = sm.solve(limit, 1e30, [1.0, 40.0], kappa=[1e-9, 1e20], n_paths=100, step=1.0)
    assert np.isnan(runs.diverged.values[0]).all()
    assert runs.n_diverged.values.tolist() == [[0, 0], [0, 100]] or runs.n_diverged.values.tolist() == [[0, 0], [100, 100]]
    assert (runs.diverged.values[1] <= 40).all()
    assert np.isnan(runs.position.values[1, 1])
    assert np.isfinite(runs.position.values[0]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kappa": 0.0}, "kappa: given 0.0; allowed: finite numbers > 0"),
        ({"kappa": [[1.0]]}, r"kappa: given shape \(1, 1\); allowed: shape \(n_kappa,\) or one number"),
        ({"times": [1.0, 1.0]}, "times: given .*; allowed: a 1-D array of increasing numbers >= 0"),
        ({"theta": np.inf}, "theta: given inf; allowed: a finite number"),
        ({"n_paths": 1}, "n_paths: given 1; allowed: a whole number >= 2"),
        ({"seed": 2**32}, r"seed: given 4294967296; allowed: a whole number below 2\^32"),
        ({"step": 0.0}, "step: given 0.0; allowed: finite numbers > 0"),
        ({"increments": "cubic"}, "increments: given cubic; allowed: simplified or normal"),
    ],
)
def test_bad_input_is_refused(change, message):
    good = {"theta": 1.0, "kappa": 1.0, "times": [1.0]}
    with pytest.raises(sm.InputError, match=message):
        sm.dynamics.CriticalValley(sm.Valley([1.0], 0.0, 1.0)).solve(**good | change)
