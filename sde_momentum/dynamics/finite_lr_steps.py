"""Steps of the critical limit at finite lr for several runs at once, in NumPy [theory: Finite learning rate].

As in the limit (`critical_steps`), but pairs of modes of neighbouring frequencies add to the force (`geometry.normal_modes`),
with n_j the modes' unit vectors and x_j their displacements [theory: Finite learning rate, eq. 8.7],

    dp = -p ds - kappa P_T sum_ij <x_i x_j> n_i^T (grad H) n_j ds

and modes whose period the step resolves are integrated directly, as part of w (`slow_modes`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.random import CRITICAL_LIMIT, fill_normal, streams
from ..geometry.along_manifold import Frame, move
from ..geometry.normal_modes import carry, relax, squares
from ..problems.problem import Array, Problem
from . import slow_modes
from .critical_runs import Schedule

_TOGETHER = 2**18  # entries of the Jacobians of a chunk's runs; no run's numbers depend on it

_HALVINGS = 5  # how often a move that does not come back onto Gamma is halved
_SOFTER = 3  # largest number of further modes that become slow for such a move


class Chunk:
    """Runs stepped together: w (n, N) on Gamma, p (n, N), and z (n, P) of modes along `axes` (n, P, N), at their last kick."""

    def __init__(
        self, problem: Problem, start: Array, kappa: Array, frequency: Array, seeds: NDArray[np.uint64], tolerance: float
    ) -> None:
        n, rows = len(kappa), problem.n_outputs
        self.problem, self.kappa, self.frequency = problem, kappa, frequency
        self.root = np.ones((n, rows))  # sqrt(lambda_j) when z was last written
        self.tolerance = tolerance
        self.w = np.repeat(start[None], n, axis=0)
        self.p = np.zeros_like(self.w)
        self.z = np.zeros((n, rows), dtype=complex)
        self.axes = np.zeros((n, rows, problem.n_parameters))  # of the modes: eigenvectors of H
        self.n_slow = np.zeros(n, dtype=np.intp)  # number of slow modes: part of w, without an amplitude
        self.frame = self._frame(slice(None))  # of the runs that have not diverged
        self.state = streams(seeds, CRITICAL_LIMIT)
        self.time = 0.0
        self.behind = 0.0  # time since the last kick: w has yet to move for it
        self.diverged = np.full(n, np.nan)  # the s at which a run diverged, NaN for none

    def step(self, h: float) -> None:
        """One step of size h of every run that has not diverged."""
        xi = np.empty((2 * self.problem.n_outputs, len(self.kappa)))
        fill_normal(self.state, xi)  # for diverged runs too: no stream may depend on its neighbours
        self.time += h
        some = np.flatnonzero(np.isnan(self.diverged))
        if not len(some):
            return
        with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges is marked below
            frame = self.frame if len(some) == len(self.frame.jacobian) else self._frame(some)
            w, p, off, frame = self._move(self.w[some], self.p[some], self.behind + h / 2, frame)
            self.n_slow[some] = frame.n_slow
            w, p, bad, self.frame = self._kick(some, w, p, xi[:, some].T, h, off, frame)
        self.w[some], self.p[some] = w, p
        self.behind = h / 2
        self.diverged[some[bad]] = self.time

    def places(self) -> Array:
        """w at the present time, (n, N); of diverged runs where they diverged."""
        some = np.flatnonzero(np.isnan(self.diverged))
        w = self.w.copy()
        if len(some) and self.behind:
            frame = self.frame if len(some) == len(self.frame.jacobian) else self._frame(some)
            with np.errstate(over="ignore", invalid="ignore"):
                w[some], off = move(self.problem, self.w[some], self.behind * self.p[some], self.tolerance, frame)
                again = some[off]
                if len(again):
                    w[again], _, missed, _ = self._move(
                        self.w[again], self.p[again], self.behind, frame.chosen(np.flatnonzero(off))
                    )
                    self.diverged[again[missed]] = self.time
        return w

    def _frame(self, some: Any) -> Frame:
        return Frame.at(self.problem, self.w[some], self.n_slow[some].copy())

    def _move(
        self, w: Array, p: Array, h: float, frame: Frame, halvings: int = _HALVINGS, softer: int = _SOFTER
    ) -> tuple[Array, Array, NDArray[np.bool_], Frame]:
        """(w, p) after moving along Gamma for h, flags of runs that could not be brought back onto it, and the frame there.

        Such a run is moved in two halves: close to where J loses rank Gamma bends within a step. If that fails too, a slow mode
        has crossed the fast mode of lowest frequency, which took over its displacement: that mode is treated as slow too.
        """
        end, off = move(self.problem, w, h * p, self.tolerance, frame)
        there = Frame.at(self.problem, end, frame.n_slow)
        speed = there.tangent((end - w) / h)
        some = np.flatnonzero(off & np.isfinite(p).all(axis=-1))
        if halvings and len(some):
            middle, slower, missed, between = self._move(w[some], p[some], h / 2, frame.chosen(some), halvings - 1)
            left = np.flatnonzero(~missed)
            if len(left):
                some, between = some[left], between.chosen(left)
                end[some], speed[some], off[some], last = self._move(middle[left], slower[left], h / 2, between, halvings - 1)
                there = there.replaced(some, last)
        elif softer and len(some):
            free = frame.chosen(some, frame.n_slow[some] + 1)
            end[some], speed[some], off[some], last = self._move(w[some], p[some], h, free, 0, softer - 1)
            there = there.replaced(some, last)
        return end, speed, off, there

    def _kick(
        self, some: NDArray[np.intp], w: Array, p: Array, xi: Array, h: float, off: NDArray[np.bool_], frame: Frame
    ) -> tuple[Array, Array, NDArray[np.bool_], Frame]:
        """(w, p) after damping, force and noise for h, flags of runs that diverged, and the frame; xi (n, 2 P): normals."""
        problem, rows = self.problem, self.problem.n_outputs
        eigenvalues, u = frame.squared / rows, frame.outputs
        # a mode of eigenvalue 0 up to rounding gets a small frequency
        root = np.sqrt(np.maximum(eigenvalues, 1e-12 * eigenvalues[:, -1:] + 1e-100))

        frequency, kappa, slow = self.frequency[some], self.kappa[some], frame.slow
        axes = np.swapaxes(u, -1, -2) @ frame.jacobian / (np.sqrt(rows) * root[..., None])
        z = carry(self.z[some], self.axes[some], self.root[some], axes, root, frequency, h, slow)

        relaxed = np.where(slow, 0.0, relax(z, root, frequency, xi[:, :rows], xi[:, rows:], h))
        # damped and pushed for h/2 by the modes as they were, then for h/2 as they are
        mean = np.exp(-h / 2) * squares(z, root, frequency, h) + squares(relaxed, root, frequency, h)
        # (grad lambda_j / sqrt(lambda_j)) |z_j|^2 and the pairs' part, with u_j held
        turned = (u * root[:, None, :]) @ mean / root[:, None, :]
        weighted = turned @ np.swapaxes(u, -1, -2) @ frame.jacobian
        push = np.expm1(-h / 2) * kappa[:, None] * problem.contract_hessians(w, weighted * (2 / rows))
        push += slow_modes.push(problem, w, frame, kappa, frequency, xi[:, :rows], h)
        p = np.exp(-h) * p + frame.tangent(push)
        bad = off | ~np.isfinite(p).all(axis=-1)
        p = np.where(bad[:, None], 0.0, p)
        n_slow = slow_modes.count(root, frequency, h, self.n_slow[some])
        modes = slow_modes.Modes(axes, root, frequency, np.sqrt(2 * kappa) / frequency)
        w, p, relaxed, frame, missed = slow_modes.exchange(problem, w, p, relaxed, frame, modes, n_slow, self.tolerance)
        bad |= missed
        self.n_slow[some] = n_slow
        self.z[some], self.axes[some], self.root[some] = relaxed, axes, root
        return w, p, bad, frame


def lanes_at_finite_lr(problem: Problem, most: int) -> int:
    """Number of runs that are stepped together, at most `most`."""
    return max(1, min(_TOGETHER // (problem.n_outputs * problem.n_parameters), most))


def run_at_finite_lr(
    schedule: Schedule, kappa: Array, frequency: Array, seeds: NDArray[np.uint64], advance: Callable[[float], None]
) -> tuple[Array, Array]:
    """Metrics of the runs (kappa, frequency, seed), (n_runs,) each: (metric, run, time), and the s at which they diverged.

    `advance` is called with the share of the time that has passed, times the number of runs.
    """
    problem, metrics, times = schedule.problem, schedule.metrics, schedule.times
    runs = Chunk(problem, schedule.point, kappa, frequency, seeds, schedule.tolerance)
    out = np.empty((len(metrics), len(runs.w), len(times)))
    for t, h in enumerate(schedule.steps):
        for _ in range(schedule.n_steps[t]):
            runs.step(h)
            advance(len(runs.w) * h / times[-1])
        for i, w in enumerate(runs.places()):
            out[:, i, t] = [problem.metric(metric, w) for metric in metrics]
        out[:, ~np.isnan(runs.diverged), t] = np.nan
    return out, runs.diverged
