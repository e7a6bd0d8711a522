"""The effective loss: noise-free heavy ball, with the same lr and momentum, on L_eff = L + (delta / eta) V
[theory: Effective loss, eq. 5.1].

V = sum_j b_j V(lambda_j), with V(lambda) the potential of the drift along Gamma and delta = 1 - beta. b_j(k) is the share of
its stationary variance that mode j has after k steps: it grows at the mode's relaxation rate and changes with lambda_j
[theory: Effective loss, eq. 5.2]; for an underdamped mode of constant eigenvalue it is 1 - exp(-delta k).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..problems.metrics import Metric
from ..problems.problem import Array, Problem, as_problem
from ..theory import formulas
from .update import Draws, Rule, Runs, advance


class EffectiveLoss:
    """Runs on the effective loss from one start, one for each (lr, one_minus_beta), advanced by segments of steps.

    Within a segment the force -(delta / eta) grad V is constant, at its value in the middle, extrapolated from the segment
    before: it changes on the time scale of s = delta k. The gradient of the loss is taken at every step.

    Args:
        problem: a Problem, or a SymbolicModel
        start: a point of Gamma, (N,): all modes are empty, b_j = 0
        lr, one_minus_beta: eta and delta of each run, (n_lanes,)
        noise: c = sigma^2 / B, in units of the loss
        nesterov: the look-ahead update

    >>> from sde_momentum import Valley
    >>> valley = Valley([1.0, 2.0], 0.0, curvature=0.5)
    >>> runs = EffectiveLoss(valley, valley.start(1.0), np.array([0.1]), np.array([0.1]), noise=0.01)
    >>> runs.advance(10)
    >>> runs.step, bool(runs.metric("trace_hessian")[0] < 3.25)
    (10, True)
    """

    def __init__(
        self, problem: Problem, start: Array, lr: Array, one_minus_beta: Array, noise: float, *, nesterov: bool = False
    ) -> None:
        self.problem, self.lr, self.one_minus_beta = as_problem(problem), lr, one_minus_beta
        self.noise, self.nesterov = noise, nesterov
        self.step = 0
        """Number of steps taken."""
        self.w = np.ascontiguousarray(np.broadcast_to(start[:, None], (len(start), len(lr)))).copy()
        """Parameters, (N, n_lanes)."""
        self._v = np.zeros_like(self.w)
        self.share = np.zeros((len(lr), self.problem.n_outputs))
        """b_j of each lane's modes in the order of increasing eigenvalues, (n_lanes, P)."""
        self._log_eigenvalues: Array | None = None
        self._force: Array | None = None
        self._before: Array | None = None
        self.bend = 0.0
        """Second difference of the force over the last three segments, relative to its size: large where they are too long."""
        self._segment = 1
        self._diverged = np.full(len(lr), -1, dtype=np.int64)
        self._rule = Rule(self.problem.n_outputs, nesterov=bool(nesterov))
        self._quiet = np.zeros(len(lr))
        self._draws = Draws.of(np.zeros(len(lr), np.uint64), self.problem.n_outputs)  # unused without label noise

    def advance(self, n_steps: int) -> None:
        """Take `n_steps` steps as one segment."""
        force = self._mean_force(n_steps)
        middle = force if self._force is None else force + (force - self._force) * (0.5 * n_steps / self._segment)
        if self._force is not None and self._before is not None:
            size = np.linalg.norm([force, self._force, self._before], axis=-1).max(axis=0)
            with np.errstate(invalid="ignore"):  # a diverged lane has no force
                self.bend = float(np.nanmax(np.linalg.norm(force - 2 * self._force + self._before, axis=-1) / size, initial=0.0))
        self._before, self._force, self._segment = self._force, force, n_steps
        runs = Runs(self.w, self._v, self.lr, 1 - self.one_minus_beta, self._quiet, self._diverged)
        advance(self.problem, runs, self._draws, self._rule, self.step, self.step + n_steps, middle.T)
        self.step += n_steps

    def metric(self, metric: str | Metric) -> Array:
        """The metric of each run, (n_lanes,); NaN where it has diverged."""
        alive = self._alive()
        values = self.problem.metric(metric, np.ascontiguousarray(np.where(alive, self.w, 0.0).T))
        return np.where(alive, values, np.nan)

    def _alive(self) -> NDArray[np.bool_]:
        """Runs that have not diverged. The update marks a diverging run a step late; below 1e50 its squares are finite."""
        return np.asarray((self._diverged < 0) & (np.abs(self.w).max(axis=0) < 1e50))

    def _mean_force(self, n_steps: int) -> Array:
        """(delta / eta) grad V with the shares b_j in the middle of the segment ahead, (n_lanes, N)."""
        kind = "nesterov" if self.nesterov else "heavy_ball"
        lr, delta = self.lr[:, None], self.one_minus_beta[:, None]

        def derivative(eigenvalues: Array) -> Array:
            # a mode of eigenvalue 0 up to rounding gets no variance: its relaxation time is longer than any run
            lam = np.maximum(eigenvalues, 1e-12 * eigenvalues[:, -1:] + 1e-100)
            mode = (lr, lam, delta)
            time = getattr(formulas, f"{kind}_relaxation_time")(*mode)
            underdamped = getattr(formulas, f"{kind}_discriminant")(*mode) < 0
            log = np.log(lam)
            past = log if self._log_eigenvalues is None else self._log_eigenvalues
            growth = np.where(underdamped, (log - past) / self._segment, 0.0)
            self._log_eigenvalues = log
            if self.step:
                self.share = formulas.energy_share_after(self.share, time, growth, self._segment)
            middle = formulas.energy_share_after(self.share, time, growth, n_steps / 2)
            weight = getattr(formulas, f"{kind}_drift_weight")(*mode, self.noise)
            # an unstable mode has no stationary variance: the run diverges by itself
            return np.asarray(delta / lr * np.where(np.isfinite(weight), weight, 0.0) * middle)

        return self.problem.spectral_gradient(np.where(self._alive()[:, None], self.w.T, 0.0), derivative)
