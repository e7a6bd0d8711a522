"""The simulator of the discrete update: exact equality with torch.optim.SGD, streams, divergence (T1, T2)."""

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum.dynamics.random import fill_normal, fill_rademacher, streams

PROBLEMS = [
    sm.MatrixSensing(5, 1, 12),
    sm.MatrixSensing(5, 2, 9, width=3),
    sm.MatrixSensing(4, 1, 6, symmetric=True),
]


def noise(seed, steps, p, fill=fill_rademacher):
    state, words, out = streams([seed], 0), np.empty(1, np.uint64), np.empty((p, 1))
    rows = []
    for _ in range(steps):
        fill(state, words, out)
        rows.append(out[:, 0].copy())
    return np.array(rows)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_update_equals_torch_sgd_on_the_same_noise(problem, nesterov):
    torch = pytest.importorskip("torch")
    w0, lr, momentum, sigma, n = problem.random_start(0.3), 0.02, 0.9, 0.1, 30
    method = sm.LabelNoiseSGD(problem, sigma, nesterov=nesterov)
    ours = sm.simulate(method, w0, lr, momentum, [7], [n])
    w = torch.tensor(w0, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=lr, momentum=momentum, nesterov=nesterov)
    a = torch.tensor(problem.measurements)
    d, k = problem.d, problem.width

    def loss(labels):
        u = w[: d * k].reshape(d, k)
        v = u.T if problem.symmetric else w[d * k :].reshape(k, d)
        return ((torch.einsum("pij,ij->p", a, u @ v) - labels) ** 2).mean() / 2

    if nesterov:  # torch keeps the look-ahead point as its parameters: compare plain heavy ball only there
        v, x = np.zeros_like(w0), w0.copy()
        for xi in noise(7, n, problem.n_outputs):
            look = x + momentum * v
            g = problem.jacobian(look).T @ (problem.residual(look) - sigma * xi) / problem.n_outputs
            v = momentum * v - lr * g
            x = x + v
        expected = problem.loss(x)
    else:
        for xi in noise(7, n, problem.n_outputs):
            optimizer.zero_grad()
            loss(torch.tensor(problem.targets + sigma * xi)).backward()
            optimizer.step()
        expected = loss(torch.tensor(problem.targets)).item()
    np.testing.assert_allclose(ours.train_loss.item(), expected, rtol=1e-10)


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


@pytest.mark.parametrize("fill", [fill_rademacher, fill_normal])
def test_noise_has_mean_zero_and_unit_variance(fill):
    x = noise(1, 4000, 50, fill)  # two-sided at 5 standard errors: false alarms below 1e-6
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
