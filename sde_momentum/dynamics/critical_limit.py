"""The critical limit: label-noise SGD along Gamma as lr -> 0 at fixed kappa = lr^2 c / (4 (1 - beta)^3) [theory: Critical limit].

The normal modes relax as slowly as w moves along Gamma, so that they do not average out. A run consists of w on Gamma, its
tangent velocity p, and a complex amplitude a_j of each normal mode, of energy e_j = |a_j|^2. The action amplitudes
z_j = a_j / lambda_j^(1/4) do not change when the eigenvalues do (e_j / sqrt(lambda_j) is the adiabatic invariant). With
delta = 1 - beta and s = delta k [theory: Critical limit, eq. 7.5; Critical limit, eq. 7.7]

    dw  = p ds,   dp = -p ds - kappa P_T sum_j (grad lambda_j / sqrt(lambda_j)) |z_j|^2 ds
    d z_j = -(1/2) z_j ds + (lambda_j^(1/4) / sqrt(2)) (dW1 + i dW2)

The steps are those of `critical_steps`, in machine code. At finite lr, where modes have finite frequencies, `resolved_course`
takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import by_annotations
from ..core.dataset import as_attributes
from ..core.dynamics import Dynamics
from ..core.errors import check_one, check_positive
from ..core.progress import track
from ..core.threads import in_order, n_threads, one_blas_thread
from ..core.times import check_seeds, fit_steps
from ..geometry.manifold_point import ManifoldPoint
from ..problems.metrics import Metric
from ..problems.problem import Array, Problem, as_problem
from .checks import check_kappa
from .critical_runs import Blocks, Schedule, kernels_on_gamma, lanes_of


class _Runs(NamedTuple):
    """The checked settings of an ensemble of runs (kappa, seed)."""

    kappa: Array
    pace: Array
    """s per unit of the record times, for each kappa."""
    seeds: NDArray[Any]


_STEP = 0.05
_FROM_REST = 8
"""Least number of steps of the limit, were they all as long as the last, before any record: w begins as s^3, from rest."""


def _fit(times: ArrayLike, step: float) -> tuple[Array, NDArray[np.int64], Array]:
    """As `fit_steps`, with shorter steps soon after the start."""
    instants, n_steps, sizes = fit_steps(times, step)
    gaps = n_steps * sizes
    least = np.where(n_steps > 0, np.ceil(_FROM_REST * gaps / np.where(instants > 0, instants, 1.0) * (1 - 1e-12)), 0)
    n_steps = np.maximum(n_steps, least.astype(np.int64))
    return instants, n_steps, gaps / np.maximum(n_steps, 1)


def _cuts(n_runs: int, together: int) -> list[slice]:
    return [slice(first, first + together) for first in range(0, n_runs, together)]


@by_annotations
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
    which eigenvalues and eigenvectors change, and against Gamma's curvature. Compared with the discrete update in
    docs/predictions.md; `universal_curve` at a `scaled_lr` does without the assumption.

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
    tolerance: float = field(default=1e-8, kw_only=True)

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
        step: float = _STEP,
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
            step: largest step in s; at 0.1 times to a target are still right to 0.5 %, but not what follows them (docs/theory.md)
            metrics: names of the problem's metrics, or Metric objects
            workers: threads, -1 for all cores; the numbers do not depend on it
            progress: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten

        Returns:
            Dataset of dims (kappa, seed, time), a variable for each metric, and `diverged` (kappa, seed): the s at which a
            run became infinite or could not be brought back onto Gamma, NaN for none. Its metrics are NaN from then on.

        Raises:
            InputError: for a value out of range or a start off Gamma.
        """
        strengths, labels = check_kappa(kappa), check_seeds(seeds)
        step = check_one(check_positive, step, "step")
        measured = [self.problem.find_metric(metric, "metrics") for metric in metrics]
        point = ManifoldPoint(self.problem, self.problem.check_point(start)).w
        schedule = Schedule(self.problem, point, *_fit(times, step), measured, float(self.tolerance))
        runs = _Runs(strengths, np.ones_like(strengths), labels)
        return self._dataset(schedule, runs, step, *self._run(schedule, runs, workers, progress))

    def courses(
        self,
        start: ArrayLike,
        times: ArrayLike,
        *,
        kappa: ArrayLike,
        pace: ArrayLike,
        seeds: ArrayLike,
        metric: str | Metric,
        step: float = _STEP,
        workers: int = -1,
        progress: bool | None = None,
    ) -> Array:
        """A metric along the runs (kappa, seed) at s = pace times `times`, (n_kappa, n_seed, n_time), NaN once one has diverged.

        As `solve`, but each kappa has record times of its own, and its steps are `pace` times as long: so the times to a target
        at several momenta come from runs made side by side.

        Args:
            pace: > 0, of each kappa, (n_kappa,)
            metric: name of one of the problem's metrics, or a Metric object
            start, times, kappa, seeds, step, workers, progress: as in `solve`, with `step` that of the largest pace

        Raises:
            InputError: for a value out of range or a start off Gamma.
        """
        strengths, labels = check_kappa(kappa), check_seeds(seeds)
        paces = np.broadcast_to(check_positive(pace, "pace"), strengths.shape)
        step = check_one(check_positive, step, "step")
        measured = [self.problem.find_metric(metric, "metric")]
        point = ManifoldPoint(self.problem, self.problem.check_point(start)).w
        schedule = Schedule(self.problem, point, *_fit(times, step / float(paces.max())), measured, float(self.tolerance))
        return self._run(schedule, _Runs(strengths, paces, labels), workers, progress)[0][0]

    def _run(self, schedule: Schedule, runs: _Runs, workers: int, progress: bool | None) -> tuple[Array, Array]:
        """The metrics, (metric, kappa, seed, time), and the times at which runs diverged, (kappa, seed)."""
        n_seeds, n_runs = len(runs.seeds), len(runs.seeds) * len(runs.kappa)
        kappa, pace = np.repeat(runs.kappa, n_seeds), np.repeat(runs.pace, n_seeds)
        words = np.tile(runs.seeds.astype(np.uint64), len(runs.kappa))
        share = -(-n_runs // n_threads(workers))  # for each thread
        with track("runs", n_runs, progress) as advance, one_blas_thread(), kernels_on_gamma(self.problem) as kernels:
            blocks, lanes = Blocks(schedule, kernels), lanes_of(self.problem, kernels, share)
            jobs = [partial(blocks.run, kappa[cut], pace[cut], words[cut], advance) for cut in _cuts(n_runs, lanes)]
            parts = list(in_order(iter(jobs), workers))
        shape = (len(runs.kappa), n_seeds)
        values = np.concatenate([part[0] for part in parts], axis=1).reshape(len(schedule.metrics), *shape, len(schedule.times))
        return values, np.concatenate([part[1] for part in parts]).reshape(shape)

    def _dataset(self, schedule: Schedule, request: _Runs, step: float, values: Array, diverged: Array) -> xr.Dataset:
        """The result of `solve`."""
        dims = ("kappa", "seed", "time")
        return xr.Dataset(
            {metric.name: (dims, values[i], metric.attributes) for i, metric in enumerate(schedule.metrics)}
            | {"diverged": (dims[:2], diverged, {"units": self.time_units})},
            coords={
                "kappa": ("kappa", request.kappa, {"units": "1 / curvature"}),
                "seed": request.seeds,
                "time": self.time_coordinate(schedule.times),
            },
            attrs=self.common_attributes()
            | as_attributes(self.problem.settings())
            | {"tolerance": self.tolerance, "step": step, "theory": "Critical limit"},
        )
