"""Metrics recorded along a block of runs: compiled ones equal those in NumPy, each belongs to the function it was made for, and a
run's numbers are its own [theory: Setting]."""

import numpy as np
import pytest
from numba import njit

import sde_momentum as sm
from sde_momentum.core.simd.matrix import aligned
from sde_momentum.dynamics import update
from sde_momentum.dynamics.update import Draws, Rule, Runs, record
from sde_momentum.problems import measures
from sde_momentum.problems.compiled import METRIC
from sde_momentum.problems.interpolation import descend_to_manifold, project_to_manifold
from sde_momentum.problems.measures import measure, model
from sde_momentum.problems.metrics import METRICS, Metric
from sde_momentum.problems.registry import built_in, built_in_problems

SIZE = Metric("size", "|w|", "units of w", lambda problem, w: np.linalg.norm(w, axis=-1))
COMPILED = ("train_loss", "test_error", "trace_hessian")


@njit(METRIC)
def _size(data, w, out, scratch):
    out[:] = 0.0
    for i in range(w.shape[0]):
        for n in range(w.shape[1]):
            out[n] += w[i, n] ** 2
    for n in range(w.shape[1]):
        out[n] = np.sqrt(out[n])


class Measured(sm.MatrixSensing):
    """Matrix sensing with a metric of its own, and its kernel."""

    own_metrics = (*sm.MatrixSensing.own_metrics, SIZE)

    @property
    def kernels(self):
        kernels = super().kernels
        return kernels._replace(metrics={**kernels.metrics, SIZE.value: _size})


class Plain(sm.MatrixSensing):
    """Matrix sensing in NumPy."""

    kernels = None


def cases():
    yield "square", sm.MatrixSensing(5, 2, 9, width=3)
    yield "wide", sm.MatrixSensing(3, 1, 7, width=5)
    yield "symmetric", sm.MatrixSensing(4, 1, 6, symmetric=True)
    yield "levelling", sm.Valley([1.0, 2.0, 0.5], [0.4, -0.1, -0.3], curvature=0.5, reach=1.0)
    yield from ((name, built_in(name).setup()[0]) for name in built_in_problems())


def block(problem, seeds, lanes, start, lr=0.02, momentum=0.9):
    w, v = aligned(problem.n_parameters, lanes), aligned(problem.n_parameters, lanes)
    w[:], v[:] = start[:, None], 0.0
    eta, beta = np.full(lanes, lr), np.full(lanes, momentum)
    runs = Runs(w, v, eta, beta, np.full(lanes, 0.1), np.full(lanes, -1, dtype=np.int64))
    return runs, Draws.of(np.resize(np.array(seeds, dtype=np.uint64), lanes), problem.n_outputs), Rule(problem.n_outputs)


def of(problem, *found):
    return [problem.find_metric(metric) for metric in found]


@pytest.fixture(scope="module")
def problems():
    return dict(cases())


@pytest.mark.parametrize("lanes", [1, 5, 8, 32, 41])
def test_compiled_metrics_equal_those_in_numpy(problems, lanes):
    for name, problem in problems.items():
        points = np.random.default_rng(lanes).standard_normal((lanes, problem.n_parameters)) * 0.7
        kernels, metrics = problem.kernels, of(problem, *COMPILED)
        found = [problem.compiled_metric(metric) for metric in metrics]
        compiled, scratch = (
            model(kernels, problem.targets, found),
            np.empty((kernels.scratch_rows, max(lanes, 32)))[:, :lanes].copy(),
        )
        out = np.empty(lanes)
        for metric, kind in zip(metrics, compiled.kinds, strict=True):
            if kind == measures.UNCOMPILED:
                assert metric.name == "test_error", name
                continue
            _measure(compiled, kind, np.ascontiguousarray(points.T), out, scratch)
            np.testing.assert_allclose(out, metric(problem, points), rtol=1e-12, err_msg=f"{name}, {metric}")
            alone = np.empty(1)
            _measure(compiled, kind, points[-1:].T.copy(), alone, scratch[:, :1].copy())
            assert alone[0] == out[-1], f"{name}, {metric}"  # of its own, whatever lies beside it


@njit
def _measure(compiled, kind, w, out, scratch):
    measure(compiled, kind, w, out, scratch)


def test_every_problem_with_kernels_has_a_compiled_loss_and_trace(problems):
    for problem in problems.values():
        assert None not in [problem.compiled_metric(METRICS[name]) for name in ("train_loss", "trace_hessian")]
    for name in ("square", "levelling"):
        assert problems[name].compiled_metric(METRICS["test_error"]) is not None


@pytest.mark.parametrize("kind", [Measured, Plain])
def test_records_equal_those_of_a_plain_loop(kind, monkeypatch):
    problem = kind(4, 1, 6)
    monkeypatch.setattr(update, "_KEPT", 3 * problem.n_parameters * problem.n_outputs * 5)  # three records at a time
    start, steps = problem.random_start(0.5), np.array([2, 3, 7, 8, 9, 20])
    other = Metric("first", "w_1", "units of w", lambda problem, w: w[..., 0])
    metrics = [*of(problem, *COMPILED, "distance"), SIZE, other]
    runs, draws, rule = block(problem, [0, 1, 2, 3, 4], 32, start)
    update.advance(problem, runs, draws, rule, 0, 2)
    found = record(problem, runs, draws, rule, 2, steps, metrics, n_runs=5)
    runs, draws, rule = block(problem, [0, 1, 2, 3, 4], 32, start)
    now = 0
    for t, then in enumerate(steps):
        for step in range(now, then):
            update.advance(problem, runs, draws, rule, step, step + 1)
        now = then
        points = np.ascontiguousarray(runs.w[:, :5].T)
        for values, metric in zip(found, metrics, strict=True):
            np.testing.assert_allclose(values[:, t], metric(problem, points), rtol=1e-11, err_msg=str(metric))
    assert found.shape == (6, 5, 6)


def test_a_run_that_diverges_has_no_number_from_the_next_record_on():
    problem = sm.MatrixSensing(4, 1, 6)
    runs, draws, rule = block(problem, range(32), 32, problem.random_start(1.0))
    runs.lr[::2] = 3.0
    values = record(problem, runs, draws, rule, 0, np.arange(40), [*of(problem, *COMPILED), SIZE])
    assert (runs.diverged[::2] > 0).all()
    assert (runs.diverged[1::2] == -1).all()
    for lane in range(32):
        last = 39 if runs.diverged[lane] < 0 else runs.diverged[lane]
        assert np.isfinite(values[:, lane, : last + 1]).all()
        assert np.isnan(values[:, lane, last + 1 :]).all()
    assert np.isnan(record(problem, runs, draws, rule, 39, np.array([39]), [SIZE])[0, ::2]).all()


@pytest.mark.parametrize("kind", [Measured, Plain])
def test_the_numbers_of_a_run_do_not_depend_on_its_neighbours(kind):
    problem = kind(4, 1, 6)
    method, start = sm.LabelNoiseSGD(problem, 0.1), problem.random_start(0.5)
    how = {"lr": 0.02, "momentum": 0.9, "metrics": [*COMPILED, "distance", SIZE], "workers": 1}
    many = sm.solve(method, start, [0, 1, 5, 30], seeds=range(40), **how)
    for seed in (0, 33, 39):
        one = sm.solve(method, start, [0, 1, 5, 30], seeds=[seed], **how)
        for name in one.data_vars:
            np.testing.assert_array_equal(one[name].sel(seed=seed), many[name].sel(seed=seed), err_msg=name)


def test_records_are_the_same_in_pieces(monkeypatch):
    problem = sm.MatrixSensing(4, 1, 6)
    method, start = sm.LabelNoiseSGD(problem, 0.1), problem.random_start(0.5)
    whole = sm.solve(method, start, range(0, 50, 3), lr=0.02, momentum=0.9, seeds=range(3))
    monkeypatch.setattr("sde_momentum.dynamics.label_noise_sgd.PIECE", 10)
    assert whole.equals(sm.solve(method, start, range(0, 50, 3), lr=0.02, momentum=0.9, seeds=range(3)))


class Overriding(sm.MatrixSensing):
    def test_error(self, w):
        return w[..., 0]


class Delegating(sm.problems.Problem):
    """Another problem's derivatives and kernels, and a test error of its own."""

    def __init__(self, problem):
        self.problem, self.targets, self.n_parameters = problem, problem.targets, problem.n_parameters

    def outputs(self, w):
        return self.problem.outputs(w)

    def jacobian(self, w):
        return self.problem.jacobian(w)

    def contract_hessians(self, w, c):
        return self.problem.contract_hessians(w, c)

    @property
    def kernels(self):
        return self.problem.kernels

    def test_error(self, w):
        return w[..., 0]


def _replaced(value):
    problem = sm.MatrixSensing(4, 1, 6)
    problem.own_metrics = (Metric("test_error", "w_1", "units of w", value),)
    return problem


def _of_the_object():
    problem = sm.MatrixSensing(4, 1, 6)
    problem.test_error = lambda w: w[..., 0]
    return problem


@pytest.mark.parametrize(
    "problem",
    [Overriding(4, 1, 6), Delegating(sm.MatrixSensing(4, 1, 6)), _replaced(lambda problem, w: w[..., 0]), _of_the_object()],
    ids=["overridden", "delegated", "replaced", "of the object"],
)
def test_a_kernel_is_never_used_for_another_metric_of_its_name(problem):
    start = np.linspace(0.1, 0.5, problem.n_parameters)
    found = sm.solve(sm.LabelNoiseSGD(problem, 0.1), start, [0], lr=0.02, momentum=0.9, seeds=[0])
    assert found.test_error.item() == start[0]
    for name in ("train_loss", "trace_hessian", "distance"):
        np.testing.assert_allclose(found[name].item(), problem.metric(name, start), rtol=1e-12)


def test_more_metrics_with_kernels_than_one_call_takes_are_measured_in_numpy():
    problem = Measured(4, 1, 6)
    copies = [Metric(f"size{i}", "|w|", "1", SIZE.value) for i in range(measures.MOST + 2)]
    start = problem.random_start(0.5)
    found = sm.solve(sm.LabelNoiseSGD(problem, 0.1), start, [4], lr=0.02, momentum=0.9, seeds=[0], metrics=copies)
    values = [found[copy.name].item() for copy in copies]
    np.testing.assert_allclose(values, values[0], rtol=1e-14)


def test_a_metric_of_the_wrong_shape_is_refused():
    problem = sm.MatrixSensing(4, 1, 6)
    wrong = Metric("wrong", "w", "1", lambda problem, w: w)
    with pytest.raises(sm.InputError, match=r"metric wrong: given values of shape \(1, 1, 32\) at w"):
        sm.solve(sm.LabelNoiseSGD(problem, 0.1), problem.random_start(), [0], lr=0.1, momentum=0, seeds=[0], metrics=[wrong])


def descent(problem, start):
    """Gradient descent of step size 1 / tr H in NumPy, ended by Gauss-Newton."""
    w, goal = start.copy(), 1e-6 * np.square(problem.targets).mean()
    while np.square(problem.residual(w)).mean() >= goal:
        j = problem.jacobian(w)
        w -= j.T @ problem.residual(w) / np.square(j).sum()
    return project_to_manifold(problem, w)


@pytest.mark.parametrize("size", [(8, 2, 30), (5, 1, 12)])
def test_descent_by_kernels_ends_where_that_in_numpy_does(size):
    problem = sm.MatrixSensing(*size)
    start = problem.random_start(problem.width**-0.5)
    np.testing.assert_allclose(problem.interpolating_start(), descent(problem, start), rtol=0, atol=1e-12)


def test_descent_by_kernels_of_a_formula_ends_where_that_in_numpy_does(problems):
    for name in ("two-factor", "diagonal-linear", "two-layer-linear"):
        problem = problems[name]
        start = problem.random_start(0.6)
        np.testing.assert_allclose(descend_to_manifold(problem, start), descent(problem, start), rtol=0, atol=1e-11)


def test_without_kernels_the_gradient_flow_is_followed():
    """It ends within a tenth of the way of gradient descent's end, in few calls."""
    problem, plain = sm.MatrixSensing(8, 2, 30), Plain(8, 2, 30)
    start = problem.random_start(problem.width**-0.5)
    w, exact = plain.interpolating_start(), problem.interpolating_start()
    assert plain.loss(w) < 1e-24
    assert np.linalg.norm(w - exact) < 0.1 * np.linalg.norm(exact - start)
