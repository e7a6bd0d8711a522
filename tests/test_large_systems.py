"""Equations whose functions take arrays, starts of each path, sweeps of parameters: the same numbers as path by path.

Chance enters with fixed seeds; tolerances are in standard errors, two-sided.
"""

import math
from contextlib import nullcontext

import numpy as np
import pytest
from scipy.linalg import expm

import sde_momentum as sm
from sde_momentum import sde


def turning(x, t, p):
    return (x[1], -p[0] * x[0])


EQUATIONS = {
    "heun": dict(
        diffusion=lambda x, t, p: (0.5, 0.1 * x[0]), noise="scalar", interpretation="stratonovich",
        domain=((0.0, 3.0), (-1.0, 2.0)), outside="reflect",
    ),
    "euler-maruyama": dict(diffusion=lambda x, t, p: ((0.5, 0.1), (0.1 * x[0], 0.3)), noise="general", n_noise=2),
    "weak-euler": dict(diffusion=lambda x, t, p: (0.5, 0.1)),
    "sra1": dict(diffusion=lambda x, t, p: 0.5, driven=(1,), additive=True),
    "dri1": dict(diffusion=lambda x, t, p: ((0.5, 0.1), (0.1 * x[0], 0.3 * x[1])), noise="general", n_noise=2),
    "milstein": dict(diffusion=lambda x, t, p: (0.5 * x[0], 0.1 * x[1]), domain=((0.5, 9.0), (-9.0, 9.0))),
}  # fmt: skip


@pytest.mark.parametrize("method", EQUATIONS)
def test_arrays_give_the_numbers_of_the_compiled_kernel(method):
    asked = [
        sde.PassageTimes(lambda x, t, p: x[0] - 1.2),
        sde.Functional("product", lambda x, t, p: x[0] * x[1]),
        sde.Quantiles([0.5]),
        sde.KeepPaths([3]),
    ]
    ask = dict(step=sde.Fixed(0.125, method), n_paths=300, seed=3, parameters=(0.5,), statistics=asked)
    with pytest.warns(UserWarning, match="were lost") if method == "milstein" else nullcontext():
        one, other = (
            sm.solve(sm.SDE(turning, dim=2, batched=batched, **EQUATIONS[method]), [1.0, 0.5], [0.0, 0.5, 1.0], **ask)
            for batched in (False, True)
        )
    assert set(one) == set(other)
    for name in set(one) - {
        "quantile",
        "quantile_se",
        "quantile_low",
        "quantile_high",
        "quantile_resolution",
    }:  # of binned values
        np.testing.assert_allclose(one[name], other[name], rtol=1e-9, atol=1e-13, err_msg=name)
    np.testing.assert_allclose(one["quantile"], other["quantile"], atol=0.03)
    assert one.attrs["exits"] == other.attrs["exits"]


def test_langevin_on_arrays_is_the_compiled_one():
    one, other = (
        sm.solve(sde.Langevin(lambda q, t, p: -q, batched=b), [1.0, 0.0], [1.0], step=0.25, n_paths=300) for b in (False, True)
    )
    np.testing.assert_allclose(one["variance"], other["variance"], rtol=1e-12)


@pytest.fixture(scope="module")
def dense():
    """A dense Ornstein-Uhlenbeck process of 40 components, and its moments from 20,000 paths after one step."""
    rng = np.random.default_rng(0)
    process = sde.OrnsteinUhlenbeck(np.eye(40) + 0.1 * rng.standard_normal((40, 40)), 0.3 * np.eye(40))
    return process, sm.solve(process, np.ones(40), [1.0], step=0.5, n_paths=20_000, statistics=[sde.Covariance()])


def test_a_dense_linear_system_has_its_exact_moments(dense):
    """4.5 standard errors in each of 860: a false alarm in 170."""
    process, result = dense
    decay, stationary = expm(-process.rate_matrix), process.stationary_covariance()
    assert np.all(abs(result["mean"][0] - decay @ np.ones(40)) < 4.5 * result["mean_se"][0])
    exact = stationary - decay @ stationary @ decay.T
    assert np.all(abs(result["covariance"][0] - exact) < 4.5 * result["covariance_se"][0])
    assert result["mean_se"].max() < 0.01


def test_arrays_on_given_increments_are_those_on_their_own(dense):
    process = dense[0]
    step, n = 0.25, 70
    dw = np.sqrt(step) * sde.standard_increments(2, n, 4, n_noise=40)
    ask = dict(n_paths=n, statistics=[sde.KeepPaths(range(n))])
    given = sm.solve(process, np.zeros(40), [1.0], step=sde.OnIncrements(dw, step), **ask)
    own = sm.solve(process, np.zeros(40), [1.0], step=sde.Fixed(step, "euler-maruyama"), seed=2, **ask)
    np.testing.assert_allclose(given["path_value"], own["path_value"], rtol=1e-12)


def test_functions_may_be_torch_s():
    torch = pytest.importorskip("torch")

    def slope(x, t, p):
        with torch.enable_grad():
            w = x.clone().requires_grad_()
            return -torch.autograd.grad((torch.cosh(w) - 1.0).sum(), w)[0]

    ask = dict(step=0.125, n_paths=200)
    one = sm.solve(sm.SDE(slope, lambda x, t, p: 0.5, 3, batched="torch"), [1.0, 2.0, 3.0], [1.0], **ask)
    other = sm.solve(sm.SDE(lambda x, t, p: -np.sinh(x), lambda x, t, p: 0.5, 3, batched=True), [1.0, 2.0, 3.0], [1.0], **ask)
    np.testing.assert_allclose(one["mean"], other["mean"], rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(drift=lambda x, t, p: x.sum(axis=0)),
            r"drift: given a function that returns shape \(16,\) for n = 16 paths; allowed",
        ),
        (dict(batched="cupy"), "batched: given cupy; allowed: False, True, 'numpy', 'torch', 'jax'"),
        (dict(step=sde.Adaptive(0.5)), "step: given Adaptive; allowed: Fixed or OnIncrements, for a batched equation"),
        (dict(x0=lambda rng, n: rng.standard_normal((n, 2))), r"x0: given shape \(1024, 2\); allowed: a function of \(rng, n\)"),
        (dict(x0=np.ones((9, 3))), "x0: given 9 starts; allowed: one, or n_paths = 16 of them"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(change, message):
    given = dict(drift=lambda x, t, p: -x, batched=True, step=0.5, x0=[1.0, 2.0, 3.0]) | change

    def solve():
        equation = sm.SDE(given["drift"], lambda x, t, p: 1.0, 3, batched=given["batched"], additive=True)
        sm.solve(equation, given["x0"], [1.0], step=given["step"], n_paths=16)

    with pytest.raises(sm.InputError, match=message):
        solve()


OU = sm.SDE(lambda x, t, p: -p[0] * x, lambda x, t, p: p[1])


@pytest.mark.parametrize("batched", [False, True])
def test_each_path_may_have_its_own_start(batched):
    equation = sm.SDE(OU.drift, OU.diffusion, batched=batched)
    starts = np.linspace(-1.0, 1.0, 5000)
    ask = dict(step=0.25, n_paths=5000, parameters=(1.0, 0.0))
    kept = [sde.KeepPaths(range(5000))]
    result = sm.solve(equation, starts, [0.0, 1.0], statistics=kept, **ask)
    np.testing.assert_array_equal(result["path_value"][:, 0], starts)
    np.testing.assert_allclose(result["path_value"][:, 1], 0.75**4 * starts, rtol=1e-14)


def test_drawn_starts_depend_on_the_seed_and_the_path_alone(tmp_path):
    def draw(rng, n):
        return rng.standard_normal(n)

    ask = dict(step=0.25, parameters=(1.0, 0.5), seed=4)
    kept = [sde.KeepPaths(range(1500))]
    few, many = (sm.solve(OU, draw, [0.0, 1.0], n_paths=n, statistics=kept, **ask) for n in (1500, 4000))
    np.testing.assert_array_equal(few["path_value"], many["path_value"])
    assert abs(many["variance"][0] - 1.0) < 4 * many["variance_se"][0]
    file = tmp_path / "run.npz"
    sm.solve(OU, draw, [1.0], n_paths=100, checkpoint=file, **ask)
    with pytest.raises(sm.InputError, match="of another ensemble"):
        sm.solve(OU, lambda rng, n: 2.0 * rng.standard_normal(n), [1.0], n_paths=100, checkpoint=file, **ask)


def test_a_sweep_has_a_dim_for_each_parameter_of_several_values():
    ask = dict(step=0.25, n_paths=200)
    rates = [0.5, 1.0]
    sweep = sm.solve(OU, 1.0, [1.0], parameters={"rate": rates, "noise": 0.5}, **ask)
    assert sweep["mean"].dims == ("rate", "time")
    np.testing.assert_array_equal(sweep["rate"], rates)
    for rate in rates:
        alone = sm.solve(OU, 1.0, [1.0], parameters=(rate, 0.5), **ask)
        np.testing.assert_array_equal(sweep["variance"].sel(rate=rate), alone["variance"])


def chain(d):
    """A chain of anharmonic neighbours, as a function that writes and as one of arrays, with a matrix that both capture."""
    matrix = 2.0 * np.eye(d) - np.eye(d, k=1) - np.eye(d, k=-1)

    def write(x, t, p, out):
        for i in range(d):
            s = 0.0
            for j in range(max(i - 1, 0), min(i + 2, d)):
                s += matrix[i, j] * x[j]
            out[i] = -s - p[0] * x[i] * x[i] * x[i]

    return write, lambda x, t, p: -matrix @ x - p[0] * x**3


def write_row(x, t, p, out):
    for i in range(len(out)):
        out[i] = 0.3 + 0.01 * i + 0.1 * math.sin(t) * x[i]


def write_matrix(x, t, p, out):
    for i in range(len(x)):
        for k in range(2):
            out[i, k] = 0.1 * (k + 1) * x[i] if i > k else 0.2


def row(x, t, p):
    return 0.3 + 0.01 * np.arange(len(x))[:, None] + 0.1 * math.sin(t) * x


def both(x, t, p):
    return np.array([[0.1 * (k + 1) * x[i] if i > k else 0.2 + 0.0 * x[i] for k in range(2)] for i in range(len(x))])


WRITTEN = {
    "milstein": (write_row, row, dict(domain=((-1.5, 1.5),) * 20, outside="reflect")),
    "sra1": (write_row, row, dict(additive=True)),
    "heun": (write_matrix, both, dict(noise="general", n_noise=2, interpretation="stratonovich")),
    "dri1": (write_matrix, both, dict(noise="general", n_noise=2)),
    "euler-maruyama": (write_row, row, dict(noise="scalar", domain=((-1.5, 1.5),) * 20)),
}


@pytest.mark.filterwarnings("ignore:.* paths were lost")
@pytest.mark.parametrize("method", WRITTEN)
def test_functions_that_write_give_the_numbers_of_arrays(method):
    write_noise, noise, how = WRITTEN[method]
    write, drift = chain(20)
    if method == "sra1":  # b of t alone
        write_noise, noise = write_time, by_time
    asked = [sde.PassageTimes(lambda x, t, p: x[3] - 0.9), sde.Functional("product", lambda x, t, p: x[0] * x[1])]
    ask = dict(step=sde.Fixed(0.05, method), n_paths=300, seed=3, parameters=(0.5,), statistics=asked)
    one, other = (
        sm.solve(sm.SDE(*functions, 20, batched=batched, **how), np.linspace(-0.5, 0.5, 20), [0.0, 0.5], **ask)
        for functions, batched in (((write, write_noise), False), ((drift, noise), True))
    )
    for name in set(one) | set(other):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-8, atol=1e-12, err_msg=name)


def write_time(x, t, p, out):
    for i in range(len(out)):
        out[i] = 0.3 + 0.1 * math.sin(t)


def by_time(x, t, p):
    return 0.3 + 0.1 * math.sin(t)


def test_functions_that_write_may_branch():
    def write(x, t, p, out):
        for i in range(len(x)):
            out[i] = -x[i] if x[i] > 0.0 else -2.0 * x[i]

    ask = dict(step=0.25, n_paths=100)
    one = sm.solve(sm.SDE(write, write_time, 3), [1.0, -1.0, 0.5], [1.0], **ask)
    other = sm.solve(
        sm.SDE(lambda x, t, p: np.where(x > 0, -x, -2 * x), by_time, 3, batched=True), [1.0, -1.0, 0.5], [1.0], **ask
    )
    np.testing.assert_allclose(one["mean"], other["mean"], rtol=1e-12)


def test_functions_that_write_are_checked():
    def forgets(x, t, p, out):
        out[0] = x[0]

    with pytest.raises(sm.InputError, match=r"drift: given a function that leaves out\[1\] unset or NaN"):
        sm.solve(sm.SDE(forgets, write_time, 2), [1.0, 2.0], [1.0], step=0.5, n_paths=4)
    with pytest.raises(sm.InputError, match="drift: given some functions f"):
        sm.SDE(forgets, lambda x, t, p: (1.0, 1.0), 2)
