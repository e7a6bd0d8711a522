"""The moment closure [theory: Moment closure] against exact laws, the discrete update, and the critical limit
[theory: Critical limit]."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

import sde_momentum as sm
from sde_momentum.dynamics.moment_closure import State, _Expectation
from sde_momentum.theory import formulas

RATE, BETA, SIGMA = 0.3, 0.8, 0.7


class Linear(sm.MatrixSensing):
    """f = X w: only what the closure asks of a problem."""

    def __init__(self, design):
        super().__init__(1, 1, len(design))
        self.design, self.n_parameters, self.targets = design, design.shape[1], np.arange(1.0, len(design) + 1)

    def outputs(self, w):
        return w @ self.design.T

    def jacobian(self, w):
        return np.broadcast_to(self.design, (*w.shape[:-1], *self.design.shape))

    def contract_hessians(self, w, c):
        return np.zeros(np.broadcast_shapes(w.shape, c.shape[:-2] + c.shape[-1:]))

    def trace_hessian(self, w):
        return np.square(self.jacobian(w)).sum(axis=(-2, -1)) / self.n_outputs

    def test_error(self, w):
        return np.square(w).sum(axis=-1)


class SignedValley(sm.Valley):
    """A valley whose recorded distance is theta with its sign: the simulator streams metrics of w only."""

    def distance(self, w):
        return w[..., 0]


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_linear_problem_has_the_exact_mean_and_covariance(nesterov):
    """The recursion of (w, v) with dense matrices, weight decay and extra gradient noise included."""
    rng = np.random.default_rng(1)
    design, factor = rng.standard_normal((5, 3)), 0.1 * rng.standard_normal((3, 2))
    problem, decay, start = Linear(design), 0.05, np.array([1.0, -2.0, 0.5])
    method = sm.LabelNoiseSGD(problem, SIGMA, nesterov=nesterov, weight_decay=decay, gradient_noise=factor)
    answer = sm.solve(sm.dynamics.MomentClosure(method), start, [0, 1, 7, 40], lr=RATE, momentum=BETA)
    one, hessian = np.eye(3), design.T @ design / 5
    a = RATE * (hessian + decay * one)
    b = BETA * (one - a) if nesterov else BETA * one
    move, into = np.block([[one - a, b], [-a, b]]), np.vstack([one, one])
    noise = into @ (RATE**2 * (SIGMA**2 * hessian / 5 + factor @ factor.T)) @ into.T
    push = into @ (RATE * design.T @ problem.targets / 5)
    mean, cov = np.concatenate([start, np.zeros(3)]), np.zeros((6, 6))
    for step in range(41):
        if step in answer.time.values:
            at = answer.isel(lr=0, momentum=0).sel(time=step)
            w, s = mean[:3], cov[:3, :3]
            residual = design @ w - problem.targets
            np.testing.assert_allclose(at["mean"], w, rtol=1e-12)
            np.testing.assert_allclose(at.variance, np.diag(s), rtol=1e-12)
            np.testing.assert_allclose(at.train_loss, (residual @ residual + np.trace(design @ s @ design.T)) / 10, rtol=1e-12)
            np.testing.assert_allclose(at.test_error, w @ w + np.trace(s), rtol=1e-12)
            np.testing.assert_allclose(at.trace_hessian, np.trace(hessian), rtol=1e-12)
        mean, cov = move @ mean + push, move @ cov @ move.T + noise


@pytest.mark.parametrize("kind", ["heavy_ball", "nesterov"])
def test_a_linear_problem_has_the_stationary_variance_of_its_modes(kind):
    design = np.diag(np.sqrt([3.0, 6.0, 12.0]))  # eigenvalues 1, 2, 4
    method = sm.LabelNoiseSGD(Linear(design), SIGMA, nesterov=kind == "nesterov")
    answer = sm.solve(sm.dynamics.MomentClosure(method), np.zeros(3), [1000], lr=RATE, momentum=BETA)
    exact = getattr(formulas, f"{kind}_stationary_variance")(RATE, np.array([1.0, 2.0, 4.0]), 1 - BETA, method.noise)
    np.testing.assert_allclose(answer.variance.values[0, 0, 0], exact, rtol=1e-12)


def by_quadrature(problem, m, s):
    """Gaussian means of r, J^T J / P, g, grad g and L by a product of 5-point rules: exact up to degree 9."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    points = m + np.array(list(product(nodes, repeat=len(m)))) @ np.linalg.cholesky(s).T
    chance = np.prod(list(product(weights / weights.sum(), repeat=len(m))), axis=1)
    r, j, p = problem.residual(points), problem.jacobian(points), problem.n_outputs
    grams = np.swapaxes(j, 1, 2) @ j / p
    bends = np.array([np.tensordot(ri, problem.hessians(w), 1) for ri, w in zip(r, points, strict=True)]) / p
    means = r, grams, np.einsum("npa,np->na", j, r) / p, grams + bends, problem.loss(points)
    return [np.tensordot(chance, each, 1) for each in means]


def closed(problem, m, s):
    at = _Expectation(problem, m)(m, s)
    return [at.residual, at.gram, at.gradient, at.curvature, at.loss]


def test_gaussian_means_are_exact_for_quadratic_outputs():
    problem, rng = sm.MatrixSensing(2, 1, 3, width=1), np.random.default_rng(2)
    m, root = rng.standard_normal(4), rng.standard_normal((4, 4))
    for ours, exact in zip(closed(problem, m, root @ root.T), by_quadrature(problem, m, root @ root.T), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-12, atol=1e-12)


def test_gaussian_means_of_other_outputs_are_right_to_first_order_in_the_covariance():
    """On Gamma errors shrink as S^2, third derivatives of f included: by 16 when S shrinks by 4, that of the loss by 64."""
    problem, rng = sm.Valley([1.0, 2.0], [0.2, -0.2], 0.8, reach=2.0), np.random.default_rng(3)
    m, root = np.array([0.7, 0.0, 0.0]), rng.standard_normal((3, 3))
    errors = []
    for size in (4e-3, 1e-3):
        s = size * root @ root.T
        pairs = list(zip(closed(problem, m, s), by_quadrature(problem, m, s), strict=True))
        errors.append([np.abs(np.subtract(*pair)).max() for pair in pairs])
    np.testing.assert_allclose(np.divide(*errors), [16, 16, 16, 16, 64], rtol=0.2)


@pytest.mark.parametrize(("coupling", "modes", "tolerance"), [(0.0, 4, 0.015), (0.0, 16, 0.007), (0.5, 8, 0.02)])
def test_the_mean_in_the_valley_is_that_of_the_discrete_update(coupling, modes, tolerance):
    """kappa m = 0.25, lr 1e-3: within 4 standard errors plus `tolerance` of the start, at 6 times.

    The tolerance is for what the closure cannot see: fluctuations of the energies, of relative size kappa m / P without
    coupling, and the variance along the valley with it. Pilot runs showed 1.0, 0.4 and 1.0 %; it was set above them: this
    guards what was found, and proves no more. 18 comparisons, of which few rest on chance alone: a false alarm
    in 1000 suites with other seeds.

    With coupling theta fluctuates. The closure has what vanishes with lr, lr c g / (4 delta), settled to 1e-4 at s = 20, but not
    what the energies drive: the runs' variance is that of eq. 9.7, less 3 <theta^2> / reach^2 as the squared slopes fall
    where the valley ends. Of the next order there is 2 %, of the standard error 5 %: 4 of them, false alarms below 1e-4.
    """
    valley = SignedValley.balanced(modes, 1.0, coupling, lowest=2.5, highest=5.0)
    lr, kappa, delta, theta, n = 1e-3, 0.25, 0.01, 2.5, 512
    method = sm.LabelNoiseSGD(valley, np.sqrt(4 * kappa * delta**3 / lr**2 * modes))
    scaled = [*np.linspace(0, 10, 7)[1:], *([20] if coupling else [])]
    steps = np.rint(np.array(scaled) / delta).astype(int)
    how = {"lr": lr, "momentum": 1 - delta}
    x = sm.solve(method, valley.start(theta), steps, seeds=range(n), metrics=("distance",), **how).distance.values[0, 0]
    answer = sm.solve(sm.dynamics.MomentClosure(method), valley.start(theta), steps, **how)
    ours, error = answer["mean"].values[0, 0, :, 0], x.std(axis=0, ddof=1) / np.sqrt(n)
    off = np.abs(ours - x.mean(axis=0)) - 4 * error
    assert (off[:6] < tolerance * theta).all(), f"{ours} against {x.mean(axis=0)} +- {error}"
    if coupling:
        assert answer.variance.values[0, 0, -1, 0] == pytest.approx(lr * method.noise * coupling / (4 * delta), rel=1e-3)
        squares = np.square(x[:, -1] - x[:, -1].mean())
        driven = float(formulas.valley_variance(kappa, 1.0, coupling, valley.squared_slopes))
        expected = driven * (1 - 3 * driven / valley.reach**2)
        assert abs(squares.mean() - expected) < 4 * squares.std() / np.sqrt(n), f"{squares.mean()} against {expected}"


@pytest.mark.parametrize(("d", "measurements"), [(4, 10), (5, 15)])
def test_flatness_and_loss_in_matrix_sensing_are_those_of_the_discrete_update(d, measurements):
    """Within 4 standard errors plus 10 % of the simulation, at 7 times; before the slide (20 steps) plus 0.2 %.

    10 %: during the slide the spread of the energies makes some runs late, and the closure is up to 7 % too flat, as pilot
    runs had shown before this limit was set.
    """
    problem = sm.MatrixSensing(d, 1, measurements)
    method, start, n = sm.LabelNoiseSGD(problem, 0.1), problem.interpolating_start(), 256
    steps, how = [5, 20, 60, 150, 400, 1000, 2000], {"lr": 0.1, "momentum": 0.95}
    runs = sm.solve(method, start, steps, seeds=range(n), metrics=("trace_hessian", "train_loss"), **how)
    answer = sm.solve(sm.dynamics.MomentClosure(method), start, steps, **how)
    for name, early in (("trace_hessian", 0.002), ("train_loss", 0.02)):
        x, ours = runs[name].values[0, 0], answer[name].values[0, 0]
        error = x.std(axis=0, ddof=1) / np.sqrt(n)
        share = np.where(np.array(steps) <= 20, early, 0.1)
        allowed = 4 * error + share * x.mean(axis=0)
        assert (np.abs(ours - x.mean(axis=0)) < allowed).all(), f"{name}: {ours} against {x.mean(axis=0)} +- {error}"


def slowest_multiplier(closure, lr, beta, near, *, along=True):
    """The largest multiplier of a step, linearised in mean and covariance at the fixed point near `near`; `along`: of those with
    which the mean answers a displacement along the manifold.

    Else the mean of a normal mode x_j and its covariance with the position theta along the manifold are among them, which excite
    each other in the closure (not in training, where x_j loses its phase): D (D^2 + D + kappa m) =
    -i kappa b^2 omega_j / (2 lambda_j delta), which grows as lr^(-1/6), with D = r + 1/2, r = ln mu / delta - i omega_j / delta
    and b = d lambda_j / d theta.
    """
    expect, n = _Expectation(closure.method.problem, near), len(near)
    upper = np.triu_indices(2 * n)
    eigenvalues, axes = np.linalg.eigh(expect(near, np.zeros((n, n))).gram)
    flat = eigenvalues < 1e-9 * eigenvalues[-1]
    covariance = np.zeros((2, n, 2, n))
    for lam, axis in zip(eigenvalues[~flat], axes.T[~flat], strict=True):
        move = np.array([[1 - lr * lam, beta], [-lr * lam, beta]])
        mode = solve_discrete_lyapunov(move, np.full((2, 2), lr**2 * closure.method.noise * lam))
        covariance += mode[:, None, :, None] * np.outer(axis, axis)[None, :, None, :]
    covariance = covariance.reshape(2 * n, 2 * n)
    spread = np.sqrt(np.maximum(np.diagonal(covariance), 1e-6 * np.diagonal(covariance).max()))
    length = 1 + np.abs(near).max()  # all unknowns in units that make them of order 1
    unit = np.concatenate([np.full(n, length), np.full(n, length * (1 - beta)), np.outer(spread, spread)[upper]])

    def step(x):
        full = np.zeros((2 * n, 2 * n))
        full[upper] = (x * unit)[2 * n :]
        full += np.triu(full, 1).T
        w, v = (x * unit)[:n], (x * unit)[n : 2 * n]
        after = closure._step(expect, State(w, v, full[:n, :n], full[:n, n:], full[n:, n:]), lr, beta)
        blocks = np.block([[after.ww, after.wv], [after.wv.T, after.vv]])
        return np.concatenate([after.w, after.v, blocks[upper]]) / unit

    def derivative(x, h=1e-3):
        """By differences of fourth order: a step is a polynomial of low degree, or nearly."""
        shifts = h * np.eye(len(x))
        columns = [8 * (step(x + e) - step(x - e)) - (step(x + 2 * e) - step(x - 2 * e)) for e in shifts]
        return np.stack(columns, axis=1) / (12 * h)

    x = np.concatenate([near, np.zeros(n), covariance[upper]]) / unit
    for _ in range(20):  # Newton
        change = np.linalg.lstsq(np.eye(len(x)) - derivative(x), step(x) - x, rcond=1e-14)[0]
        x = x + change
        if np.abs(change).max() < 1e-8 * (1 + np.abs(x).max()):
            break
    multipliers, modes = np.linalg.eig(derivative(x))
    if along:  # residues of the response of the mean, along the manifold, to being displaced there
        tangent = axes.T[flat]
        residues = np.abs(tangent @ modes[:n]) * np.abs(np.linalg.inv(modes)[:, :n] @ tangent.T).T
        multipliers = multipliers[residues.sum(axis=0) > 1e-6]
    return multipliers[np.abs(multipliers).argmax()]


def critical(kappa, lr, **how):
    """(decay rate per unit of s, the critical limit's rate) in a valley with m = 1, g = 1.2 at delta = lr^(2/3)."""
    valley, delta = sm.Valley.balanced(2, 1.0, 1.2), lr ** (2 / 3)
    closure = sm.dynamics.MomentClosure(sm.LabelNoiseSGD(valley, np.sqrt(4 * kappa * 2)))
    multiplier = slowest_multiplier(closure, lr, 1 - delta, valley.start(0.01), **how)
    return -np.log(abs(multiplier)) / delta, float(formulas.critical_decay_rate(kappa, 1.0, 1.2))


@pytest.mark.parametrize("kappa", [0.1, 1.0])
def test_the_slowest_multiplier_tends_to_the_critical_rate_with_order_one_third(kappa):
    lr = np.array([1e-3, 1e-4, 1e-5, 1e-6])
    errors = np.array([np.divide(*critical(kappa, eta)) - 1 for eta in lr])
    order = np.polyfit(np.log(lr), np.log(np.abs(errors)), 1)[0]
    assert order == pytest.approx(1 / 3, abs=0.03), errors
    assert abs(errors[-1]) < 0.03


def test_other_disturbances_grow_at_small_lr():
    """A mode's mean and its covariance with theta excite each other: an instability of the closure that training lacks."""
    assert critical(1.0, 1e-5)[0] > 0 > critical(1.0, 1e-5, along=False)[0]


def test_a_recursion_that_leaves_the_finite_world_is_marked():
    problem = sm.MatrixSensing(3, 1, 4)
    closure = sm.dynamics.MomentClosure(sm.LabelNoiseSGD(problem, 0.1))
    answer = sm.solve(closure, problem.interpolating_start(), [1, 50, 2000], lr=[0.05, 20.0], momentum=0.9)
    assert answer.diverged.values[0, 0] == -1
    assert 1 < answer.diverged.values[1, 0] < 2000
    assert np.isfinite(answer.trace_hessian.values[0]).all()
    for name in ("trace_hessian", "train_loss", "test_error", "mean", "variance"):
        assert np.isnan(answer[name].values[1, 0, -1]).all()


def test_numbers_do_not_depend_on_workers_or_company():
    problem = sm.MatrixSensing(3, 1, 4)
    closure, start = sm.dynamics.MomentClosure(sm.LabelNoiseSGD(problem, 0.1)), problem.interpolating_start()
    both = sm.solve(closure, start, [3, 9], lr=[0.05, 0.1], momentum=[0.5, 0.9], workers=2)
    alone = sm.solve(closure, start, [3, 9], lr=0.1, momentum=0.9, workers=1)
    assert both.sel(lr=[0.1], momentum=[0.9]).drop_vars([]).equals(alone)
    assert (alone.attrs["dynamics"], alone.attrs["theory"], alone.attrs["step"]) == ("MomentClosure", "Moment closure", 1)


SENSING = sm.MatrixSensing(3, 1, 4)
VALLEY = sm.Valley.balanced(2, 1.0, 0.5)
CLOSURE = sm.dynamics.MomentClosure(sm.LabelNoiseSGD(VALLEY, 0.1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sm.dynamics.MomentClosure(SENSING), "method: given .*; allowed: a LabelNoiseSGD"),
        (
            lambda: sm.dynamics.MomentClosure(sm.LabelNoiseSGD(SENSING, 0.1, 2)),
            "method: given batch_size 2; allowed: a full-batch",
        ),
        (lambda: CLOSURE.solve([0.0], [1], lr=0.1, momentum=0.9), r"start: given shape \(1,\); allowed: shape \(3,\)"),
        (lambda: CLOSURE.solve(VALLEY.start(1), [1.5], lr=0.1, momentum=0.9), "steps: given .*; allowed: a 1-D array of inc"),
        (lambda: CLOSURE.solve(VALLEY.start(1), [1], lr=-1, momentum=0.9), "lr: given -1.0; allowed: finite numbers > 0"),
        (lambda: CLOSURE.solve(VALLEY.start(1), [1], lr=1, momentum=1), r"momentum: given 1.0; allowed: numbers in \[0, 1\)"),
        (
            lambda: CLOSURE.solve(VALLEY.start(1), [1], lr=1, momentum=0.9, metrics=["distance"]),
            "metrics: given distance; allowed: train_loss, test_error, trace_hessian",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(sm.InputError, match=message):
        call()
