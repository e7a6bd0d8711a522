"""Moment closure: mean and covariance of (w, v) under label-noise SGD as a deterministic recursion, the fluctuations taken to be
Gaussian [theory: Moment closure].

With y the point at which the gradient is taken (w, or w + beta v for Nesterov), m its mean, S its covariance, H_i = hess f_i
and J_i = grad f_i at m, all to the order that is exact for quadratic f and Gaussian y:

    rho_i    = f_i(m) - y_i + tr(S H_i) / 2      mean residual [theory: Moment closure, eq. 10.1]
    E[J^T J] = J^T J + sum_i H_i S H_i           [theory: Moment closure, eq. 10.2]
    E[g]     = (J^T rho + sum_i H_i S J_i) / P   [theory: Moment closure, eq. 10.3]
    A        = E[grad g] = (E[J^T J] + sum_i rho_i H_i + sum_i (S J_i) . grad H_i) / P,   Cov(g, .) = A Cov(y, .)
                                                 [theory: Moment closure, eq. 10.4]
    C        = c E[J^T J] / P                    covariance of the gradient's noise [theory: Moment closure, eq. 10.5]

Where f is not quadratic J stands for E[J] = J(m) + sum_bc S_bc d_b d_c J / 2, the last term of A is not zero, and all of this
is right to first order in S where the residual is small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from ..core.arguments import by_annotations
from ..core.dataset import as_attributes
from ..core.dynamics import Dynamics
from ..core.errors import InputError, check_lr, check_momentum
from ..core.progress import track
from ..core.threads import in_order, one_blas_thread
from ..problems.metrics import METRICS, Metric
from ..problems.problem import Array, Problem
from .label_noise_sgd import LabelNoiseSGD, check_steps

_STEP = 1e-4  # relative, of the central differences of H; the error is of relative order _STEP^2


class Moments(NamedTuple):
    """Means of the problem's quantities under a Gaussian of mean m and covariance S."""

    residual: Array
    """rho, (P,)."""
    jacobian: Array
    """E[J], (P, N)."""
    gram: Array
    """E[J^T J] / P, (N, N)."""
    gradient: Array
    """E[g], (N,)."""
    curvature: Array
    """A, (N, N)."""
    loss: float
    """E[L]."""


class State(NamedTuple):
    """Mean of w and v, (N,) each, and the blocks of their covariance, (N, N) each: wv[i, j] = Cov(w_i, v_j)."""

    w: Array
    v: Array
    ww: Array
    wv: Array
    vv: Array


class _Expectation:
    """(m, S) -> Moments. Hessians that do not depend on w are computed once, at `point`, and stored sparse if they are."""

    def __init__(self, problem: Problem, point: Array) -> None:
        self.problem, self.point = problem, point
        self.hessians = problem.hessians(point)
        size = 1 + np.abs(point).max()
        elsewhere = point + size * np.random.default_rng(0).standard_normal((2, len(point)))
        with np.errstate(all="ignore"):  # a far point may be outside the problem's domain: then it is not quadratic
            others = [problem.hessians(w) for w in elsewhere]
        scale = 1e-12 * np.abs(self.hessians).max()
        self.constant = all(bool(np.all(np.abs(h - self.hessians) <= scale)) for h in others)
        self.stacked: Any = None
        if self.constant and np.count_nonzero(self.hessians) < 0.2 * self.hessians.size:
            self.stacked = csr_array(self.hessians.reshape(-1, len(point)))
            self.stacked_transposed = csr_array(self.stacked.T)

    def __call__(self, m: Array, s: Array) -> Moments:
        problem, p = self.problem, self.problem.n_outputs
        n = len(m)
        h = self.hessians if self.constant else problem.hessians(m)
        jacobian = problem.jacobian(m)
        if not self.constant:
            jacobian = jacobian + _second_difference(problem, m, s, jacobian)
        # h s and sum_i h_i s h_i
        if self.stacked is not None:
            hs = (self.stacked @ s).reshape(p, n, n)
            hsh = self.stacked_transposed @ np.ascontiguousarray(np.swapaxes(hs, 1, 2)).reshape(-1, n)
        else:
            hs = (h.reshape(-1, n) @ s).reshape(p, n, n)
            hsh = h.reshape(-1, n).T @ np.swapaxes(hs, 1, 2).reshape(-1, n)
        residual = problem.residual(m) + np.trace(hs, axis1=1, axis2=2) / 2
        sj = jacobian @ s
        gram = (jacobian.T @ jacobian + (hsh + hsh.T) / 2) / p
        gradient = (jacobian.T @ residual + np.matmul(hs, jacobian[:, :, None]).sum(axis=(0, 2))) / p
        curvature = gram + np.tensordot(residual, h, 1) / p
        if not self.constant:
            curvature = curvature + _hessian_slope(problem, m, sj) / p
        squares = residual @ residual + (sj * jacobian).sum() + np.einsum("iab,iba->", hs, hs) / 2
        return Moments(residual, jacobian, gram, gradient, curvature, float(squares / (2 * p)))


def _second_difference(problem: Problem, m: Array, s: Array, jacobian: Array) -> Array:
    """sum_bc S_bc d_b d_c J / 2: second differences along the axes of S."""
    values, axes = np.linalg.eigh(s)
    axes = axes * np.sqrt(np.maximum(values, 0))
    both = problem.jacobian(m + axes.T) + problem.jacobian(m - axes.T) - 2 * jacobian
    return np.asarray(both.sum(axis=0) / 2)


def _hessian_slope(problem: Problem, m: Array, c: Array) -> Array:
    """sum_i c_i . grad H_i at m, with c (P, N) constant: (N, N)."""
    h = _STEP * (1 + np.abs(m).max())
    steps = h * np.eye(len(m))
    both = np.concatenate([m + steps, m - steps])
    forces = problem.contract_hessians(both, np.broadcast_to(c, (len(both), *c.shape)))
    slopes = (forces[: len(m)] - forces[len(m) :]) / (2 * h)
    return np.asarray((slopes + slopes.T) / 2)


@by_annotations
@dataclass(frozen=True, eq=False)
class MomentClosure(Dynamics):
    """Mean and covariance of label-noise SGD's (w, v) as a deterministic recursion [theory: Moment closure].

        E[v'] = beta E[v] - eta (E[g] + weight_decay E[y]),   E[w'] = E[w] + E[v'],   K' = M K M^T + eta^2 Q C Q^T

    K is the covariance of (w, v), M the linear step with curvature A + weight_decay, Q = (1, 1), y, A and C as in the
    module's docstring. Exact for linear f. For quadratic f the mean's step is exact as long as third cumulants of w vanish;
    Cov(g, g) = A S A leaves out terms quadratic in the fluctuations.

    It leaves out the fluctuations of the normal modes' energies. Through third cumulants these drive a variance kappa G2 / mu
    along the manifold that remains at lr -> 0 [theory: Price of speed, eq. 9.7]; the closure's is eta c g / (4 delta mu), which
    vanishes. Measured in a `Valley` at kappa mu = 1/4 from theta = 2.5, lr 1e-3: the mean of theta is off by 1 % of the start
    with 4 modes and g = 0, by 0.4 % with 16, and by up to 2 % with g = mu / 2 for any number of modes. `CriticalLimit` has them.

    Args:
        method: full-batch `LabelNoiseSGD`, with heavy ball or Nesterov momentum, weight decay and gradient noise

    A step costs O(N^3) and, for sum_i hess f_i S hess f_i, O(P N^3), or N times the nonzeros of the hessians where these are
    constant and sparse, as in matrix sensing.

    Raises:
        InputError: for another dynamics, or batches.

    >>> import sde_momentum as sm
    >>> problem = sm.MatrixSensing(3, 1, 4)
    >>> closure = sm.dynamics.MomentClosure(sm.LabelNoiseSGD(problem, 0.1))
    >>> answer = sm.solve(closure, problem.interpolating_start(), [0, 10], lr=0.1, momentum=0.9)
    >>> dict(answer.variance.sizes)
    {'lr': 1, 'momentum': 1, 'time': 2, 'parameter': 18}
    """

    clock: ClassVar[str] = "k"
    time_units: ClassVar[str] = "steps"

    method: LabelNoiseSGD

    def __post_init__(self) -> None:
        if not isinstance(self.method, LabelNoiseSGD):
            raise InputError("method", self.method, "a LabelNoiseSGD")
        if self.method.batch < self.method.problem.n_outputs:
            raise InputError("method", f"batch_size {self.method.batch}", "a full-batch LabelNoiseSGD (batch_size None)")

    def solve(
        self,
        start: ArrayLike,
        times: ArrayLike,
        *,
        lr: ArrayLike,
        momentum: ArrayLike,
        metrics: Sequence[str | Metric] = ("train_loss", "test_error", "trace_hessian"),
        workers: int = -1,
        progress: bool | None = None,
    ) -> xr.Dataset:
        """Mean and variance of the parameters and means of the metrics at `times`, from `start` at rest, with covariance 0.

        Args:
            start: w_0, (N,)
            times: numbers of updates, increasing whole numbers >= 0, (n_time,)
            lr: eta > 0, (n_lr,) or one number
            momentum: beta in [0, 1), (n_momentum,) or one number; run at every `lr`
            metrics: names of the problem's metrics, or Metric objects: the means of "train_loss" and "trace_hessian" are exact
                for quadratic f and Gaussian w, others to first order in the covariance; the distance has no such mean
            workers: threads, -1 for all cores; the numbers do not depend on it
            progress: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten

        Returns:
            Dataset of dims (lr, momentum, time): the metrics' means; `mean` and `variance` of w, with a dim `parameter`;
            `diverged` (lr, momentum): the step at which the recursion diverged, -1 for none. All is NaN from then on.

        Raises:
            InputError: for a value out of range.
        """
        rates, betas, steps = np.atleast_1d(check_lr(lr)), np.atleast_1d(check_momentum(momentum)), check_steps(times)
        measured = [self._check_metric(metric) for metric in metrics]
        expect = _Expectation(self.method.problem, self.method.problem.check_point(start))
        jobs = [(float(eta), float(beta)) for eta in rates for beta in betas]
        with track("runs", len(jobs), progress) as advance, one_blas_thread():
            run = partial(self._run, expect, steps, measured)
            parts = list(in_order((partial(run, *job, advance) for job in jobs), workers))
        shape, dims = (len(rates), len(betas)), ("lr", "momentum", "time")
        values = np.stack([part[0] for part in parts]).reshape(*shape, len(measured), len(steps))
        both = np.stack([part[1] for part in parts]).reshape(*shape, 2, len(steps), -1)
        diverged = np.array([part[2] for part in parts]).reshape(shape)
        return xr.Dataset(
            {metric.name: (dims, values[:, :, i], metric.attributes) for i, metric in enumerate(measured)}
            | {"mean": ((*dims, "parameter"), both[:, :, 0]), "variance": ((*dims, "parameter"), both[:, :, 1])}
            | {"diverged": (dims[:2], diverged, {"units": self.time_units})},
            coords={"lr": rates, "momentum": betas, "time": self.time_coordinate(steps), "parameter": np.arange(both.shape[-1])},
            attrs=self.common_attributes()
            | as_attributes(self.method.problem.settings() | self.method.settings())
            | {"step": 1, "theory": "Moment closure"},
        )

    def _check_metric(self, metric: str | Metric) -> Metric:
        """The metric, unless it is the distance, whose cusp on Gamma leaves no expansion in the covariance."""
        problem = self.method.problem
        found = problem.find_metric(metric, "metrics")
        if found.name == "distance":
            raise InputError("metrics", found.name, ", ".join(name for name in problem.metrics if name != "distance"))
        return found

    def _run(
        self, expect: _Expectation, steps: NDArray[np.int64], metrics: list[Metric], eta: float, beta: float,
        advance: Callable[[float], None],
    ) -> tuple[Array, Array, int]:  # fmt: skip
        """Means of the metrics (metric, time), mean and variance of w (2, time, N), and the step of divergence (-1: none)."""
        n = len(expect.point)
        state = State(expect.point, np.zeros(n), *np.zeros((3, n, n)))
        out, moments = np.full((len(metrics), len(steps)), np.nan), np.full((2, len(steps), n), np.nan)
        diverged = -1
        for t, (now, then) in enumerate(pairwise([0, *steps.tolist()])):
            with np.errstate(over="ignore", invalid="ignore"):  # a diverging recursion is marked
                for step in range(now, then):
                    if diverged < 0:
                        state = self._step(expect, state, eta, beta)
                        size = state.w @ state.w + state.v @ state.v + np.trace(state.ww) + np.trace(state.vv)
                        if not size < 1e100:  # far beyond recovery, far from overflow
                            diverged = step
            if diverged < 0:
                moments[:, t] = state.w, np.diagonal(state.ww)
                out[:, t] = self._measure(expect, state, metrics)
            advance((then - now) / max(1, int(steps[-1])))
        return out, moments, diverged

    def _step(self, expect: _Expectation, state: State, eta: float, beta: float) -> State:
        """One update of all moments."""
        w, v, ww, wv, vv = state
        ahead = beta if self.method.nesterov else 0.0  # y = w + ahead v
        y = w + ahead * v
        yw, yv = ww + ahead * wv.T, wv + ahead * vv
        at = expect(y, yw + ahead * yv.T)
        decay, n = float(self.method.weight_decay), len(w)
        curvature = at.curvature + decay * np.eye(n)
        noise = self.method.noise * at.gram
        rule = self.method.rule()
        if len(rule.factor):
            noise = noise + (np.diag(rule.factor[:, 0] ** 2) if rule.diagonal else rule.factor @ rule.factor.T)
        new_v = beta * v - eta * (at.gradient + decay * y)
        # Cov(v', .) for . = w, v, y, then v' and w' = w + v'
        with_w = beta * wv.T - eta * (curvature @ yw)
        with_v = beta * vv - eta * (curvature @ yv)
        with_y = with_w + ahead * with_v
        new_vv = beta * with_v - eta * (with_y @ curvature) + eta**2 * noise
        new_vv = (new_vv + new_vv.T) / 2
        return State(w + new_v, new_v, ww + with_w + with_w.T + new_vv, with_w.T + new_vv, new_vv)

    def _measure(self, expect: _Expectation, state: State, metrics: list[Metric]) -> list[float]:
        """Means of the metrics."""
        at, problem = expect(state.w, state.ww), self.method.problem
        closed = {METRICS["train_loss"].value: at.loss, METRICS["trace_hessian"].value: float(np.trace(at.gram))}
        if all(metric.value in closed for metric in metrics):
            return [closed[metric.value] for metric in metrics]
        scale, axes = np.linalg.eigh(state.ww)
        axes = (axes * np.sqrt(np.maximum(scale, 0))).T

        def mean(metric: Metric) -> float:
            here = metric(problem, state.w)
            both = metric(problem, state.w + axes) + metric(problem, state.w - axes) - 2 * here
            return float(here + both.sum() / 2)

        return [closed[metric.value] if metric.value in closed else mean(metric) for metric in metrics]
