"""The critical limit: label-noise SGD along Gamma as lr -> 0 at fixed kappa = lr^2 c / (4 (1 - beta)^3) [theory: Critical limit].

The normal modes relax as slowly as w moves along Gamma, so that they do not average out. A run consists of w on Gamma, its
tangent velocity p, and a complex amplitude a_j of each normal mode, of energy e_j = |a_j|^2. The action amplitudes
z_j = a_j / lambda_j^(1/4) do not change when the eigenvalues do (e_j / sqrt(lambda_j) is the adiabatic invariant). With
delta = 1 - beta and s = delta k [theory: Critical limit, eq. 7.5; Critical limit, eq. 7.7]

    dw  = p ds,   dp = -p ds - kappa P_T sum_j (grad lambda_j / sqrt(lambda_j)) |z_j|^2 ds
    d z_j = -(1/2) z_j ds + (lambda_j^(1/4) / sqrt(2)) (dW1 + i dW2)

At finite lr pairs of modes of neighbouring frequencies add to the force (`geometry.normal_modes`), with n_j the modes' unit
vectors and x_j their displacements [theory: Finite learning rate, eq. 8.7],

    dp = -p ds - kappa P_T sum_ij <x_i x_j> n_i^T (grad H) n_j ds

and modes whose period the step resolves are integrated directly, as part of w (`slow_modes`).

A step of size h is a symmetric splitting: w moves for h/2 with p (RATTLE: a shift along Gamma's normals J(w)^T brings it back
onto Gamma, then p is made tangent), p is damped and pushed for h/2, the z_j relax for h exactly, then p again, then w again.
The second move of w and the first one of the next step are done as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..core.dataset import as_attributes
from ..core.dynamics import Dynamics
from ..core.errors import check_positive
from ..core.progress import track
from ..core.random import CRITICAL_LIMIT, fill_normal, streams
from ..core.threads import in_order, n_threads, one_blas_thread
from ..core.times import check_seeds, fit_steps
from ..geometry.along_manifold import Frame, move
from ..geometry.manifold_point import ManifoldPoint
from ..geometry.normal_modes import carry, relax, squares
from ..problems.metrics import Metric
from ..problems.problem import Array, Problem, as_problem
from . import slow_modes
from .checks import check_kappa
from .critical_runs import Ensemble, kernels_on_gamma

_TOGETHER = 2**18  # entries of the Jacobians of a chunk's runs; no run's numbers depend on it

_HALVINGS = 5  # how often a move that does not come back onto Gamma is halved
_SOFTER = 3  # largest number of further modes that become slow for such a move


class _Request(NamedTuple):
    """The checked arguments of `solve`: an ensemble of runs (kappa, seed), its start, times, steps and metrics."""

    point: Array
    kappa: Array
    frequency: Array | None
    seeds: NDArray[Any]
    times: Array
    n_steps: NDArray[np.int64]
    """Number of steps before each time, from the time before."""
    size: Array
    """Size of these steps in s."""
    metrics: list[Metric]


class _Chunk:
    """Runs stepped together: w (n, N) on Gamma, p (n, N), and z (n, P) of modes along `axes` (n, P, N), at their last kick."""

    def __init__(
        self, problem: Problem, start: Array, kappa: Array, frequency: Array | None, seeds: NDArray[np.uint64], tolerance: float
    ) -> None:
        n, rows = len(kappa), problem.n_outputs
        self.problem, self.kappa, self.frequency = problem, kappa, frequency
        self.root = np.ones((n, rows))  # sqrt(lambda_j) when z was last written
        self.tolerance = tolerance
        self.w = np.repeat(start[None], n, axis=0)
        self.p = np.zeros_like(self.w)
        self.z = np.zeros((n, rows), dtype=complex)
        # of the modes: eigenvectors of H, or in the limit, where they only serve to match old and new modes, of J J^T
        self.axes = np.zeros((n, rows, rows if frequency is None else problem.n_parameters))
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
            if frame.n_slow is not None:
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
        return Frame.at(self.problem, self.w[some], None if self.frequency is None else self.n_slow[some].copy())

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
        elif softer and len(some) and frame.n_slow is not None:
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

        frequency, kappa = None if self.frequency is None else self.frequency[some], self.kappa[some]
        axes = np.swapaxes(u, -1, -2)
        if frequency is not None:
            axes = axes @ frame.jacobian / (np.sqrt(rows) * root[..., None])
        slow = None if frequency is None else frame.slow
        z = carry(self.z[some], self.axes[some], self.root[some], axes, root, frequency, h, slow)

        relaxed = relax(z, root, frequency, xi[:, :rows], xi[:, rows:], h)
        if slow is not None:
            relaxed = np.where(slow, 0.0, relaxed)
        # damped and pushed for h/2 by the modes as they were, then for h/2 as they are
        mean = np.exp(-h / 2) * squares(z, root, frequency, h) + squares(relaxed, root, frequency, h)
        # (grad lambda_j / sqrt(lambda_j)) |z_j|^2 and the pairs' part, with u_j held
        turned = u * mean[:, None, :] if frequency is None else (u * root[:, None, :]) @ mean / root[:, None, :]
        weighted = turned @ np.swapaxes(u, -1, -2) @ frame.jacobian
        push = np.expm1(-h / 2) * kappa[:, None] * problem.contract_hessians(w, weighted * (2 / rows))
        if frequency is not None:
            push += slow_modes.push(problem, w, frame, kappa, frequency, xi[:, :rows], h)
        p = np.exp(-h) * p + frame.tangent(push)
        bad = off | ~np.isfinite(p).all(axis=-1)
        p = np.where(bad[:, None], 0.0, p)
        if frequency is not None:
            n_slow = slow_modes.count(root, frequency, h, self.n_slow[some])
            modes = slow_modes.Modes(axes, root, frequency, np.sqrt(2 * kappa) / frequency)
            w, p, relaxed, frame, missed = slow_modes.exchange(problem, w, p, relaxed, frame, modes, n_slow, self.tolerance)
            bad |= missed
            self.n_slow[some] = n_slow
        self.z[some], self.axes[some], self.root[some] = relaxed, axes, root
        return w, p, bad, frame


@dataclass(frozen=True, eq=False)
class CriticalLimit(Dynamics):
    """Label-noise SGD along Gamma as lr -> 0 at fixed kappa = lr^2 c / (4 (1 - beta)^3): one run serves every lr
    [theory: Critical limit, eq. 7.5; Critical limit, eq. 7.6].

        d w   = p ds,   d p = -p ds - kappa P_T sum_j (grad ln lambda_j) e_j ds,   e_j = |a_j|^2
        d a_j = -(1/2) a_j ds + (1/4) (grad ln lambda_j . p) a_j ds + sqrt(lambda_j / 2) (dW1 + i dW2)

    w on Gamma, p its velocity, a_j the amplitude of normal mode j and e_j its energy in units of eta c / (2 delta), delta =
    1 - beta; (lambda_j, u_j) are the eigenpairs of J J^T / P, followed by continuity. Weak order 2 in the step. At learning rate
    eta a run of kappa is one of 1 - beta = C eta^(2/3), C = (c / (4 kappa))^(1/3) [theory: Critical limit, eq. 7.2], and a time
    s is s / (1 - beta) steps of training.

    Assumes that the frequencies sqrt(eta lambda_j) / delta per unit of s, and their differences, are large against the rates at
    which eigenvalues and eigenvectors change, and against Gamma's curvature. With `frequency` given only the modes whose period
    the step does not resolve need to fulfil this: the others are integrated directly, as part of w, and pairs of neighbouring
    frequencies are followed. Compared with the discrete update in docs/predictions.md.

    Args:
        problem: a Problem, or a SymbolicModel
        tolerance: after each move |f(w) - y| <= tolerance (1 + |y|)

    Raises:
        InputError: for a value out of range.

    Source: [theory: Critical limit]; we know of no publication of it.

    >>> import sde_momentum as sm
    >>> problem = sm.MatrixSensing(4, 1, 10)
    >>> limit = sm.CriticalLimit(problem)
    >>> runs = sm.solve(limit, problem.interpolating_start(), [0.0, 1.0, 2.0], kappa=0.5, seeds=range(4), step=0.1)
    >>> dict(runs.sizes), bool(runs.diverged.isnull().all())
    ({'kappa': 1, 'seed': 4, 'time': 3}, True)
    """

    clock: ClassVar[str] = "s = delta k"
    time_units: ClassVar[str] = "1 / delta"

    problem: Problem
    tolerance: float = field(default=1e-10, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "problem", as_problem(self.problem))
        check_positive(self.tolerance, "tolerance")

    def solve(
        self,
        start: ArrayLike,
        times: ArrayLike,
        *,
        kappa: ArrayLike,
        seeds: ArrayLike,
        frequency: ArrayLike | None = None,
        step: float = 0.02,
        metrics: Sequence[str | Metric] = ("test_error", "trace_hessian"),
        workers: int = -1,
        progress: bool | None = None,
    ) -> xr.Dataset:
        """Metrics along every run (kappa, seed) from `start`, at `times`.

        Args:
            start: a point of Gamma, (N,), left at rest with empty normal modes (a_j = 0)
            times: record times of the metrics, on the clock s = delta k, increasing, (n_time,)
            kappa: eta^2 c / (4 delta^3) > 0, in units of 1 / curvature, (n_kappa,) or one number
            seeds: whole numbers >= 0, (n_seed,); runs of equal seed share their noise
            frequency: sqrt(eta) / delta > 0, in units of curvature^(-1/2): of each kappa, (n_kappa,), or one number; None for the
                limit lr -> 0, in which every mode is fast. Modes of frequency sqrt(eta lambda_j) / delta below 1 / (2 step) are
                slow: integrated directly. The run then belongs to one lr.
            step: largest step in s
            metrics: names of the problem's metrics, or Metric objects
            workers: threads, -1 for all cores; the numbers do not depend on it
            progress: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten

        Returns:
            Dataset of dims (kappa, seed, time), a variable for each metric, and `diverged` (kappa, seed): the s at which a
            run became infinite or could not be brought back onto Gamma, NaN for none. Its metrics are NaN from then on.

        Raises:
            InputError: for a value out of range or a start off Gamma.
        """
        strengths = check_kappa(kappa)
        ratios = None if frequency is None else np.broadcast_to(check_positive(frequency, "frequency"), strengths.shape)
        labels, schedule = check_seeds(seeds), fit_steps(times, step)
        measured = [self.problem.find_metric(metric, "metrics") for metric in metrics]
        point = ManifoldPoint(self.problem, self.problem.check_point(start)).w
        request = _Request(point, strengths, ratios, labels, *schedule, measured)
        return self._dataset(request, step, *self._run(request, workers, progress))

    def _run(self, request: _Request, workers: int, progress: bool | None) -> tuple[Array, Array]:
        """The metrics, (metric, kappa, seed, time), and the times at which runs diverged, (kappa, seed)."""
        problem, n_seeds = self.problem, len(request.seeds)
        kappa = np.repeat(request.kappa, n_seeds)
        words = np.tile(request.seeds.astype(np.uint64), len(request.kappa))
        with track("runs", len(kappa), progress) as advance, one_blas_thread(), kernels_on_gamma(problem) as kernels:
            ensemble = Ensemble(
                problem, kernels, request.point, request.times, request.n_steps, request.size, request.metrics, self.tolerance
            )
            lanes = ensemble.lanes(-(-len(kappa) // n_threads(workers)))
            cuts = (slice(first, first + lanes) for first in range(0, len(kappa), lanes))
            parts = list(in_order((partial(ensemble.run, kappa[cut], words[cut], advance) for cut in cuts), workers))
        shape = (len(request.kappa), n_seeds)
        values = np.concatenate([part[0] for part in parts], axis=1).reshape(len(request.metrics), *shape, len(request.times))
        return values, np.concatenate([part[1] for part in parts]).reshape(shape)

    def _dataset(self, request: _Request, step: float, values: Array, diverged: Array) -> xr.Dataset:
        """The result of `solve`."""
        dims = ("kappa", "seed", "time")
        frequency = np.full(request.kappa.shape, np.inf) if request.frequency is None else request.frequency
        return xr.Dataset(
            {metric.name: (dims, values[i], metric.attributes) for i, metric in enumerate(request.metrics)}
            | {"diverged": (dims[:2], diverged, {"units": self.time_units})},
            coords={
                "kappa": ("kappa", request.kappa, {"units": "1 / curvature"}),
                "frequency": ("kappa", frequency, {"units": "curvature^(-1/2)"}),
                "seed": request.seeds,
                "time": self.time_coordinate(request.times),
            },
            attrs=self.common_attributes()
            | as_attributes(self.problem.settings())
            | {"tolerance": self.tolerance, "step": step, "theory": "Critical limit"},
        )
