"""T5: the noise-free equivalent of label-noise SGD: heavy ball with the same lr and momentum on L_eff = L + (delta / eta) V.

V's part from a mode of eigenvalue lambda_j is there only as far as the mode is filled with noise: each carries its share
b_j(k) of the stationary variance. The share grows at the mode's own rate and is carried along while lambda_j changes
(`formulas.energy_share_after`); with eigenvalues at rest it is the page's b(k) = 1 - exp(-delta k).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.random import LABEL_NOISE, streams
from ..problems.problem import Array, Problem
from ..theory import formulas
from .label_noise_sgd import advance


class EffectiveLoss:
    """Runs of the noise-free equivalent from one start, a lane for each (lr, one_minus_beta); advanced block by block.

    Within a block the extra force -(delta / eta) grad V is held at its value in the middle, extrapolated from the blocks
    before: it moves on the slow clock s = delta k. Everything else is the discrete update itself.

    Args:
        problem: what moves
        start: a point of Gamma, (N,): all modes are empty of noise
        lr, one_minus_beta: (n_lanes,)
        noise: c = sigma^2 / B
        nesterov: the look-ahead update
    """

    def __init__(
        self, problem: Problem, start: Array, lr: Array, one_minus_beta: Array, noise: float, *, nesterov: bool = False
    ) -> None:
        self.problem, self.lr, self.one_minus_beta = problem, lr, one_minus_beta
        self.noise, self.nesterov = noise, nesterov
        self.step = 0
        """Steps done."""
        self.w = np.ascontiguousarray(np.broadcast_to(start[:, None], (len(start), len(lr)))).copy()
        """Parameters, (N, n_lanes)."""
        self._v = np.zeros_like(self.w)
        self.share = np.zeros((len(lr), problem.n_outputs))
        """b_j of each lane's modes in the order of increasing eigenvalues, (n_lanes, P)."""
        self._log_eigenvalues: Array | None = None
        self._force: Array | None = None
        self._before: Array | None = None
        self.bend = 0.0
        """Second difference of the force over the last three blocks, relative to its size: large where blocks are too long."""
        self._block = 1
        self._diverged = np.full(len(lr), -1, dtype=np.int64)

    def advance(self, n_steps: int) -> None:
        """Take `n_steps` steps as one block."""
        force = self._mean_force(n_steps)
        middle = force if self._force is None else force + (force - self._force) * (0.5 * n_steps / self._block)
        if self._force is not None and self._before is not None:
            size = np.linalg.norm([force, self._force, self._before], axis=-1).max(axis=0)
            with np.errstate(invalid="ignore"):  # a diverged lane has no force
                self.bend = float(np.nanmax(np.linalg.norm(force - 2 * self._force + self._before, axis=-1) / size, initial=0.0))
        self._before, self._force, self._block = self._force, force, n_steps
        outputs, pullback, data, scratch_rows = self.problem.kernels
        p, lanes = self.problem.n_outputs, len(self.lr)
        states = streams(np.zeros(lanes, np.uint64), LABEL_NOISE)  # drawn from, but of no effect at label_noise = 0
        order = np.zeros((p, lanes), dtype=np.int64)
        advance(
            outputs, pullback, data, self.problem.targets, self.w, self._v, np.ascontiguousarray(middle.T),
            np.empty((scratch_rows, lanes)), self.lr, 1 - self.one_minus_beta, np.zeros(lanes),
            states, states, order, self._diverged, self.step, self.step + n_steps, p, False, self.nesterov,
        )  # fmt: skip
        self.step += n_steps

    def metric(self, name: str) -> Array:
        """One of METRICS for each lane, (n_lanes,); NaN where the run has diverged."""
        alive = self._alive()
        values = self.problem.metric(name, np.ascontiguousarray(np.where(alive, self.w, 0.0).T))
        return np.where(alive, values, np.nan)

    def _alive(self) -> NDArray[np.bool_]:
        """Lanes in the finite world. One on its way out is flagged at its next step; below 1e50 squares are finite."""
        return np.asarray((self._diverged < 0) & (np.abs(self.w).max(axis=0) < 1e50))

    def _mean_force(self, n_steps: int) -> Array:
        """(delta / eta) grad V with the shares in the middle of the block ahead, (n_lanes, N)."""
        kind = "nesterov" if self.nesterov else "heavy_ball"
        lr, delta = self.lr[:, None], self.one_minus_beta[:, None]

        def derivative(eigenvalues: Array) -> Array:
            # A mode that has closed (eigenvalue 0 up to rounding) never fills: its relaxation time is beyond any run.
            lam = np.maximum(eigenvalues, 1e-12 * eigenvalues[:, -1:] + 1e-100)
            mode = (lr, lam, delta)
            time = getattr(formulas, f"{kind}_relaxation_time")(*mode)
            swinging = getattr(formulas, f"{kind}_discriminant")(*mode) < 0
            log = np.log(lam)
            past = log if self._log_eigenvalues is None else self._log_eigenvalues
            growth = np.where(swinging, (log - past) / self._block, 0.0)
            self._log_eigenvalues = log
            if self.step:
                self.share = formulas.energy_share_after(self.share, time, growth, self._block)
            middle = formulas.energy_share_after(self.share, time, growth, n_steps / 2)
            weight = getattr(formulas, f"{kind}_drift_weight")(*mode, self.noise)
            # an unstable mode has no stationary variance: the run is on its way out by itself
            return np.asarray(delta / lr * np.where(np.isfinite(weight), weight, 0.0) * middle)

        return self.problem.spectral_gradient(np.where(self._alive()[:, None], self.w.T, 0.0), derivative)
