"""The simulator of the discrete update: exact equality with torch.optim.SGD, streams, divergence (T1, T2)."""

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum.dynamics.random import BATCHES, LABEL_NOISE, draws, next_words, streams

PROBLEMS = [
    sm.MatrixSensing(5, 1, 12),
    sm.MatrixSensing(5, 2, 9, width=3),
    sm.MatrixSensing(4, 1, 6, symmetric=True),
]


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if not p.symmetric])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("law", ["rademacher", "normal"])
def test_the_update_equals_torch_sgd_on_the_same_noise(problem, nesterov, law):
    torch_sgd = pytest.importorskip("validation.torch_sgd")
    method = sm.LabelNoiseSGD(problem, 0.1, nesterov=nesterov, noise_law=law)
    assert torch_sgd.difference(method, problem.random_start(0.3), 0.02, 0.9, seed=7, n_steps=30) < 1e-10


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_update_equals_a_plain_loop(problem, nesterov):
    w, v, lr, beta, sigma, n = problem.random_start(0.3), 0.0, 0.02, 0.9, 0.1, 30
    method = sm.LabelNoiseSGD(problem, sigma, nesterov=nesterov)
    ours = sm.simulate(method, w, lr, beta, [7], [n])
    for xi in draws(7, LABEL_NOISE, (n, problem.n_outputs)):
        point = w + beta * v if nesterov else w
        v = beta * v - lr * problem.jacobian(point).T @ (problem.residual(point) - sigma * xi) / problem.n_outputs
        w = w + v
    np.testing.assert_allclose(ours.train_loss.item(), problem.loss(w), rtol=1e-10)


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
    ours = sm.simulate(sm.LabelNoiseSGD(problem, sigma, batch_size=batch), w, lr, beta, [7], [n])
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
    args = dict(start=problem.random_start(0.3), lr=[0.01, 0.02], momentum=[0.0, 0.9], steps=[1, 20])
    many = sm.simulate(method, seeds=range(40), workers=2, **args)
    few = sm.simulate(method, seeds=[39, 3], workers=1, **args)
    np.testing.assert_array_equal(many.train_loss.sel(seed=[39, 3]), few.train_loss)


def test_a_diverged_run_is_marked_and_leaves_its_neighbours_alone():
    problem = PROBLEMS[0]
    method = sm.LabelNoiseSGD(problem, 0.1)
    args = dict(start=problem.random_start(0.3), momentum=0.9, seeds=range(4), steps=[300])
    both = sm.simulate(method, lr=[0.01, 50.0], **args)
    assert np.all(both.diverged[0] == -1)
    assert np.all(both.diverged[1] > 0)
    assert np.all(np.isnan(both.train_loss[1]))
    np.testing.assert_array_equal(both.train_loss[0], sm.simulate(method, lr=0.01, **args).train_loss[0])


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
        sm.simulate(method, problem.random_start(), -1.0, 0.9, [0], [10])
    with pytest.raises(sm.InputError, match=r"start: given shape \(3,\); allowed"):
        sm.simulate(method, np.zeros(3), 0.1, 0.9, [0], [10])
