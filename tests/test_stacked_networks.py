"""Stacked runs: each is what it would be alone; the update is torch's; gradients, tr H and eigenvalues against other ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sde_momentum as sm
from derivations.models import two_layer_tanh
from validation.networks import stacked_sgd
from validation.networks.base import Network
from validation.networks.draws import Batches, LabelDraws
from validation.networks.effective_loss import effective_course, effective_times
from validation.networks.fit import by_sgd, interpolate
from validation.networks.losses import CrossEntropy, SquareLoss
from validation.networks.mlp import MLP
from validation.networks.problem import NetworkProblem
from validation.networks.sharpness import top_eigenvalues, trace_hessian, trace_hessian_gradient
from validation.networks.stacked_sgd import Setting, Stack
from validation.networks.task import Task

N, K = 24, 3
DOUBLE = torch.float64
pytestmark = pytest.mark.usefixtures("one_torch_thread")
ACTIVATIONS = ("tanh", "relu")


class Plain(MLP):
    """An MLP without its own gradient: what `Network` makes of `forward` alone."""

    pullback = Network.pullback


def data(seed=0, n=N, features=5):
    stream = torch.Generator().manual_seed(seed)
    x = torch.randn(n, features, dtype=DOUBLE, generator=stream)
    labels = torch.randint(K, (n,), generator=stream)
    return x, torch.nn.functional.one_hot(labels, K).to(DOUBLE)


def stacked(network, n_runs):
    runs = [network.initial(seed, DOUBLE) for seed in range(n_runs)]
    return {name: torch.cat([run[name] for run in runs]) for name in runs[0]}


def run_of(parameters, r):
    return {name: value[r : r + 1] for name, value in parameters.items()}


def close(a, b, tolerance=1e-12):
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradient_are_those_of_each_run_alone_and_of_automatic_differentiation(activation, bias):
    network, plain = (kind(5, [7, 6], K, activation=activation, bias=bias) for kind in (MLP, Plain))
    x, _ = data()
    parameters = stacked(network, 4)
    outputs, pull = network.pullback(parameters, x)
    cotangent = torch.randn(outputs.shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    gradient = pull(cotangent)
    close(gradient, plain.pullback(parameters, x)[1](cotangent))
    for r in range(4):
        alone, pull_alone = network.pullback(run_of(parameters, r), x)
        torch.testing.assert_close(alone[0], outputs[r], rtol=1e-12, atol=1e-12)
        close(run_of(gradient, r), pull_alone(cotangent[r : r + 1]))


def test_a_batch_for_each_run_gives_what_the_runs_give_on_their_batches():
    network = MLP(5, [7, 6], K)
    x, _ = data(n=3 * N)
    batches = x.view(3, N, 5)
    parameters = stacked(network, 3)
    outputs, pull = network.pullback(parameters, batches)
    gradient = pull(outputs)
    for r in range(3):
        alone, pull_alone = network.pullback(run_of(parameters, r), batches[r])
        torch.testing.assert_close(outputs[r], alone[0], rtol=1e-12, atol=1e-12)
        close(run_of(gradient, r), pull_alone(alone))


def torch_run(network, parameters, loss, x, lr, momentum, targets, *, nesterov=False, weight_decay=0.0):
    """One run by torch.optim.SGD, its targets (with their noise) given for every step."""
    model = network.module(parameters)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    for y in targets:
        optimizer.zero_grad()
        loss.value(model(x)[None], y).sum().backward()
        optimizer.step()
    return {name: value.detach()[None] for name, value in model.values.items()}


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("kind", [SquareLoss, CrossEntropy])
def test_every_run_of_a_stack_is_that_of_torch_sgd_on_the_same_noise(kind, nesterov):
    network = MLP(5, [7], K)
    x, y = data()
    loss = kind(y, 0.3)
    lr, momentum = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.9, 0.95])
    seed, seeds = np.array([0, 1, 0]), [11, 12]
    start = network.initial(0, DOUBLE)
    setting = Setting(network, loss, x, N, nesterov=nesterov, weight_decay=1e-3)
    stack = Stack.begin(start, lr, momentum, seed, seeds)
    stack.advance(setting, 30)
    draws = LabelDraws(seeds, (N, K), loss.law, torch.device("cpu"), DOUBLE)
    noisy = [loss.noisy(y, draws.at(step)) for step in range(30)]
    for r in range(3):
        targets = [step[seed[r]] for step in noisy]
        found = torch_run(network, start, loss, x, lr[r], momentum[r], targets, nesterov=nesterov, weight_decay=1e-3)
        close(run_of(stack.parameters, r), found, 1e-10)


def test_a_stack_of_some_runs_goes_on_as_if_the_others_were_there():
    network = MLP(5, [7], K)
    x, y = data()
    setting = Setting(network, SquareLoss(y, 0.3), x, N)
    make = lambda: Stack.begin(  # noqa: E731
        network.initial(0, DOUBLE), np.full(4, 0.1), np.array([0.5, 0.6, 0.7, 0.8]), np.array([0, 1, 0, 1]), [3, 4]
    )
    whole, cut = make(), make()
    whole.advance(setting, 300)
    cut.advance(setting, 280)  # in the middle of a block of draws
    cut = cut.keep(np.array([1, 2]))
    cut.advance(setting, 20)
    close({name: value[1:3] for name, value in whole.parameters.items()}, cut.parameters, 1e-11)


def test_label_draws_depend_on_seed_and_step_alone_and_have_their_law():
    make = lambda seeds, law: LabelDraws(seeds, (50, 4), law, torch.device("cpu"), DOUBLE)  # noqa: E731
    together, alone = make([5, 6], "normal"), make([6], "normal")
    for step in (0, 300, 7):
        assert torch.equal(together.at(step)[1], alone.at(step)[0])
    assert not torch.equal(together.at(0)[0], together.at(0)[1])
    assert not torch.equal(alone.at(0), alone.at(256))
    numbers = torch.stack([alone.at(step) for step in range(500)])
    n = numbers.numel()
    # four standard errors of mean and variance: false alarm 1e-4
    assert abs(float(numbers.mean())) < 4 / n**0.5
    assert abs(float(numbers.var()) - 1) < 4 * (2 / n) ** 0.5


def test_flipped_labels_have_the_probabilities_of_their_expectation():
    y = torch.eye(K, dtype=DOUBLE)
    loss = CrossEntropy(y, 0.3)
    draws = LabelDraws([0], (K, K), "uniform", torch.device("cpu"), DOUBLE)
    n = 20_000
    mean = torch.stack([loss.noisy(y, draws.at(step))[0] for step in range(n)]).mean(dim=0)
    p = loss.expected_targets()
    error = (p * (1 - p) / n).sqrt()
    # nine frequencies within four standard errors: false alarm 6e-4
    assert float(((mean - p) / error).abs().max()) < 4


def test_batches_are_permutations_cut_up():
    batches = Batches([1, 2], 10, 3, torch.device("cpu"))
    epoch = torch.cat([batches.at(step) for step in range(3)], dim=1)
    for row in epoch:
        assert len(set(row.tolist())) == 9
    assert not torch.equal(epoch[0], epoch[1])
    assert not torch.equal(epoch, torch.cat([batches.at(step) for step in range(3, 6)], dim=1))


def whole_jacobian(network, parameters, x):
    names = list(network.shapes)

    def outputs(*values):
        return network.forward({name: v[None] for name, v in zip(names, values, strict=True)}, x)[0]

    rows = torch.autograd.functional.jacobian(outputs, tuple(parameters[name][0] for name in names))
    return torch.cat([row.flatten(2) for row in rows], dim=2)  # (B, K, N)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", [SquareLoss, CrossEntropy])
def test_trace_and_eigenvalues_are_those_of_the_whole_matrix(kind, activation):
    network = MLP(5, [7, 6], K, activation=activation)
    x, y = data()
    loss = kind(y, 0.1)
    parameters = stacked(network, 3)
    trace, error = trace_hessian(network, loss, parameters, x)
    top = top_eigenvalues(network, loss, parameters, x, n=2, n_lanczos=40)
    assert float(error.max()) == 0
    for r in range(3):
        j = whole_jacobian(network, run_of(parameters, r), x)
        p = torch.softmax(network.forward(run_of(parameters, r), x)[0], dim=-1)
        eye = torch.eye(K, dtype=DOUBLE).expand(N, K, K)
        s = eye / (N * K) if kind is SquareLoss else (torch.diag_embed(p) - p[:, :, None] * p[:, None, :]) / N
        h = torch.einsum("bkn,bkl,blm->nm", j, s, j)
        torch.testing.assert_close(trace[r], h.trace(), rtol=1e-10, atol=0)
        torch.testing.assert_close(top[r], torch.linalg.eigvalsh(h).flip(0)[:2], rtol=1e-8, atol=0)


def test_random_probes_find_the_trace_within_their_error():
    network = Plain(5, [7, 6], K)
    x, y = data()
    loss = CrossEntropy(y, 0.1)
    parameters = stacked(network, 2)
    exact = network.squared_pullback(parameters, x, loss.curvature_factors)

    class Blind(Network):  # any network whose trace is not known in closed form
        n_outputs = K
        shapes = network.shapes
        initial = network.initial
        forward = network.forward

    trace, error = trace_hessian(Blind(), loss, parameters, x, n_probes=400)
    # four standard errors, two runs: false alarm 1.3e-4
    assert bool(((trace - exact).abs() < 4 * error).all())
    assert bool((error < 0.05 * exact).all())


@pytest.mark.parametrize("kind", [SquareLoss, CrossEntropy])
def test_gradient_of_the_trace_is_its_finite_difference(kind):
    network = MLP(5, [6, 6], K)
    x, y = data()
    loss = kind(y, 0.1)
    parameters = stacked(network, 2)
    gradient = trace_hessian_gradient(network, loss, parameters, x, n_probes=1, seed=0)
    stream = torch.Generator().manual_seed(0)
    way = {name: torch.randn(value.shape, dtype=DOUBLE, generator=stream) for name, value in parameters.items()}
    h = 1e-5
    ends = [
        trace_hessian(network, loss, {name: w + sign * h * way[name] for name, w in parameters.items()}, x)[0] for sign in (1, -1)
    ]
    along = sum((gradient[name] * way[name]).flatten(1).sum(dim=1) for name in way)
    torch.testing.assert_close(along, (ends[0] - ends[1]) / (2 * h), rtol=1e-6, atol=1e-8)


def test_a_network_is_a_problem_of_the_library():
    network = MLP(4, [5, 5], 2)
    stream = torch.Generator().manual_seed(3)
    x, y = (torch.randn(9, n, dtype=DOUBLE, generator=stream) for n in (4, 2))
    problem = NetworkProblem(network, x, y)
    start = network.initial(0, DOUBLE)
    w = problem.flat(start)
    direction = np.random.default_rng(0).standard_normal(len(w))
    h = 1e-6
    j = problem.jacobian(w)
    np.testing.assert_allclose(
        (problem.outputs(w + h * direction) - problem.outputs(w - h * direction)) / (2 * h), j @ direction, atol=1e-8
    )
    c = np.random.default_rng(1).standard_normal(j.shape)
    change = ((problem.jacobian(w + h * direction) - problem.jacobian(w - h * direction)) * c).sum() / (2 * h)
    np.testing.assert_allclose(problem.contract_hessians(w, c) @ direction, change, rtol=1e-6)
    exact, _ = trace_hessian(network, SquareLoss(y, 0.1), start, x)
    np.testing.assert_allclose(problem.trace_hessian(w), exact[0].item(), rtol=1e-12)
    two = np.stack([w, w + 0.1 * direction])
    np.testing.assert_allclose(problem.jacobian(two)[1], problem.jacobian(two[1]), rtol=1e-12)
    assert problem.kernels is None


def small_task(noise=0.1):
    network = MLP(6, [12], 1, bias=False)
    stream = torch.Generator().manual_seed(5)
    x, y = (torch.randn(10, n, dtype=DOUBLE, generator=stream) for n in (6, 1))
    return Task(network, SquareLoss(y, noise), x, x, y, classes=False, source="random")


def test_phase_1_interpolates():
    task = small_task()
    fit = interpolate(task.network, task.loss, task.inputs, task.network.initial(0, DOUBLE))
    assert 0 <= fit.excess < 1e-14
    assert float(task.loss.value(task.network.forward(fit.parameters, task.inputs), task.loss.targets)) < 1e-14


def test_phase_1_with_flips_ends_where_softmax_is_the_flipped_labels_probability():
    x, y = data(n=8)
    network, loss = MLP(5, [20], K), CrossEntropy(y, 0.2)
    fit = interpolate(network, loss, x, network.initial(0, DOUBLE))
    p = torch.softmax(network.forward(fit.parameters, x)[0], dim=-1)
    torch.testing.assert_close(p, loss.expected_targets(), rtol=0, atol=1e-5)
    assert abs(fit.excess) < 1e-9


def test_the_effective_loss_gives_the_time_of_the_librarys_own():
    """A tanh network in PyTorch against the same one from its formula, compiled.

    The library's L_eff knows that the energies lag behind their eigenvalues [theory: Effective loss], this one does not:
    hence 10 %.
    """
    model = two_layer_tanh(4, 10, 12)
    compiled, w = model.compile(), model.interpolating_point()
    network = MLP(4, [10], 1, bias=False)
    x = torch.tensor(np.array(model.data, dtype=float))
    y = torch.tensor(compiled.targets)[:, None]
    task = Task(network, SquareLoss(y, 0.1), x, x, y, classes=False, source="formula")
    problem = NetworkProblem(network, x, y)
    np.testing.assert_allclose(problem.jacobian(w), compiled.jacobian(w), atol=1e-10)
    start = problem.parameters(w)
    noise, lr, fraction = task.noise(12), 0.02, 0.8
    deltas = np.array([0.01, 0.015, 0.02])
    found = effective_times(task, start, noise, lr, deltas, fraction)
    assert found is not None
    known = np.isfinite(found.time)
    predictor = sm.EffectiveLossPredictor(compiled, w, noise, metric="trace_hessian", fraction=fraction)
    assert known.any()
    np.testing.assert_allclose(found.time[known], predictor.convergence_time(lr, deltas)[known], rtol=0.1)


def test_the_course_on_the_effective_loss_without_noise_is_that_of_plain_training_and_has_the_times_with_it():
    x, y = data()
    network, loss = MLP(5, [24], K), SquareLoss(y, 0.0)
    task = Task(network, loss, x, x, y, classes=True, source="")
    start, deltas, steps = network.initial(0, DOUBLE), np.array([0.1, 0.4]), np.arange(0, 41, 8)
    found = effective_course(task, start, 0.0, 0.3, deltas, steps)
    stack = Stack.begin(start, np.full(2, 0.3), 1 - deltas, np.zeros(2, int), [0])
    setting = Setting(network, loss, x, N, noisy=False)
    for t, step in enumerate(steps):
        stack.advance(setting, int(step) - stack.step)
        for name, value in task.measure(stack.parameters, start).items():
            np.testing.assert_allclose(found[name][:, t], value, rtol=1e-5, atol=1e-6, err_msg=name)
    fitted = interpolate(network, loss, x, start, max_iterations=300).parameters
    timed = effective_times(task, fitted, 0.01, 0.3, deltas, 0.8)
    assert timed is not None
    j = int(np.argmin(timed.time))
    every = np.arange(0, int(1.5 * timed.time[j]), 4)
    trace = effective_course(task, fitted, 0.01, 0.3, deltas, every)["trace_hessian"]
    assert sm.convergence_time(trace, every, 0.8)[j] == pytest.approx(timed.time[j], rel=1e-4)


def test_fit_by_sgd_comes_to_an_interpolating_point_and_draws_no_label_noise(monkeypatch):
    monkeypatch.delattr(SquareLoss, "noisy")
    x, y = data()
    loss = SquareLoss(y, 0.3)
    network = MLP(5, [24], K)
    how = Setting(network, loss, x, batch_size=8)
    start = network.initial(0, DOUBLE)
    fit = by_sgd(how, start, lr=0.1, n_steps=2000, seed=3)
    began = float(loss.value(network.forward(start, x), y))
    assert fit.excess == pytest.approx(float(loss.value(network.forward(fit.parameters, x), y)))
    assert fit.excess < 1e-3 * began
    once, again = (by_sgd(how, start, lr=0.1, n_steps=100, seed=3) for _ in range(2))
    close(once.parameters, again.parameters, 0)


def test_measures_in_portions_and_on_some_of_the_samples_are_those_of_a_smaller_task(monkeypatch):
    x, y = data()
    network, loss = MLP(5, [7], K), SquareLoss(y, 0.3)
    parameters, start = stacked(network, 5), network.initial(9, DOUBLE)
    some = Task(network, loss, x, x, y, classes=True, source="", n_measured=10)
    fewer = Task(network, SquareLoss(y[:10], 0.3), x[:10], x, y, classes=True, source="")
    expected = fewer.measure(parameters, start), fewer.eigenvalues(parameters)
    monkeypatch.setattr(MLP, "n_together", lambda self, n_samples: 2)
    found = some.measure(parameters, start), some.eigenvalues(parameters)
    for name, value in expected[0].items():
        np.testing.assert_allclose(found[0][name], value, rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("batch_size", [8, N])
def test_on_cuda_a_captured_update_is_the_plain_one(batch_size, monkeypatch):
    x, y = (part.cuda() for part in data())
    network = MLP(5, [7, 6], K)
    how = Setting(network, SquareLoss(y, 0.3), x, batch_size=batch_size, weight_decay=0.01)
    start = {name: value.cuda() for name, value in network.initial(0, DOUBLE).items()}
    captured, plain = (
        Stack.begin(start, np.full(4, 0.1), np.array([0.0, 0.5, 0.9, 0.9]), np.array([0, 0, 0, 1]), [3, 4]) for _ in range(2)
    )
    captured.advance(how, 5)
    captured.advance(how, 20)
    with monkeypatch.context() as patched:
        patched.setattr(stacked_sgd, "Captured", lambda update: update)
        plain.advance(how, 25)
    close(captured.parameters, plain.parameters, 1e-12)
    few = captured.keep(np.array([1, 3]))
    few.advance(how, 10)
    captured.advance(how, 10)
    close(few.parameters, {name: value[[1, 3]] for name, value in captured.parameters.items()}, 1e-12)
