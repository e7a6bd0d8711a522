"""The simulator of the discrete update: exact equality with torch.optim.SGD, streams, divergence
[theory: Setting; Relaxation]."""

import numpy as np
import pytest
import torch
from numba import njit

import sde_momentum as sm
from sde_momentum.core.random import BATCHES, GRADIENT_NOISE, LABEL_NOISE, draws, next_words, streams
from sde_momentum.problems.compiled import KERNEL, PULLBACK, Kernels
from sde_momentum.problems.problem import Problem
from sde_momentum.theory import formulas
from validation.matrix_sensing import torch_sgd

PROBLEMS = [
    sm.MatrixSensing(5, 1, 12),
    sm.MatrixSensing(5, 2, 9, width=3),
    sm.MatrixSensing(4, 1, 6, symmetric=True),
]


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if not p.symmetric])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("law", ["rademacher", "normal"])
def test_the_update_equals_torch_sgd_on_the_same_noise(problem, nesterov, law):
    method = sm.LabelNoiseSGD(problem, 0.1, nesterov=nesterov, noise_law=law)
    assert torch_sgd.difference(method, problem.random_start(0.3), 0.02, 0.9, seed=7, n_steps=30) < 1e-10


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_update_equals_a_plain_loop(problem, nesterov):
    w, v, lr, beta, sigma, n = problem.random_start(0.3), 0.0, 0.02, 0.9, 0.1, 30
    method = sm.LabelNoiseSGD(problem, sigma, nesterov=nesterov)
    ours = sm.solve(method, w, [n], lr=lr, momentum=beta, seeds=[7])
    for xi in draws(7, LABEL_NOISE, (n, problem.n_outputs)):
        point = w + beta * v if nesterov else w
        v = beta * v - lr * problem.jacobian(point).T @ (problem.residual(point) - sigma * xi) / problem.n_outputs
        w = w + v
    np.testing.assert_allclose(ours.train_loss.item(), problem.loss(w), rtol=1e-10)


@pytest.mark.parametrize("nesterov", [False, True])
def test_weight_decay_is_that_of_torch_sgd(nesterov):
    problem, lr, beta, sigma, decay, n = PROBLEMS[1], 0.02, 0.9, 0.1, 0.3, 30
    start = problem.random_start(0.3)
    method = sm.LabelNoiseSGD(problem, sigma, nesterov=nesterov, weight_decay=decay)
    ours = sm.solve(method, start, [n], lr=lr, momentum=beta, seeds=[7])
    model = torch_sgd.MatrixSensingModule(problem, start)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=beta, nesterov=nesterov, weight_decay=decay)
    for row in torch.tensor(problem.targets + sigma * draws(7, LABEL_NOISE, (n, problem.n_outputs))):
        optimizer.zero_grad()
        (((model() - row) ** 2).mean() / 2).backward()
        optimizer.step()
    w = model.point()
    if nesterov:  # torch's parameters are the look-ahead point w + beta v, and its buffer is -v / lr
        w += beta * lr * np.concatenate([optimizer.state[x]["momentum_buffer"].numpy().ravel() for x in model.parameters()])
    np.testing.assert_allclose(ours.test_error.item(), problem.test_error(w), rtol=1e-10)
    np.testing.assert_allclose(ours.train_loss.item(), problem.loss(w), rtol=1e-10)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("law", ["rademacher", "normal"])
@pytest.mark.parametrize("kind", ["number", "diagonal", "factor", "one column"])
def test_gradient_noise_and_weight_decay_equal_a_plain_loop(problem, nesterov, law, kind):
    rng, size = np.random.default_rng(0), problem.n_parameters
    given = {
        "number": 0.2,
        "diagonal": rng.standard_normal(size),
        "factor": rng.standard_normal((size, 3)),
        "one column": rng.standard_normal((size, 1)),
    }[kind]
    factor = given if np.ndim(given) == 2 else np.diag(np.broadcast_to(given, size))
    w, v, lr, beta, sigma, decay, n = problem.random_start(0.3), 0.0, 0.02, 0.9, 0.1, 0.3, 30
    method = sm.LabelNoiseSGD(problem, sigma, None, law, nesterov, decay, given)
    ours = sm.solve(method, w, [n], lr=lr, momentum=beta, seeds=[7])
    noise = draws(7, LABEL_NOISE, (n, problem.n_outputs), law)
    for xi, z in zip(noise, draws(7, GRADIENT_NOISE, (n, factor.shape[1]), law), strict=True):
        point = w + beta * v if nesterov else w
        gradient = problem.jacobian(point).T @ (problem.residual(point) - sigma * xi) / problem.n_outputs
        v = beta * v - lr * (gradient + decay * point + factor @ z)
        w = w + v
    np.testing.assert_allclose(ours.train_loss.item(), problem.loss(w), rtol=1e-10)
    np.testing.assert_allclose(ours.trace_hessian.item(), problem.trace_hessian(w), rtol=1e-10)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"noise_law": "normal", "nesterov": True, "weight_decay": 0.01},
        {"batch_size": 3, "gradient_noise": 0.05},
        {"batch_size": 2, "noise_law": "normal", "gradient_noise": [[0.1, 0.2]]},
    ],
)
@pytest.mark.parametrize(
    ("kind", "sizes"), [(sm.Valley, ([1.0, 2.0, 3.0], [0.1, 0.2, -0.3], 0.5)), (sm.MatrixSensing, (2, 1, 6))]
)
def test_without_kernels_a_problem_runs_in_numpy_on_the_same_noise(kind, sizes, how):
    compiled, plain = kind(*sizes), type("Plain", (kind,), {"kernels": None})(*sizes)
    start = np.full(compiled.n_parameters, 0.3)
    if np.ndim(how.get("gradient_noise")) == 2:
        how = how | {"gradient_noise": np.repeat(how["gradient_noise"], compiled.n_parameters, axis=0)}
    asked = dict(lr=[0.02, 1e3], momentum=[0.0, 0.9], seeds=range(40), times=[0, 1, 30], metrics=["train_loss", "trace_hessian"])
    fast, slow = (sm.solve(sm.LabelNoiseSGD(problem, 0.1, **how), start, **asked) for problem in (compiled, plain))
    np.testing.assert_array_equal(fast.diverged[0], -1)
    assert (fast.diverged[1] > 0).all()
    np.testing.assert_array_equal(slow.diverged, fast.diverged)
    for name in asked["metrics"]:
        np.testing.assert_allclose(slow[name], fast[name], rtol=1e-10)


def test_a_run_without_kernels_does_not_depend_on_its_company():
    problem = type("Plain", (sm.MatrixSensing,), {"kernels": None})(5, 1, 12)
    method, start = sm.LabelNoiseSGD(problem, 0.1, batch_size=5), problem.random_start(0.3)
    many = sm.solve(method, start, [20], lr=[0.01, 0.02], momentum=0.9, seeds=range(40), workers=2)
    few = sm.solve(method, start, [20], lr=[0.01, 0.02], momentum=0.9, seeds=[39, 3], workers=1)
    np.testing.assert_array_equal(many.train_loss.sel(seed=[39, 3]), few.train_loss)


def test_no_decay_and_no_gradient_noise_are_the_plain_update_exactly():
    problem, args = PROBLEMS[1], dict(lr=0.02, momentum=0.9, seeds=range(3), times=[1, 30])
    plain = sm.solve(sm.LabelNoiseSGD(problem, 0.1), problem.random_start(0.3), **args)
    for options in ({"weight_decay": 0.0, "gradient_noise": None}, {"gradient_noise": 0.0}):
        same = sm.solve(sm.LabelNoiseSGD(problem, 0.1, **options), problem.random_start(0.3), **args)
        np.testing.assert_array_equal(same.train_loss, plain.train_loss)


@njit(KERNEL)
def linear_outputs(data, w, f, scratch):
    for i in range(w.shape[0]):
        for n in range(w.shape[1]):
            f[i, n] = data[0, i] * w[i, n]


@njit(PULLBACK)
def linear_pullback(data, w, r, g, scratch):
    for i in range(w.shape[0]):
        for n in range(w.shape[1]):
            g[i, n] = data[0, i] * r[i, n]


class TwoModes(Problem):
    """L = (lambda_1 w_1^2 + lambda_2 w_2^2) / 2, with metrics that are the second moments of w."""

    name = "two-modes"

    def __init__(self, eigenvalues):
        self.root = np.sqrt(2 * np.array(eigenvalues))
        self.n_parameters, self.targets = 2, np.zeros(2)
        self.kernels_of_run = Kernels(linear_outputs, linear_pullback, self.root[None], 0)

    kernels = property(lambda self: self.kernels_of_run)

    def outputs(self, w):
        return self.root * w

    def jacobian(self, w):
        return np.broadcast_to(np.diag(self.root), (*w.shape[:-1], 2, 2))

    def contract_hessians(self, w, c):
        return np.zeros_like(w)

    def settings(self):
        return {}

    def loss(self, w):
        return w[..., 0] ** 2

    def test_error(self, w):
        return w[..., 0] * w[..., 1]

    def trace_hessian(self, w):
        return w[..., 1] ** 2


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("given", [[[1.0, 0.5], [0.3, 0.6]], [0.5, 2.0]], ids=["factor", "diagonal"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.4])
def test_stationary_covariance_under_gradient_noise_is_that_of_the_formulas(nesterov, given, weight_decay):
    """4000 runs, fixed seeds, 3 moments two-sided at 5 standard errors: false alarms below 2e-6. 200 steps: at rest to 1e-8."""
    eigenvalues, lr, delta = np.array([1.0, 1.7]), 0.3, 0.2
    method = sm.LabelNoiseSGD(
        TwoModes(eigenvalues), 0.0, noise_law="normal", nesterov=nesterov, weight_decay=weight_decay, gradient_noise=given
    )
    runs = sm.solve(
        method,
        [0.0, 0.0],
        [200],
        lr=lr,
        momentum=1 - delta,
        seeds=range(4000),
        metrics=("train_loss", "test_error", "trace_hessian"),
    )
    covariance = getattr(formulas, f"{'nesterov' if nesterov else 'heavy_ball'}_pair_covariance")
    factor = np.array(given) if np.ndim(given) == 2 else np.diag(given)
    total = eigenvalues + weight_decay
    expected = covariance(lr, total[:, None], total, delta, factor @ factor.T)
    for name, value in (("train_loss", expected[0, 0]), ("test_error", expected[0, 1]), ("trace_hessian", expected[1, 1])):
        x = runs[name].values.ravel()
        assert abs(x.mean() - value) < 5 * x.std() / np.sqrt(len(x)), name


def test_settings_and_results_tell_decay_and_gradient_noise():
    problem = PROBLEMS[1]
    factor = 0.1 * np.ones((problem.n_parameters, 2))
    method = sm.LabelNoiseSGD(problem, 0.1, weight_decay=0.25, gradient_noise=factor)
    assert method.settings()["weight_decay"] == 0.25
    np.testing.assert_array_equal(method.settings()["gradient_noise"], factor)
    runs = sm.solve(method, problem.random_start(0.3), [5], lr=0.01, momentum=0.9, seeds=[1])
    assert runs.attrs["weight_decay"] == 0.25
    number = sm.LabelNoiseSGD(problem, 0.1, gradient_noise=0.5)
    assert number.settings()["gradient_noise"] == 0.5
    assert (
        "gradient_noise"
        not in sm.solve(sm.LabelNoiseSGD(problem, 0.1), problem.random_start(0.3), [5], lr=0.01, momentum=0.9, seeds=[1]).attrs
    )


def mini_batches(seed, n_steps, p, batch):
    """The samples of each step, drawn without replacement by a partial Fisher-Yates shuffle of the last order."""
    state, words, order = streams([seed], BATCHES), np.empty(1, np.uint64), np.arange(p)
    for _ in range(n_steps):
        for i in range(batch):
            next_words(state, words)
            j = i + int(float(words[0] >> np.uint64(11)) * 2.0**-53 * (p - i))
            order[[i, j]] = order[[j, i]]
        yield order[:batch].copy()


@pytest.mark.parametrize("batch", [1, 5, 11])
def test_the_mini_batch_update_equals_a_plain_loop(batch):
    problem, lr, beta, sigma, n = PROBLEMS[0], 0.005, 0.9, 0.1, 30
    w, v, p = problem.random_start(0.3), 0.0, PROBLEMS[0].n_outputs
    ours = sm.solve(sm.LabelNoiseSGD(problem, sigma, batch_size=batch), w, [n], lr=lr, momentum=beta, seeds=[7])
    noise = draws(7, LABEL_NOISE, (n, p))
    for xi, chosen in zip(noise, mini_batches(7, n, p, batch), strict=True):
        residual = problem.residual(w) - sigma * xi
        v = beta * v - lr * problem.jacobian(w)[chosen].T @ residual[chosen] / batch
        w = w + v
    np.testing.assert_allclose(ours.train_loss.item(), problem.loss(w), rtol=1e-10)


def test_every_sample_is_drawn_equally_often_and_never_twice():
    """20,000 batches of 5 of 12, fixed seed; counts within 5 standard errors: false alarms below 1e-5."""
    n, p, batch = 20_000, 12, 5
    chosen = np.array(list(mini_batches(3, n, p, batch)))
    assert all(len(set(row)) == batch for row in chosen.tolist())
    counts = np.bincount(chosen.ravel(), minlength=p)
    assert np.all(np.abs(counts - n * batch / p) < 5 * np.sqrt(n * batch / p * (1 - batch / p)))


def test_runs_do_not_depend_on_their_company_or_the_number_of_threads():
    problem = PROBLEMS[0]
    method = sm.LabelNoiseSGD(problem, 0.1, batch_size=5, noise_law="normal")
    args = dict(start=problem.random_start(0.3), lr=[0.01, 0.02], momentum=[0.0, 0.9], times=[1, 20])
    many = sm.solve(method, seeds=range(40), workers=2, **args)
    few = sm.solve(method, seeds=[39, 3], workers=1, **args)
    np.testing.assert_array_equal(many.train_loss.sel(seed=[39, 3]), few.train_loss)


def test_a_diverged_run_is_marked_and_leaves_its_neighbours_alone():
    problem = PROBLEMS[0]
    method = sm.LabelNoiseSGD(problem, 0.1)
    args = dict(start=problem.random_start(0.3), momentum=0.9, seeds=range(4), times=[300])
    both = sm.solve(method, lr=[0.01, 50.0], **args)
    assert np.all(both.diverged[0] == -1)
    assert np.all(both.diverged[1] > 0)
    assert np.all(np.isnan(both.train_loss[1]))
    np.testing.assert_array_equal(both.train_loss[0], sm.solve(method, lr=0.01, **args).train_loss[0])


@pytest.mark.parametrize("lanes", [1, 7, 8, 21, 32])
@pytest.mark.parametrize(
    "problem",
    [
        *PROBLEMS,
        sm.MatrixSensing(16, 1, 100),
        sm.MatrixSensing(9, 2, 7, width=11),
        sm.MatrixSensing(7, 1, 23, width=10, symmetric=True),
        sm.MatrixSensing(6, 1, 11, width=1),
        sm.MatrixSensing(1, 1, 1),
    ],
    ids=lambda problem: "-".join(str(x) for x in (problem.d, problem.width, problem.n_outputs, problem.symmetric)),
)
def test_kernels_match_the_arrays_and_lanes_do_not_know_their_neighbours(problem, lanes):
    outputs, pullback, data, rows = problem.kernels[:4]
    rng = np.random.default_rng(0)
    w, r = rng.standard_normal((problem.n_parameters, 32)), rng.standard_normal((problem.n_outputs, 32))
    f_all, g_all, scratch = np.empty_like(r), np.empty_like(w), np.full((rows, 32), np.nan)
    outputs(data, w, f_all, scratch)
    pullback(data, w, r, g_all, scratch)
    np.testing.assert_allclose(f_all.T, problem.outputs(w.T), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(g_all.T, np.einsum("lpn,pl->ln", problem.jacobian(w.T), r), rtol=1e-11, atol=1e-12)
    some = rng.permutation(32)[:lanes]
    f, g, scratch = np.empty((len(r), lanes)), np.empty((len(w), lanes)), np.full((rows, lanes), np.nan)
    w, r = np.ascontiguousarray(w[:, some]), np.ascontiguousarray(r[:, some])
    outputs(data, w, f, scratch)
    pullback(data, w, r, g, scratch)
    np.testing.assert_array_equal(f, f_all[:, some])
    np.testing.assert_array_equal(g, g_all[:, some])


@pytest.mark.parametrize("law", ["rademacher", "normal"])
def test_noise_has_mean_zero_and_unit_variance(law):
    x = draws(1, LABEL_NOISE, (4000, 50), law)  # two-sided at 5 standard errors: false alarms below 1e-6
    se = len(x.ravel()) ** -0.5
    assert abs(x.mean()) < 5 * se
    assert abs((x**2).mean() - 1) <= 5 * se * (x**2).std()
    assert abs((x[1:] * x[:-1]).mean()) < 5 * se


@pytest.mark.parametrize("problem", PROBLEMS)
def test_second_derivatives_match_differences_of_the_jacobian(problem):
    rng = np.random.default_rng(0)
    w, c = (
        rng.standard_normal(problem.n_parameters),
        rng.standard_normal((problem.n_outputs, problem.n_parameters)),
    )
    e = rng.standard_normal(problem.n_parameters)
    change = (c * (problem.jacobian(w + e) - problem.jacobian(w - e))).sum() / 2  # exact: J is linear
    np.testing.assert_allclose(problem.contract_hessians(w, c) @ e, change, rtol=1e-9)
    np.testing.assert_allclose(problem.trace_hessian(w), np.square(problem.jacobian(w)).sum() / problem.n_outputs, rtol=1e-12)


def test_bad_input_names_argument_given_and_allowed():
    problem = PROBLEMS[0]
    method = sm.LabelNoiseSGD(problem, 0.1)
    with pytest.raises(sm.InputError, match=r"lr: given -1.0; allowed: finite numbers > 0"):
        sm.solve(method, problem.random_start(), [10], lr=-1.0, momentum=0.9, seeds=[0])
    with pytest.raises(sm.InputError, match=r"start: given shape \(3,\); allowed"):
        sm.solve(method, np.zeros(3), [10], lr=0.1, momentum=0.9, seeds=[0])
    with pytest.raises(sm.InputError, match=r"weight_decay: given -0.1; allowed: finite numbers >= 0"):
        sm.LabelNoiseSGD(problem, 0.1, weight_decay=-0.1)
    with pytest.raises(sm.InputError, match=r"weight_decay: given shape \(2,\); allowed: one number"):
        sm.LabelNoiseSGD(problem, 0.1, weight_decay=[0.1, 0.2])
    with pytest.raises(
        sm.InputError, match=r"gradient_noise: given shape \(3,\); allowed: shape \(50, r\) or \(50,\), one number"
    ):
        sm.LabelNoiseSGD(problem, 0.1, gradient_noise=[1.0, 2.0, 3.0])
    with pytest.raises(sm.InputError, match=r"gradient_noise: given nan; allowed: finite numbers"):
        sm.LabelNoiseSGD(problem, 0.1, gradient_noise=np.nan)
