"""Problems from functions of one's own: derivatives, starts, and the whole way to a prediction; metrics of one's own."""

import numpy as np
import pytest

import sde_momentum as sm
from derivations.models import two_factor
from sde_momentum.problems import Metric, as_problem

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


def test_a_function_of_ones_own_is_predicted_like_the_model_of_the_same_formula():
    model = two_factor(2, target=np.sqrt(0.5))  # the same with outputs and targets over sqrt(2), and w the same
    start = model.interpolating_point()
    asked = dict(start=start, target=("trace_hessian", 0.9), methods=["closed form", "effective loss"])
    theirs = sm.predict(model, 0.05, noise=5e-4, **asked)
    ours = sm.predict(PRODUCT, 0.025, noise=1e-3, **asked)  # the gradient is twice as large
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
        sm.predict(sm.MatrixSensing(3, 1, 4), 0.01, noise=1e-3, target=(SIZE, 0.95))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sm.Problem.from_function(product, [1.0, 2.0], 4),
            r"outputs: given values of shape \(1,\); allowed: a function to the shape",
        ),
        (lambda: sm.Problem.from_function(product, [np.nan], 4), "targets: given nan; allowed: finite numbers"),
        (lambda: sm.Problem.from_function(product, [1.0], 0), "n_parameters: given 0; allowed: a whole number >= 1"),
        (lambda: sm.Problem.from_function(3, [1.0], 4), "outputs: given 3; allowed: a function of w"),
        (
            lambda: sm.Valley([1.0], 0.0, 1.0).interpolating_start(),
            "start: given None; allowed: a start: valley has none of its own",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(sm.InputError, match=message):
        call()
