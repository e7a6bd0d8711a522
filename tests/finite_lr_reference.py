"""The critical limit at finite lr in NumPy, straight from its equations: what the compiled steps are compared with
[theory: Finite learning rate].

`carry`, `relax` and `squares` are those of the modes' amplitudes, `push` and `exchange` of the slow modes, `Chunk` steps runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from sde_momentum.core.random import CRITICAL_LIMIT, fill_normal, streams
from sde_momentum.dynamics.finite_lr_steps import RESOLVED
from sde_momentum.dynamics.slow_modes import MARGIN, PHASE
from sde_momentum.problems.problem import Array, Problem

MAX_PROJECTIONS, DAMPING = 30, 1e-9


def residual_at(problem: Problem, w: Array) -> Array:
    """f(w) - y, (n, N) -> (n, P)."""
    # one matrix per run: the rounding of a product must not depend on the other runs
    return problem.outputs(w[:, None])[:, 0] - problem.targets


def lowest(n_slow: Array, rows: int) -> Array:
    """Flags of the `n_slow` (n,) lowest of `rows` modes, (n, rows)."""
    return np.asarray(np.arange(rows) < n_slow[:, None])


@dataclass(frozen=True, eq=False)
class Frame:
    """Gamma's normal space at points w (n, N), as the eigenpairs of J J^T.

    Attributes:
        jacobian: J, (n, P, N)
        squared: eigenvalues P lambda_j of J J^T, increasing, (n, P)
        outputs: their eigenvectors u_j as columns, (n, P, P)
        n_slow: number of slow modes, those of the lowest eigenvalues: w may leave Gamma along them, (n,); None: none
    """

    jacobian: Array
    squared: Array
    outputs: Array
    n_slow: Array | None = None

    @classmethod
    def at(cls, problem: Problem, w: Array, n_slow: Array | None = None) -> Frame:
        """The frame at w (n, N)."""
        jacobian = problem.jacobian(w)
        return cls(jacobian, *np.linalg.eigh(jacobian @ np.swapaxes(jacobian, -1, -2)), n_slow)

    def chosen(self, some: Array, n_slow: Array | None = None) -> Frame:
        """The frame of the points `some`, with another number of slow modes if it is given."""
        if n_slow is None and self.n_slow is not None:
            n_slow = self.n_slow[some]
        return Frame(self.jacobian[some], self.squared[some], self.outputs[some], n_slow)

    def replaced(self, some: Array, frame: Frame) -> Frame:
        """This frame with `frame` in place of the points `some`."""
        parts = {}
        for name in ("jacobian", "squared", "outputs", "n_slow"):
            part, new = getattr(self, name), getattr(frame, name)
            if part is not None:
                part = part.copy()
                part[some] = new
            parts[name] = part
        return Frame(**parts)

    @cached_property
    def slow(self) -> Array:
        """Flags of the slow modes, (n, P)."""
        n_slow = np.zeros(len(self.squared), dtype=np.intp) if self.n_slow is None else self.n_slow
        return lowest(n_slow, self.squared.shape[1])

    @cached_property
    def _inverse(self) -> Array:
        """1 / eigenvalues, with DAMPING of their sum added so that they stay finite where J loses rank; 0 for slow modes."""
        inverse = 1 / (self.squared + DAMPING * self.squared.sum(axis=-1, keepdims=True) + np.finfo(float).tiny)
        return inverse if self.n_slow is None else np.where(self.slow, 0.0, inverse)

    def held(self, residual: Array, some: Any = slice(None)) -> Array:
        """A residual without its components in slow modes, up to a rotation, for `some` of the points: (n, P) -> (n, P)."""
        if self.n_slow is None:
            return residual
        inner = (np.swapaxes(self.outputs[some], -1, -2) @ residual[..., None])[..., 0]
        return np.asarray(np.where(self.slow[some], 0.0, inner))

    def normal(self, residual: Array, some: Any = slice(None)) -> Array:
        """J^T (J J^T)^-1 r, the shortest displacement that changes f by r, for `some` of the points: (n, P) -> (n, N)."""
        u = self.outputs[some]
        inner = u @ (self._inverse[some][..., None] * (np.swapaxes(u, -1, -2) @ residual[..., None]))
        return np.asarray((np.swapaxes(self.jacobian[some], -1, -2) @ inner)[..., 0])

    def tangent(self, x: Array) -> Array:
        """P_T x: (n, N) -> (n, N)."""
        return x - self.normal((self.jacobian @ x[..., None])[..., 0])


def move(problem: Problem, start: Array, displacement: Array, tolerance: float, frame) -> tuple[Array, Array]:
    """w = start + displacement + J(start)^T nu with |f(w) - y| <= tolerance (1 + |y|): (n, N), and flags of runs without one.

    nu by Gauss-Newton with the `frame` of the start. A run without such a point stays where it is.
    """
    goal = tolerance * (1 + float(np.linalg.norm(problem.targets)))
    w = start + displacement
    todo = np.arange(len(w))
    for _ in range(MAX_PROJECTIONS):
        residual = residual_at(problem, w[todo])
        size = np.sqrt(np.square(frame.held(residual, todo)).sum(axis=-1))
        left = ~(size <= goal) & (size < 1e50)
        todo, residual = todo[left], residual[left]
        if not len(todo):
            break
        w[todo] -= frame.normal(residual, todo)
    off = ~(np.sqrt(np.square(frame.held(residual_at(problem, w))).sum(axis=-1)) <= goal)
    w[off] = start[off]
    return w, off


def carry(
    z: Array,
    axes: Array,
    root: Array,
    new_axes: Array,
    new_root: Array,
    frequency: Array,
    h: float,
    slow: Array | None = None,
) -> Array:
    """The amplitudes z (n, P) of the modes after their unit vectors and eigenvalues have changed.

    Args:
        z: complex amplitudes before, (n, P)
        axes, new_axes: the modes' unit vectors before and after, (n, P, N)
        root, new_root: sqrt(lambda_j) before and after, (n, P)
        frequency: sqrt(eta) / delta, (n,)
        h: the time between them, in s
        slow: modes without an amplitude, old and new, (n, P); None for none
    """
    overlap = new_axes @ np.swapaxes(axes, -1, -2)
    order = continuation(np.abs(overlap))
    omega, new_omega = frequency[:, None] * root, frequency[:, None] * new_root
    near = np.abs(new_omega[:, :, None] - omega[:, None]) * h < RESOLVED
    if slow is not None:
        near &= ~slow[:, :, None] & ~slow[:, None]
    kept = order[:, :, None] == np.arange(z.shape[1])
    # the part of x_i <- x_j and x_i' <- x_j' that keeps its phase: 1 for equal frequencies
    ratio = np.sqrt(new_root[:, :, None] / root[:, None])
    with_phase = np.where(kept, 1.0, (ratio + 1 / ratio) / 2)
    turn = np.where(near, overlap, np.where(kept, np.sign(overlap), 0.0))
    # Unresolved pairs exchange nothing: stationary modes, of variance sqrt(lambda_j), stay stationary.
    at_rest = np.square(turn * with_phase) * root[:, None]
    want = np.take_along_axis(root, order, axis=1)[:, :, None]
    size = np.sqrt(at_rest.sum(axis=-1, keepdims=True) / want)
    turn *= with_phase / np.where(size > 0, size, 1.0)
    carried = np.asarray((turn @ z[..., None])[..., 0])
    return carried if slow is None else np.where(slow, 0.0, carried)


def squares(z: Array, root: Array, frequency: Array, h: float) -> Array:
    """<x_i x_j>, the mean over phases that a step of `h` does not resolve, (n, P, P)."""
    omega = frequency[:, None] * root
    x, y = z.real / np.sqrt(root), z.imag / np.sqrt(root)
    mean = x[:, :, None] * x[:, None] + y[:, :, None] * y[:, None]
    return np.where(np.abs(omega[:, :, None] - omega[:, None]) * h < RESOLVED, mean, 0.0)


def relax(z: Array, root: Array, frequency: Array, xi: Array, zeta: Array, h: float) -> Array:
    """The amplitudes z (n, P) after relaxing for a time `h` in s, exact in law; `xi`, `zeta`: standard normals, (n, P)."""
    turned = np.exp(-1j * frequency[:, None] * root * h) * z
    return np.asarray(np.exp(-h / 2) * turned + np.sqrt(-np.expm1(-h) / 2 * root) * (xi + 1j * zeta))


def continuation(overlap: Array) -> Array:
    """Index of the old eigenvector that each new one continues: the pairing of largest overlap, (n, P new, P old) -> (n, P)."""
    order = overlap.argmax(axis=-1)
    for i in np.flatnonzero(np.any(np.diff(np.sort(order, axis=-1), axis=-1) == 0, axis=-1)):
        order[i] = linear_sum_assignment(-(overlap[i] ** 2))[1]
    return order


def count(root: Array, frequency: Array, h: float, before: Array) -> Array:
    """Number of slow modes at a step of `h`, (n,): the lowest of `root` = sqrt(lambda_j), increasing, (n, P)."""
    phase = frequency[:, None] * root * h
    return np.clip(before, (phase < PHASE).sum(axis=1), (phase < MARGIN * PHASE).sum(axis=1))


def push(problem: Problem, w: Array, frame: Frame, kappa: Array, frequency: Array, xi: Array, h: float) -> Array:
    """The change of p in a step of `h`, (n, N), by the slow modes' restoring force and noise, with standard normals xi (n, P)."""
    rows = problem.n_outputs
    u, slow = frame.outputs, frame.slow
    inner = (np.swapaxes(u, -1, -2) @ residual_at(problem, w)[..., None])[..., 0]
    force = np.expm1(-h) * np.square(frequency)[:, None] / rows * inner
    noise = np.sqrt(-2 * np.expm1(-2 * h) * kappa / rows)[:, None] * xi
    along = u @ np.where(slow, force + noise, 0.0)[..., None]
    return np.asarray((np.swapaxes(frame.jacobian, -1, -2) @ along)[..., 0])


class Modes(NamedTuple):
    """The normal modes of n runs at one time."""

    axes: Array
    """Their unit vectors, (n, P, N)."""
    root: Array
    """sqrt(lambda_j), (n, P)."""
    frequency: Array
    """omega = sqrt(eta) / delta, (n,)."""
    scale: Array
    """Displacement of w for x_j = 1: sqrt(2 kappa) / omega, (n,)."""


def exchange(
    problem: Problem, w: Array, p: Array, z: Array, frame: Frame, modes: Modes, n_slow: Array, tolerance: float
) -> tuple[Array, Array, Array, Frame, Array]:
    """(w, p, z) with `n_slow` slow modes instead of the frame's, the frame there, and flags of runs that missed Gamma.

    A mode that becomes slow adds its displacement x_j and velocity x_j' to w and p, one that becomes fast takes them from there.
    """
    slow = lowest(n_slow, z.shape[1])
    some = np.flatnonzero((slow != frame.slow).any(axis=1))
    missed = np.zeros(len(w), dtype=bool)
    if not len(some):
        return w, p, z, frame, missed
    slow, before, root, unit = slow[some], frame.slow[some], modes.root[some], modes.scale[some, None]
    axes, u = modes.axes[some], frame.outputs[some]
    omega = modes.frequency[some, None] * root
    place = (np.swapaxes(u, -1, -2) @ residual_at(problem, w[some])[..., None])[..., 0] / (np.sqrt(problem.n_outputs) * root)
    speed = (axes @ p[some][..., None])[..., 0]
    joining, leaving = slow & ~before, before & ~slow
    x = np.sqrt(2 / root) * z[some]
    shift = np.where(joining, unit * x.real - place, np.where(leaving, -place, 0.0))
    kick = np.where(joining, unit * omega * x.imag - speed, np.where(leaving, -speed, 0.0))
    taken = np.sqrt(root / 2) * (place + 1j * speed / omega) / unit
    w, p, z = w.copy(), p.copy(), z.copy()
    z[some] = np.where(joining, 0.0, np.where(leaving, taken, z[some]))
    p[some] += (np.swapaxes(axes, -1, -2) @ kick[..., None])[..., 0]
    back = (np.swapaxes(axes, -1, -2) @ shift[..., None])[..., 0]
    w[some], missed[some] = move(problem, w[some], back, tolerance, frame.chosen(some, n_slow[some]))
    there = Frame.at(problem, w[some], n_slow[some])
    p[some] = there.tangent(p[some])
    return w, p, z, frame.replaced(some, there), missed


class Chunk:
    """Runs stepped together: w (n, N) on Gamma, p (n, N), and z (n, P) of modes along `axes` (n, P, N), at their last kick."""

    def __init__(self, problem: Problem, start: Array, kappa: Array, frequency: Array, seeds: Array, tolerance: float) -> None:
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
            self.n_slow[some] = _counts(frame)
            w, p, bad, self.frame = self._kick(some, w, p, xi[:, some].T, h, off, frame)
        self.w[some], self.p[some] = w, p
        self.behind = h / 2
        self.diverged[some[bad]] = self.time

    def _frame(self, some: Any) -> Frame:
        return Frame.at(self.problem, self.w[some], self.n_slow[some].copy())

    def _move(self, w: Array, p: Array, h: float, frame: Frame) -> tuple[Array, Array, Array, Frame]:
        """(w, p) after moving along Gamma for h, flags of runs that could not be brought back onto it, and the frame there."""
        end, off = move(self.problem, w, h * p, self.tolerance, frame)
        there = Frame.at(self.problem, end, frame.n_slow)
        return end, there.tangent((end - w) / h), off, there

    def _kick(
        self, some: Array, w: Array, p: Array, xi: Array, h: float, off: Array, frame: Frame
    ) -> tuple[Array, Array, Array, Frame]:
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
        force = np.expm1(-h / 2) * kappa[:, None] * problem.contract_hessians(w, weighted * (2 / rows))
        force += push(problem, w, frame, kappa, frequency, xi[:, :rows], h)
        p = np.exp(-h) * p + frame.tangent(force)
        bad = off | ~np.isfinite(p).all(axis=-1)
        p = np.where(bad[:, None], 0.0, p)
        n_slow = count(root, frequency, h, self.n_slow[some])
        modes = Modes(axes, root, frequency, np.sqrt(2 * kappa) / frequency)
        w, p, relaxed, frame, missed = exchange(problem, w, p, relaxed, frame, modes, n_slow, self.tolerance)
        bad |= missed
        self.n_slow[some] = n_slow
        self.z[some], self.axes[some], self.root[some] = relaxed, axes, root
        return w, p, bad, frame


def _counts(frame: Frame) -> Array:
    """Number of slow modes, (n,), of a frame that has them."""
    assert frame.n_slow is not None
    return frame.n_slow
