"""Problems from functions of one's own: derivatives, starts, and the whole way to a prediction; metrics of one's own."""

import pickle

import numpy as np
import pytest

import sde_momentum as sm
from derivations.models import two_factor
from sde_momentum.dynamics.resolved_course import resolved_metric
from sde_momentum.dynamics.update import Draws, Rule, Runs, advance
from sde_momentum.problems import Metric, as_problem, descend_to_manifold

N_INPUTS, HIDDEN, SAMPLES = 2, 3, 4
RNG = np.random.default_rng(3)
X = RNG.standard_normal((SAMPLES, N_INPUTS))
N = HIDDEN * (N_INPUTS + 1)


def network(w):
    """A tanh network of one hidden layer."""
    return np.tanh(X @ w[: HIDDEN * N_INPUTS].reshape(HIDDEN, N_INPUTS).T) @ w[HIDDEN * N_INPUTS :]


def jacobian(w):
    t = np.tanh(X @ w[: HIDDEN * N_INPUTS].reshape(HIDDEN, N_INPUTS).T)
    inner = ((1 - t**2) * w[HIDDEN * N_INPUTS :])[:, :, None] * X[:, None, :]
    return np.hstack([inner.reshape(SAMPLES, -1), t])


def many(w):
    """The network at the rows of w."""
    t = np.tanh(X @ np.swapaxes(w[:, : HIDDEN * N_INPUTS].reshape(-1, HIDDEN, N_INPUTS), 1, 2))
    return (t @ w[:, HIDDEN * N_INPUTS :, None])[..., 0]


TARGETS = network(RNG.standard_normal(N))


def in_torch():
    torch = pytest.importorskip("torch")
    inputs = torch.tensor(X)

    def f(w):
        return torch.tanh(inputs @ w[: HIDDEN * N_INPUTS].reshape(HIDDEN, N_INPUTS).T) @ w[HIDDEN * N_INPUTS :]

    return sm.Problem.from_function(f, TARGETS, N)


def in_jax():
    jnp = pytest.importorskip("jax.numpy")

    def f(w):
        return jnp.tanh(X @ w[: HIDDEN * N_INPUTS].reshape(HIDDEN, N_INPUTS).T) @ w[HIDDEN * N_INPUTS :]

    return sm.Problem.from_function(f, TARGETS, N)


@pytest.mark.parametrize("exact", [in_torch, in_jax])
@pytest.mark.parametrize(
    ("by_hand", "error_j", "error_h"),
    [
        (sm.Problem.from_function(network, TARGETS, N), 1e-13, 1e-7),
        (sm.Problem.from_function(many, TARGETS, N), 1e-13, 1e-7),
        (sm.Problem.from_function(network, TARGETS, N, jacobian=jacobian), 1e-13, 1e-7),
    ],
    ids=["f", "f of many", "f and J"],
)
def test_a_network_by_hand_and_by_autodiff_agree_within_the_stated_errors(exact, by_hand, error_j, error_h):
    problem = exact()
    w, c = RNG.standard_normal((2, 3, N)), RNG.standard_normal((2, 3, SAMPLES, N))
    r = RNG.standard_normal((2, 3, SAMPLES))
    np.testing.assert_allclose(problem.outputs(w), by_hand.outputs(w), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(problem.jacobian(w), by_hand.jacobian(w), atol=error_j)
    np.testing.assert_allclose(problem.pullback(w, r), by_hand.pullback(w, r), atol=10 * error_j)
    np.testing.assert_allclose(problem.contract_hessians(w, c), by_hand.contract_hessians(w, c), atol=error_h)
    np.testing.assert_allclose(problem.contract_hessians(w[0, 0], c), by_hand.contract_hessians(w[0, 0], c), atol=error_h)


@pytest.mark.parametrize("exact", [in_torch, in_jax])
def test_autodiff_is_exact_to_rounding(exact):
    problem, w = exact(), RNG.standard_normal(N)
    np.testing.assert_allclose(problem.jacobian(w), jacobian(w), rtol=1e-12, atol=1e-13)


def product(w):
    return np.array([w[:2] @ w[2:]])


PRODUCT = sm.Problem.from_function(product, [1.0], 4, jacobian=lambda w: np.roll(w, 2)[None])


@pytest.mark.usefixtures("coarse")
def test_a_function_of_ones_own_is_predicted_like_the_model_of_the_same_formula():
    model = two_factor(2, target=np.sqrt(0.5))  # the same with outputs and targets over sqrt(2), and w the same
    start = model.interpolating_point()
    asked = dict(start=start, target=("trace_hessian", 0.9), methods=["closed form", "effective loss"])
    theirs = sm.predict(model, 0.2, noise=5e-3, **asked)
    ours = sm.predict(PRODUCT, 0.1, noise=1e-2, **asked)  # the gradient is twice as large
    for way in asked["methods"]:
        np.testing.assert_allclose(ours.ways[way].one_minus_beta, theirs.ways[way].one_minus_beta, rtol=1e-4)
        np.testing.assert_allclose(ours.ways[way].time, theirs.ways[way].time, rtol=1e-3)


def test_a_symbolic_model_is_taken_wherever_a_problem_is():
    model = two_factor(2)
    problem = model.compile()
    w = problem.interpolating_start()
    np.testing.assert_allclose(w, model.interpolating_point())
    assert as_problem(model) is problem
    assert sm.ManifoldPoint(model, w).problem is problem
    assert sm.LabelNoiseSGD(model, 0.1).problem is problem
    assert sm.CriticalLimit(model).problem is problem
    assert sm.DriftDiffusion(model, lambda w: np.eye(len(w))).problem is problem
    assert sm.drift_flow(model, w).problem is problem
    np.testing.assert_allclose(sm.problems.project_to_manifold(model, w), w)
    with pytest.raises(sm.InputError, match=r"problem: given 3; allowed: a Problem, such as"):
        sm.LabelNoiseSGD(3, 0.1)


def test_problems_of_one_name_are_told_apart_by_their_numbers():
    other = sm.Problem.from_function(product, [2.0], 4)
    assert other.settings() != PRODUCT.settings()
    assert sm.Problem.from_function(product, [1.0], 4).settings() == PRODUCT.settings()


SIZE = Metric("size", "|w|", "units of w", lambda problem, w: np.linalg.norm(w, axis=-1))


class Measured(sm.MatrixSensing):
    own_metrics = (*sm.MatrixSensing.own_metrics, SIZE)


def test_a_metric_of_ones_own_is_measured_by_every_dynamics_and_can_be_the_target():
    problem = Measured(4, 1, 10)
    start, sgd = problem.interpolating_start(), sm.LabelNoiseSGD(problem, 0.1)
    runs = [
        sm.solve(sgd, start, [0], lr=0.1, momentum=0.9, seeds=[0], metrics=["size"]),
        sm.solve(sgd, start, [0], lr=0.1, momentum=0.9, seeds=[0], metrics=[SIZE]),
        sm.solve(sm.dynamics.MomentClosure(sgd), start, [0], lr=0.1, momentum=0.9, metrics=["size"]),
        sm.solve(sm.CriticalLimit(problem), start, [0.0], kappa=0.5, seeds=[0], metrics=["size"]),
        sm.solve(sm.DriftDiffusion(problem, lambda w: np.eye(len(w))), start, [0.0], step=0.1, seeds=[0], metrics=["size"]),
    ]
    for run in runs:
        np.testing.assert_allclose(run["size"].item(), np.linalg.norm(start))
        assert run["size"].attrs == {"long_name": "|w|", "units": "units of w"}
    for metric in ("size", SIZE):
        answer = sm.predict(problem, 0.01, noise=1e-3, start=start, target=(metric, 0.95), methods=["closed form"])
        assert answer.to_dict()["target"] == {"metric": "size", "fraction": 0.95}
    with pytest.raises(sm.InputError, match="metric: given sise; allowed: train_loss, test_error, trace_hessian, distance, size"):
        problem.find_metric("sise")
    with pytest.raises(sm.InputError, match="target: given size, not the problem's own; allowed: train_loss"):
        sm.predict(sm.MatrixSensing(3, 1, 4), 0.01, noise=1e-3, target=(SIZE, 0.95), methods=["closed form"])


# -- which framework, how many points at once, which derivatives ---------------------------------------


def broadcasting(w):
    return np.tanh(w[..., :2] * w[..., 2:])


def rows_only(w):
    return np.tanh(w[:, :2] * w[:, 2:])


def one_only(w):
    return np.array([np.tanh(w[0] * w[2]), np.tanh(w[1] * w[3])])


def by_sample(w):
    """Values of shape (S, K), as a module's."""
    return np.tanh(w[:2] * w[2:])[:, None]


@pytest.mark.parametrize("f", [broadcasting, rows_only, one_only, by_sample])
def test_one_point_and_many_points_are_told_apart(f):
    problem = sm.Problem.from_function(f, [0.1, 0.2], 4)
    w, r = RNG.standard_normal((2, 3, 4)), RNG.standard_normal((2, 3, 2))
    np.testing.assert_array_equal(problem.outputs(w), broadcasting(w))
    slope = (1 - broadcasting(w) ** 2) * r
    exact = np.concatenate([slope * w[..., 2:], slope * w[..., :2]], axis=-1)
    values, pullback = problem.vjp(w)
    np.testing.assert_array_equal(values, broadcasting(w))
    np.testing.assert_allclose(pullback(r), exact, rtol=1e-13, atol=1e-15)
    assert problem.derivatives == "complex step, second derivatives by central differences"
    assert problem.lanes == (512 if f in (broadcasting, rows_only) else 32)


@pytest.mark.parametrize(
    "f",
    [
        lambda w: np.abs(w[:2]) * w[2:],  # complex numbers are taken, and give something else
        lambda w: np.array([float(w[0] * w[2]), float(w[1] * w[3])]),  # they are refused
        lambda w: np.tanh(w[:2] * w[2:]).real,  # they get lost
    ],
)
def test_where_the_complex_step_gives_something_else_differences_are_taken(f):
    problem = sm.Problem.from_function(f, [0.1, 0.2], 4)
    assert problem.derivatives == "central differences"
    w, h = np.array([1.0, 2.0, 0.5, -0.5]), 1e-5
    differences = [(problem.outputs(w + h * e) - problem.outputs(w - h * e)) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(problem.jacobian(w), np.transpose(differences), atol=1e-8)


@pytest.mark.parametrize("batched", [False, True])
def test_in_torch_one_point_and_many_points_give_the_same_problem(batched):
    torch = pytest.importorskip("torch")
    f = (lambda w: torch.tanh(w[:, :2] * w[:, 2:])) if batched else (lambda w: torch.tanh(w[:2] * w[2:]))
    problem, plain = sm.Problem.from_function(f, [0.1, 0.2], 4), sm.Problem.from_function(one_only, [0.1, 0.2], 4)
    assert (problem.derivatives, problem.lanes) == ("torch autodiff", 512)
    w, r, c = RNG.standard_normal((3, 4)), RNG.standard_normal((3, 2)), RNG.standard_normal((3, 2, 4))
    np.testing.assert_allclose(problem.jacobian(w), plain.jacobian(w), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(problem.pullback(w, r), plain.pullback(w, r), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(problem.contract_hessians(w, c), plain.contract_hessians(w, c), atol=1e-7)
    threads = torch.get_num_threads()
    problem.vjp(w)
    assert torch.get_num_threads() == threads


def test_a_module_is_a_function_of_its_trained_parameters():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1, bias=False))
    x = torch.tensor(X, dtype=torch.float32)
    problem = sm.Problem.from_function(module, torch.linspace(-0.5, 0.5, SAMPLES)[:, None], inputs=x)
    assert problem.name == "Sequential"
    assert problem.derivatives == "torch autodiff, the module cast to float64"
    assert problem.n_parameters == 2 * 3 + 3 + 3
    np.testing.assert_allclose(problem.outputs(problem.own_start), module(x).detach()[:, 0], rtol=1e-5, atol=1e-7)
    w = RNG.standard_normal(12)
    exact = np.tanh(x.double().numpy() @ w[:6].reshape(3, 2).T + w[6:9]) @ w[9:]
    np.testing.assert_allclose(problem.outputs(w), exact, rtol=1e-12)
    assert problem.loss(problem.interpolating_start()) < 1e-20
    before = problem.outputs(w)
    module[0].weight.requires_grad_(False).mul_(2.0)  # the problem has a copy
    np.testing.assert_array_equal(problem.outputs(w), before)
    partly = sm.Problem.from_function(module, np.zeros(SAMPLES), inputs=x)
    assert partly.n_parameters == 3 + 3
    np.testing.assert_allclose(partly.outputs(partly.own_start), module(x).detach()[:, 0], rtol=1e-5, atol=1e-6)


def on_device(device):
    """The tanh network in PyTorch with its data on a device, the same as a module, and a curve at finite lr of the first."""
    torch = pytest.importorskip("torch")
    inputs = torch.tensor(X, device=device)

    def f(w):
        assert w.device.type == (device or "cpu")
        return torch.tanh(inputs @ w[: HIDDEN * N_INPUTS].reshape(HIDDEN, N_INPUTS).T) @ w[HIDDEN * N_INPUTS :]

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(2, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, 1, bias=False)).double()
    problem = sm.Problem.from_function(f, TARGETS, N, device=device)
    return problem, sm.Problem.from_function(module, TARGETS, inputs=torch.tensor(X), device=device)


def numbers_of(problem):
    """Everything that a problem computes, at two points, and training of two runs from its own start."""
    rng = np.random.default_rng(5)
    w, r = rng.standard_normal((2, problem.n_parameters)), rng.standard_normal((2, problem.n_outputs))
    c = rng.standard_normal((2, problem.n_outputs, problem.n_parameters))
    start = problem.interpolating_start(seed=1)
    how = {"kappa": np.array([0.5]), "frequency": np.array([20.0]), "pace": np.ones(1), "step": 0.1}
    course = resolved_metric(problem, start, np.array([0.0, 0.5]), metric="trace_hessian", seeds=np.arange(2), **how)
    return [problem.outputs(w), problem.jacobian(w), problem.pullback(w, r), problem.contract_hessians(w, c), start, course]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_on_another_device_a_problem_is_that_of_the_cpu_to_rounding(device):
    torch = pytest.importorskip("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for there, here in zip(on_device(device), on_device(None), strict=True):
        for a, b in zip(numbers_of(there), numbers_of(here), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def test_a_start_is_where_gradient_descent_ends_within_the_coarseness_of_the_flow():
    """Both follow the gradient: apart they are a tenth of the way at most."""
    theirs = sm.MatrixSensing(5, 1, 12)
    ours = sm.Problem.from_function(theirs.outputs, theirs.targets, theirs.n_parameters)
    start = ours.random_start(0.4, seed=3)
    near = sm.Problem.from_function(theirs.outputs, theirs.targets, start=start)
    w, exact = ours.interpolating_start(0.4, seed=3), descend_to_manifold(theirs, start)
    np.testing.assert_array_equal(w, near.interpolating_start())
    assert theirs.loss(w) < 1e-24
    assert np.linalg.norm(w - exact) < 0.1 * np.linalg.norm(exact - start)
    on_it = sm.Problem.from_function(theirs.outputs, theirs.targets, start=w)
    np.testing.assert_allclose(on_it.interpolating_start(), w, atol=1e-12)
    nowhere = sm.Problem.from_function(lambda w: w[:1] ** 2 + 1, [0.0], 1)
    with pytest.raises(sm.InputError, match=r"start: given loss 0\.5"):
        nowhere.interpolating_start()


def test_a_symbolic_model_comes_through_the_same_door():
    model = two_factor(2)
    assert sm.Problem.from_function(model) is model.compile()
    with pytest.raises(sm.InputError, match=r"start: given .*; allowed: None: a SymbolicModel has its own"):
        sm.Problem.from_function(model, start=np.ones(4))
    with pytest.raises(sm.InputError, match=r"targets: given .*; allowed: None: a SymbolicModel has its own"):
        sm.Problem.from_function(model, [1.0])


# -- simulation ----------------------------------------------------------------------------------------


def steps(problem, lanes, n_steps, *, lr=0.05, first=0):
    """The update from one point with noise, `lanes` runs side by side: parameters (N, lanes) and steps of divergence."""
    w = np.repeat(np.linspace(0.5, 1.0, problem.n_parameters)[:, None], lanes, axis=1)
    rates = np.broadcast_to(lr, lanes).astype(float)
    runs = Runs(w, np.zeros_like(w), rates, np.full(lanes, 0.9), np.full(lanes, 0.1), np.full(lanes, -1))
    draws = Draws.of(np.arange(first, first + lanes, dtype=np.uint64), problem.n_outputs)
    advance(problem, runs, draws, Rule(problem.n_outputs, weight_decay=1e-3), 0, n_steps)
    return runs.w, runs.diverged


def test_hundreds_of_runs_in_one_call_are_those_of_compiled_code():
    torch = pytest.importorskip("torch")
    model = two_factor(2)
    ours = sm.Problem.from_function(lambda w: torch.dot(w[:2], w[2:])[None] / 2**0.5, model.targets, 4)
    theirs, _ = steps(model.compile(), 300, 200)
    np.testing.assert_allclose(steps(ours, 300, 200)[0], theirs, rtol=1e-9, atol=1e-12)


def test_a_run_in_torch_does_not_depend_on_its_company():
    """Not bit for bit by contract; within rounding, and unharmed by runs that diverge."""
    problem = in_torch()
    many, gone = steps(problem, 256, 100, lr=np.where(np.arange(256) % 5 == 4, 50.0, 0.05))
    assert np.all(gone[4::5] > 0)
    assert np.all(gone[:4] == -1)
    assert np.all(many[:, gone > 0] == 0)
    few, _ = steps(problem, 4, 100)
    np.testing.assert_allclose(many[:, :4], few, rtol=1e-10, atol=1e-12)


def test_a_problem_goes_to_another_process():
    problem = sm.Problem.from_function(product, [1.0], 4, start=[1.0, 2.0, 3.0, 4.0])
    again = pickle.loads(pickle.dumps(problem))
    assert again.settings() == problem.settings()
    np.testing.assert_array_equal(again.own_start, problem.own_start)


# -- errors --------------------------------------------------------------------------------------------


def nan_at_half(w):
    return np.where(w[:1] == 0.5, np.nan, w[:1] * w[1:])


def chance(w):
    return w[:1] + np.random.default_rng().standard_normal(1)


def of_numpy(f, **options):
    return lambda: sm.Problem.from_function(f, [1.0], **({"n_parameters": 2} | options))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sm.Problem.from_function(product, [1.0, 2.0], 4),
            r"f: given values of shape \(1,\) at one point; allowed: as many values as targets, 2, at each",
        ),
        (lambda: sm.Problem.from_function(product, [np.nan], 4), "targets: given nan; allowed: finite numbers"),
        (lambda: sm.Problem.from_function(product, [1.0], 0), "n_parameters: given 0; allowed: a whole number >= 1"),
        (lambda: sm.Problem.from_function(3, [1.0], 4), "f: given 3; allowed: a function of w"),
        (of_numpy(product, n_parameters=None), "n_parameters: given None; allowed: a whole number >= 1"),
        (of_numpy(product, inputs=X), "inputs: given a value; allowed: None: only a torch.nn.Module takes its inputs apart"),
        (lambda: sm.Problem.from_function(product), "targets: given None; allowed: the targets y, P finite numbers"),
        (of_numpy(lambda w: w[7:8]), r"f: given values of shape \(0,\) at one point"),
        (of_numpy(lambda w: w[7]), r"f: given IndexError: index 7 is out of bounds .*; allowed: a function of w, shape \(2,\)"),
        (of_numpy(lambda w: w[:1].astype(np.float32)), "f: given outputs in float32; allowed: outputs in float64"),
        (of_numpy(lambda w: w[:1] + 0j), "f: given outputs in complex128; allowed: outputs in float64"),
        (of_numpy(chance), "f: given other values at the same w; allowed: a deterministic function"),
        (of_numpy(nan_at_half, start=[0.5, 1.0]), "start: given a point where f is NaN or infinite; allowed: a point where"),
        (of_numpy(lambda w: w[:1] * np.nan), "f: given NaN or infinite values at standard normal w; allowed: finite ones"),
        (of_numpy(product, start=[1.0]), "start: given 1 numbers; allowed: 2 numbers: n_parameters"),
        (of_numpy(product, jacobian=3), "jacobian: given 3; allowed: a function of w"),
        (of_numpy(lambda w: w[:1] * w[1:], device="cpu"), "device: given cpu; allowed: None: f is (not in PyTorch|in numpy)"),
        (
            lambda: sm.Valley([1.0], 0.0, 1.0).interpolating_start(),
            "start: given None; allowed: a start: valley has none of its own",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(sm.InputError, match=message):
        call()


def test_a_function_that_ends_the_program_is_refused():
    def end(w):
        raise SystemExit(3)

    with pytest.raises(sm.InputError, match="f: given SystemExit: 3; allowed: a function of w"):
        sm.Problem.from_function(end, [1.0], 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda t: dict(f=lambda w: t.ones(1, 2) @ w),
            "f: given RuntimeError: .*[dD]ouble.*; allowed: a function of w, .* float64",
        ),
        (lambda t: dict(f=lambda w: t.tanh(w[:1]).float()), "f: given outputs in float32; allowed: outputs in float64"),
        (
            lambda t: dict(f=lambda w: t.tanh(w[:1]) if w[0] > 0 else w[1:]),
            "f: given RuntimeError: .* torch's vmap takes",
        ),
        (
            lambda t: dict(f=lambda w: t.tanh(w[:1]), jacobian=len),
            "jacobian: given a value; allowed: None: torch diff",
        ),
        (lambda t: dict(f=lambda w: t.tanh(w[:1]), device="gpu"), "device: given gpu; allowed: a device of PyTorch"),
        (lambda t: dict(f=lambda w: t.tanh(w[:1]), device="meta"), "device: given meta; allowed: a device of PyTorch"),
        (lambda t: dict(f=t.nn.Linear(1, 1), n_parameters=None), "inputs: given None; allowed: the inputs of the module Linear"),
        (lambda t: dict(f=t.nn.Tanh(), inputs=t.ones(1)), "f: given Tanh without parameters that are trained"),
        (lambda t: dict(f=t.nn.Linear(1, 1), inputs=t.ones(1, 1), n_parameters=3), "start: given 2 numbers; allowed: 3 numbers"),
    ],
)
def test_bad_functions_of_torch_are_refused(make, message):
    torch = pytest.importorskip("torch")
    with pytest.raises(sm.InputError, match=message):
        sm.Problem.from_function(**(dict(targets=[1.0], n_parameters=2) | make(torch)))


@pytest.mark.parametrize("shape", [(N,), (3, N), (2, 3, N)])
@pytest.mark.parametrize("error", [lambda w: float(w[0] ** 2), lambda w: w[..., 0] ** 2], ids=["one point", "many points"])
def test_a_test_error_of_ones_own_is_that_at_each_point(error, shape):
    problem = sm.Problem.from_function(network, TARGETS, N, test_error=error)
    points = RNG.standard_normal(shape)
    np.testing.assert_allclose(problem.test_error(points), points[..., 0] ** 2, rtol=1e-14)
