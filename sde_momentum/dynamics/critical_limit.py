"""T7 for any problem, in ambient coordinates: w on Gamma, its tangent velocity p, and the normal modes' amplitudes.

With the action amplitudes z_j = a_j / lambda_j^(1/4), which turning eigenvalues leave alone (e_j / sqrt(lambda_j) is the
adiabatic invariant), e_j = sqrt(lambda_j) |z_j|^2 and

    dw  = p ds,   dp = -p ds - kappa P_T sum_j (grad lambda_j / sqrt(lambda_j)) |z_j|^2 ds
    d z_j = -(1/2) z_j ds + (lambda_j^(1/4) / sqrt(2)) (dW1 + i dW2)

A step is a palindrome: w moves for h/2 with p (RATTLE: the shift along Gamma's normals J(w)^T that brings it back onto
Gamma, then p made tangent), p is damped and pushed for h/2, the z_j relax for h exactly, p again, w again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from ..errors import check_positive
from ..geometry import ManifoldPoint
from ..problems.base import Array, Problem
from ..progress import track
from ..threads import in_order
from .along_manifold import move, tangent
from .base import Dynamics, as_attributes
from .ensemble import check_kappa, check_problem, check_seeds, check_times
from .label_noise_sgd import check_metric, one_blas_thread
from .random import CRITICAL_LIMIT, fill_normal, streams

_RUNS = 8  # runs stepped together; no run's numbers depend on it


class _Bundle:
    """Runs at w (n, N) on Gamma with p (n, N), z (n, P) complex and eigenvectors u (n, P, P); all may be cut to some runs."""

    def __init__(self, problem: Problem, start: Array, kappa: Array, seeds: NDArray[np.uint64], tolerance: float) -> None:
        n, rows = len(kappa), problem.n_outputs
        self.problem, self.kappa = problem, kappa
        self.goal = tolerance * (1 + float(np.linalg.norm(problem.targets)))
        self.w = np.repeat(start[None], n, axis=0)
        self.p = np.zeros_like(self.w)
        self.z = np.zeros((n, rows), dtype=complex)
        self.u = np.zeros((n, rows, rows))  # unknown before the first step
        self.state = streams(seeds, CRITICAL_LIMIT)
        self.time = 0.0
        self.fault = np.full(n, np.nan)

    def step(self, h: float) -> None:
        """One step of size h for every run without a fault."""
        xi = np.empty((2 * self.problem.n_outputs, len(self.kappa)))
        fill_normal(self.state, xi)  # for every run: a stream does not know of its neighbours
        self.time += h
        some = np.flatnonzero(np.isnan(self.fault))
        if not len(some):
            return
        with np.errstate(over="ignore", invalid="ignore"):  # a run that leaves the finite world is marked below
            w, p, off = self._drift(self.w[some], self.p[some], h / 2)
            w, p, middle_off = self._kick(some, w, p, xi[:, some].T, h, off)
            w, p, end_off = self._drift(w, p, h / 2)
        bad = middle_off | end_off
        self.w[some], self.p[some] = w, p
        self.fault[some[bad]] = self.time

    def _drift(self, w: Array, p: Array, h: float) -> tuple[Array, Array, NDArray[np.bool_]]:
        """(w, p) after moving along Gamma for h, and which runs did not come back onto it."""
        end, off = move(self.problem, w, h * p, self.goal)
        return end, tangent(self.problem.jacobian(end), (end - w) / h), off

    def _kick(
        self, some: NDArray[np.intp], w: Array, p: Array, xi: Array, h: float, off: NDArray[np.bool_]
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Damping, force and noise for h at fixed w."""
        problem, rows = self.problem, self.problem.n_outputs
        jacobian = problem.jacobian(w)
        eigenvalues, u = np.linalg.eigh(jacobian @ np.swapaxes(jacobian, -1, -2) / rows)
        z = np.empty((len(some), rows), dtype=complex)
        for i, run in enumerate(some):
            z[i] = self.z[run, _continue(self.u[run], u[i])]
        # A closed mode (eigenvalue 0 up to rounding) keeps a finite frequency.
        root = np.sqrt(np.maximum(eigenvalues, 1e-12 * eigenvalues[:, -1:] + 1e-100))

        def push(p: Array, z: Array) -> Array:
            weights = np.square(np.abs(z)) / root  # (grad lambda_j / sqrt(lambda_j)) |z_j|^2, with u_j frozen
            weighted = (u * weights[:, None, :]) @ (np.swapaxes(u, -1, -2) @ jacobian)
            force = tangent(jacobian, problem.contract_hessians(w, weighted * (2 / rows)))
            return np.exp(-h / 2) * p + np.expm1(-h / 2) * self.kappa[some][:, None] * force

        p = push(p, z)
        z = np.exp(-h / 2) * z + np.sqrt(-np.expm1(-h) / 2 * root) * (xi[:, :rows] + 1j * xi[:, rows:])
        p = push(p, z)
        self.z[some], self.u[some] = z, u
        bad = off | ~np.isfinite(p).all(axis=-1)
        return w, np.where(bad[:, None], 0.0, p), bad


def _continue(before: Array, now: Array) -> NDArray[np.intp]:
    """Which of the columns of `before` each column of `now` continues: the pairing of greatest overlap."""
    overlap = np.abs(before.T @ now)
    order = overlap.argmax(axis=0)
    if len(np.unique(order)) == len(order):
        return order
    return np.asarray(linear_sum_assignment(-(overlap.T**2))[1])


@dataclass(frozen=True, eq=False)
class CriticalLimit(Dynamics):
    """The critical limit of label-noise SGD along Gamma: one run serves every lr (T7).

        d w   = p ds,   d p = -p ds - kappa P_T sum_j (grad ln lambda_j) e_j ds,   e_j = |a_j|^2
        d a_j = -(1/2) a_j ds + (1/4) (grad ln lambda_j . p) a_j ds + sqrt(lambda_j / 2) (dW1 + i dW2)

    Weak order 2 in the step. (lambda_j, u_j) are the eigenpairs of J J^T / P, followed by continuity. At learning rate eta
    the run of kappa is that of 1 - beta = C eta^(2/3), C = (c / (4 kappa))^(1/3) (`formulas.one_minus_beta_at_kappa`), and a
    time s is s / (1 - beta) steps.

    Assumes that the frequencies sqrt(eta lambda_j) / delta per unit of s, and their differences, are large against the rates
    at which eigenvalues and eigenvectors change. Measured on `MatrixSensing(8, 1, 40)` against the discrete update at lr 1e-4,
    the time to 10 % of the test error for good: within 3 % from C = 0.044 (kappa = 0.7, the best) up. At kappa = 4 the first
    passage agrees within 1 %, but the swing back is larger than in training, and the time for good 20 % too long.

    Args:
        problem: what moves
        tolerance: after each move |f(w) - y| <= tolerance (1 + |y|)

    Raises:
        InputError: for a value out of range.

    Source: theory section 7; we know of no publication of it.

    >>> import sde_momentum as sm
    >>> problem = sm.MatrixSensing(4, 1, 10)
    >>> limit = sm.CriticalLimit(problem)
    >>> runs = sm.solve(limit, problem.interpolating_start(), [0.0, 1.0, 2.0], kappa=0.5, seeds=range(4), step=0.1)
    >>> dict(runs.sizes), bool(runs.fault.isnull().all())
    ({'kappa': 1, 'seed': 4, 'time': 3}, True)
    """

    clock: ClassVar[str] = "s = delta k"
    time_units: ClassVar[str] = "1 / delta"

    problem: Problem
    tolerance: float = field(default=1e-10, kw_only=True)

    def __post_init__(self) -> None:
        check_problem(self.problem)
        check_positive(self.tolerance, "tolerance")

    def solve(
        self,
        start: ArrayLike,
        times: ArrayLike,
        *,
        kappa: ArrayLike,
        seeds: ArrayLike,
        step: float = 0.02,
        metrics: Sequence[str] = ("test_error", "trace_hessian"),
        workers: int = -1,
        progress: bool | None = None,
    ) -> xr.Dataset:
        """Metrics along every run (kappa, seed) from `start`, at `times`.

        Args:
            start: a point of Gamma, (N,), left at rest with empty normal modes
            times: when to take the metrics, on the clock s = delta k, increasing, (n_time,)
            kappa: eta^2 c / (4 delta^3) > 0, in units of 1 / curvature, (n_kappa,) or one number
            seeds: whole numbers >= 0, (n_seed,); runs of equal seed share their noise
            step: largest step in s
            metrics: some of METRICS
            workers: threads, -1 for all cores; the numbers do not depend on it
            progress: a bar with the time left; None: if standard error is a terminal and it takes over two seconds

        Returns:
            Dataset of dims (kappa, seed, time), a variable for each metric, and `fault` (kappa, seed): the s at which a run
            could not be brought back onto Gamma or became infinite, NaN for none. Its metrics are NaN from then on.

        Raises:
            InputError: for a value out of range or a start off Gamma.
        """
        strengths = check_kappa(kappa)
        labels = check_seeds(seeds)
        clock, n_steps, size = check_times(times, step)
        for name in metrics:
            check_metric(name, "metrics")
        problem = self.problem
        point = ManifoldPoint(problem, problem.check_point(start)).w
        lanes = np.repeat(strengths, len(labels))
        words = np.tile(labels.astype(np.uint64), len(strengths))

        def run(cut: slice, advance: Callable[[float], None]) -> tuple[Array, Array]:
            bundle = _Bundle(problem, point, lanes[cut], words[cut], float(self.tolerance))
            out = np.empty((len(metrics), len(bundle.w), len(clock)))
            for t, h in enumerate(size):
                for _ in range(n_steps[t]):
                    bundle.step(h)
                    advance(len(bundle.w) * h / clock[-1])
                for i, run_w in enumerate(bundle.w):
                    out[:, i, t] = [problem.metric(name, run_w) for name in metrics]
                out[:, ~np.isnan(bundle.fault), t] = np.nan
            return out, bundle.fault

        with track("runs", len(lanes), progress) as advance, one_blas_thread():
            cuts = (slice(first, first + _RUNS) for first in range(0, len(lanes), _RUNS))
            parts = list(in_order((partial(run, cut, advance) for cut in cuts), workers))
        shape = (len(strengths), len(labels))
        values = np.concatenate([part[0] for part in parts], axis=1).reshape(len(metrics), *shape, len(clock))
        fault = np.concatenate([part[1] for part in parts]).reshape(shape)
        dims = ("kappa", "seed", "time")
        return xr.Dataset(
            {name: (dims, values[i]) for i, name in enumerate(metrics)}
            | {"fault": (dims[:2], fault, {"units": self.time_units})},
            coords={
                "kappa": ("kappa", strengths, {"units": "1 / curvature"}),
                "seed": labels,
                "time": self.time_coordinate(clock),
            },
            attrs=self.common_attributes()
            | as_attributes(problem.settings())
            | {"tolerance": self.tolerance, "step": step, "theory": "T7"},
        )
