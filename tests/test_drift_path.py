"""The drift path to a target: problems without a drift are refused in one line, and their default target."""

from __future__ import annotations

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum.core.errors import InputError
from sde_momentum.predictors.drift_path import DriftPath
from sde_momentum.problems.problem import Array, Problem


class Linear(Problem):
    """f = X w: tr H is constant."""

    name, n_parameters, targets = "linear", 5, np.ones(3)
    design = np.random.default_rng(0).standard_normal((3, 5))

    def outputs(self, w: Array) -> Array:
        return np.asarray(w @ self.design.T)

    def jacobian(self, w: Array) -> Array:
        return np.broadcast_to(self.design, (*w.shape[:-1], 3, 5))

    def contract_hessians(self, w: Array, c: Array) -> Array:
        return np.zeros(w.shape)


class Product(Problem):
    """f = u v: the flattest point of u v = y is u = v = sqrt(y)."""

    name, n_parameters = "product", 2

    def __init__(self, target: float = 1.0) -> None:
        self.targets = np.array([target])

    def outputs(self, w: Array) -> Array:
        return w[..., :1] * w[..., 1:]

    def jacobian(self, w: Array) -> Array:
        return w[..., None, ::-1]

    def contract_hessians(self, w: Array, c: Array) -> Array:
        return np.asarray(c[..., 0, ::-1])


class Square(Problem):
    """f = w^2, one parameter: Gamma is two points."""

    name, n_parameters, targets = "square", 1, np.ones(1)

    def outputs(self, w: Array) -> Array:
        return np.square(w)

    def jacobian(self, w: Array) -> Array:
        return 2 * w[..., None, :]

    def contract_hessians(self, w: Array, c: Array) -> Array:
        return 2 * c[..., 0, :]


FLAT = Linear()
REFUSED = {
    "constant tr H": (FLAT, np.linalg.pinv(FLAT.design) @ FLAT.targets, r"problem: given the same tr H = [\d.]+ on all of Gamma"),
    "one parameter": (Square(), [1.0], r"problem: given 1 independent outputs of 1 parameters; allowed: more parameters"),
    "the flattest point": (Product(), [1.0, 1.0], r"start: given tr H = 2, at rest along Gamma; allowed: a start from which"),
}


@pytest.mark.parametrize(("problem", "start", "message"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("target", [None, ("trace_hessian", 0.9)], ids=["default target", "target"])
def test_a_problem_without_a_drift_is_refused_in_one_line(problem, start, message, target):
    with pytest.raises(InputError, match=message) as caught:
        sm.predict(problem, 0.01, noise=0.01, start=start, target=target, methods=["closed form"])
    assert "\n" not in str(caught.value)


def test_without_a_test_error_the_target_is_tr_h_after_nine_tenths_of_its_fall():
    path = DriftPath.to_default_target(Product(), np.array([4.0, 0.25]))
    start, least = 4.0**2 + 0.25**2, 2.0
    assert path.metric == "trace_hessian"
    assert path.fraction == pytest.approx((least + 0.1 * (start - least)) / start, rel=1e-6)
    # dY/dt = -(1/4) grad_Gamma tr H along u v = 1, with u = e^x: dx/dt = -tanh(2 x) / 2, so that sinh(2 x) falls as exp(-t)
    cosh = path.fraction * start / 2
    exact = np.log(np.sinh(2 * np.log(4.0)) / np.sqrt(cosh**2 - 1))
    assert path.time == pytest.approx(exact, rel=2e-3)  # convergence times interpolate between steps of the flow


def test_with_a_test_error_the_target_is_a_tenth_of_it():
    problem = sm.MatrixSensing(4, 1, 12)
    path = DriftPath.to_default_target(problem, problem.interpolating_start())
    assert (path.metric, path.fraction) == ("test_error", 0.1)


def test_a_target_below_the_flattest_point_is_refused():
    with pytest.raises(InputError, match=r"fraction: given 0\.1; allowed: more than 0\.1245, what the flattest point reaches"):
        sm.predict(Product(), 0.01, noise=0.01, start=[4.0, 0.25], target=("trace_hessian", 0.1), methods=["closed form"])


def failing(problem: Problem, start: object, fraction: float) -> set[str]:
    answer = sm.predict(problem, 0.01, noise=0.01, start=start, target=("trace_hessian", fraction), methods=["closed form"])
    return {check.name for check in answer.checks if not check.holds}


def test_a_target_met_before_the_modes_fill_fails_a_check():
    assert "the modes fill before the target" in failing(Product(), [4.0, 0.25], 0.999)
    assert "the modes fill before the target" not in failing(Product(), [4.0, 0.25], 0.2)


def test_a_start_next_to_a_singular_point_fails_a_check():
    """u v = 1e-4 passes the singular point u = v = 0 at a distance that is small against the fluctuations."""
    assert "clear of singular points" in failing(Product(1e-4), [0.03, 1e-4 / 0.03], 0.5)
    assert "clear of singular points" not in failing(Product(), [4.0, 0.25], 0.5)


def test_a_start_off_gamma_counts_its_descent_in_the_closed_form():
    problem, start = Product(), np.array([3.0, 2.0])
    options = dict(noise=0.01, methods=["closed form"])
    answer = sm.predict(problem, 0.01, start=start, **options)
    landing = sm.problems.descend_to_manifold(problem, start)
    alone = sm.predict(problem, 0.01, start=landing, **options)
    descent = float(sm.predictors.first_phase(problem, start, 0.01)(answer.one_minus_beta))
    drift = float(DriftPath.to_default_target(problem, landing).expected_time(0.01, answer.one_minus_beta, 0.01))
    assert answer.time == pytest.approx(descent + drift)
    assert answer.one_minus_beta >= alone.one_minus_beta
    assert answer.best.low <= answer.one_minus_beta <= answer.best.high
    # it is the shortest sum: with the momentum of the drift alone the descent takes longer
    other = float(sm.predictors.first_phase(problem, start, 0.01)(alone.one_minus_beta)) + alone.time
    assert answer.time <= other


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("way", ["effective loss", "moment closure", "critical limit"])
def test_a_start_off_gamma_adds_its_descent_to_the_times_of_every_way(way):
    valley = sm.Valley.balanced(4, curvature=1.0, coupling=0.5)
    landing = valley.start(2.5)
    start = landing + np.eye(len(landing))[1]  # displaced across Gamma, so that noise-free training descends to near `landing`
    landing = sm.problems.descend_to_manifold(valley, start)
    options = dict(noise=0.04, target=("trace_hessian", 0.9), methods=[way], workers=1, progress=False)
    on, off = (sm.predict(valley, 0.05, start=begin, **options) for begin in (landing, start))
    np.testing.assert_array_equal(off.best.tried, on.best.tried)
    some = np.linspace(0, len(on.best.tried) - 1, 7).astype(int)
    descent = sm.predictors.first_phase(valley, start, 0.05)(np.minimum(on.best.tried[some], 1.0))
    np.testing.assert_allclose(off.best.times[some], on.best.times[some] + descent)
    assert off.time > on.time
    assert off.best.low <= off.one_minus_beta <= off.best.high
