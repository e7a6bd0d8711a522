"""Drift and diffusion of SGD with momentum along Gamma, under gradient noise of any covariance Sigma(w) [theory: Drift]."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import by_annotations
from ..core.dataset import as_attributes
from ..core.dynamics import Dynamics
from ..core.errors import InputError, check_positive
from ..core.progress import track
from ..core.random import GRADIENT_NOISE, fill_normal, streams
from ..core.simd.matrix import WIDTH
from ..core.threads import in_order, n_threads, one_blas_thread
from ..core.times import check_seeds, fit_steps
from ..geometry.along_manifold import move
from ..geometry.lanes.manifold import Outputs, outputs_of
from ..geometry.manifold_point import ManifoldPoint
from ..problems.compiled import Kernels
from ..problems.metrics import Metric
from ..problems.problem import Array, Problem, as_problem
from ..theory import formulas
from . import drift_diffusion_steps as steps

_RUNS, _IN_NUMPY = 32, 8  # most runs of a block, compiled or not; no run's numbers depend on it
_LARGEST = 250_000  # P N from which on a Jacobian of each lane is too much for the caches: NumPy steps
_VANISHED = 1e-12  # an eigenvalue below this share of the largest: the direction counts as tangent


class _Request(NamedTuple):
    """The checked arguments of `solve`: an ensemble of runs, its start, times, steps and metrics."""

    point: Array
    rank: int
    """Number r of columns of B."""
    times: Array
    n_steps: NDArray[np.int64]
    """Number of steps before each time, from the time before."""
    size: Array
    """Size of these steps in t."""
    metrics: list[Metric]
    kernels: Kernels | None
    """Of the problem, None for steps in NumPy."""


def coefficients_along(problem: Problem, w: Array, factor: Array, scaled_damping: float) -> tuple[Array, Array]:
    """Drift (n, N) and diffusion (n, N, r) at w (n, N) for Sigma = B B^T, B = factor (n, N, r)
    [theory: Drift, eq. 3.13]."""
    rows = problem.n_outputs
    jacobian = problem.jacobian(w)
    eigenvalues, u = np.linalg.eigh(jacobian @ np.swapaxes(jacobian, -1, -2) / rows)
    largest = eigenvalues[:, -1:]
    open_ = eigenvalues > _VANISHED * largest
    safe = np.where(open_, eigenvalues, largest)
    # rows: the normal directions; J = sqrt(P) u sqrt(lambda) normal
    normal = np.where(open_[..., None], (np.swapaxes(u, -1, -2) @ jacobian) / np.sqrt(rows * safe)[..., None], 0.0)
    across = normal @ factor
    along = factor - np.swapaxes(normal, -1, -2) @ across
    # beyond 1e8 sqrt(lambda) the operator is Lyapunov's to rounding
    c = np.minimum(scaled_damping, 1e8 * np.sqrt(largest))
    pairs = formulas.stationary_operator(safe[:, :, None], safe[:, None, :], c[..., None])
    mixed = formulas.stationary_operator(safe, 0.0, c)[..., None]
    covariance = (across @ np.swapaxes(across, -1, -2) * pairs) @ normal + (across * mixed) @ np.swapaxes(along, -1, -2)
    product = (u * np.sqrt(rows * safe)[:, None, :]) @ covariance  # J X, X = E x x^T in units of eta / delta
    force = problem.contract_hessians(w, product) / rows
    return (np.swapaxes(normal, -1, -2) @ (normal @ force[..., None]))[..., 0] - force, along


@by_annotations
@dataclass(frozen=True, eq=False)
class DriftDiffusion(Dynamics):
    """The limit of SGD with momentum along Gamma under gradient noise of covariance Sigma = B B^T
    [theory: Drift, eq. 3.13; Relaxation, eq. 2.14].

        dY = -(1/2) P_T grad^2(grad L)[X] dt + P_T B dW + (the curvature of Gamma),   t = k eta^2 / delta^2
        X_ij = Sigma_ij 2 C^2 / ((lambda_i - lambda_j)^2 + 2 C^2 (lambda_i + lambda_j)),   C = delta / sqrt(eta)

    for all pairs (i, j) of eigenvectors of H that are not both tangent; W independent Wiener processes; Ito. X solves
    H X + X H = Sigma for C = inf (delta = eta^gamma, gamma < 1/2). Label noise, Sigma = c H, has no noise along Gamma: then it is
    `drift_flow`. Euler-Maruyama, weak order 1; a shift along the normals at the step's start brings w back onto Gamma, which
    gives the Ito term of Gamma's curvature. With the problem's kernels runs are stepped in machine code, fastest where B is
    diagonal or the same everywhere, and X is found to 1e-6 of its size.

    Args:
        problem: a Problem, or a SymbolicModel
        factor: w (N,) -> B(w), (N, r), in units of the gradient; it must not change its argument
        scaled_damping: C > 0 or inf
        tolerance: after each step |f(w) - y| <= tolerance (1 + |y|)

    Raises:
        InputError: for a value out of range.

    Source: Li, Wang, Arora (arXiv 2110.06914), their limiting SDE; clock and operator with momentum:
    [theory: Relaxation, eq. 2.14; Drift, eq. 3.13].

    >>> import sde_momentum as sm
    >>> problem = sm.MatrixSensing(4, 1, 10)
    >>> isotropic = sm.DriftDiffusion(problem, lambda w: 0.1 * np.eye(len(w)))
    >>> runs = sm.solve(isotropic, problem.interpolating_start(), [0.0, 1.0], step=0.1, seeds=range(3))
    >>> dict(runs.sizes), bool(runs.diverged.isnull().all())
    ({'seed': 3, 'time': 2}, True)
    """

    clock: ClassVar[str] = "t = k eta^2 / delta^2"
    time_units: ClassVar[str] = "parameter^4 / loss^2"

    problem: Problem
    factor: Callable[[Array], Array]
    scaled_damping: float = field(default=np.inf, kw_only=True)
    tolerance: float = field(default=1e-10, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "problem", as_problem(self.problem))
        if not callable(self.factor):
            raise InputError("factor", self.factor, "a function w -> B(w)")
        if self.scaled_damping != np.inf:
            check_positive(self.scaled_damping, "scaled_damping")
        check_positive(self.tolerance, "tolerance")

    def solve(
        self,
        start: ArrayLike,
        times: ArrayLike,
        *,
        step: float,
        seeds: ArrayLike,
        metrics: Sequence[str | Metric] = ("test_error", "trace_hessian"),
        workers: int = -1,
        progress: bool | None = None,
    ) -> xr.Dataset:
        """Metrics along every run from `start`, at `times`.

        Args:
            start: a point of Gamma, (N,)
            times: record times of the metrics, on the clock t = k eta^2 / delta^2, increasing, (n_time,)
            step: largest step in t
            seeds: whole numbers >= 0, (n_seed,)
            metrics: names of the problem's metrics, or Metric objects
            workers: threads, -1 for all cores; the numbers do not depend on it
            progress: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten

        Returns:
            Dataset of dims (seed, time), a variable for each metric, and `diverged` (seed,): the t at which a run became
            infinite or could not be brought back onto Gamma, NaN for none. Its metrics are NaN from then on.

        Raises:
            InputError: for a value out of range, a start off Gamma or a factor of the wrong shape.
        """
        labels, schedule = check_seeds(seeds), fit_steps(times, step)
        measured = [self.problem.find_metric(metric, "metrics") for metric in metrics]
        point = ManifoldPoint(self.problem, self.problem.check_point(start)).w
        shape, n = np.shape(self.factor(point)), self.problem.n_parameters
        if len(shape) != 2 or shape[0] != n or shape[1] == 0:
            raise InputError("factor", f"values of shape {shape}", f"a function to shape ({n}, r)")
        small = self.problem.n_outputs * n <= _LARGEST
        request = _Request(point, shape[1], *schedule, measured, self.problem.derivative_kernels if small else None)
        with track("runs", len(labels), progress) as advance, one_blas_thread():
            share = -(-len(labels) // n_threads(workers))
            together = min(_RUNS if request.kernels else _IN_NUMPY, -(-share // WIDTH) * WIDTH)
            cuts = (labels[first : first + together] for first in range(0, len(labels), together))
            parts = list(in_order((partial(self._chunk, request, cut, advance) for cut in cuts), workers))
        values = np.concatenate([part[0] for part in parts], axis=1)
        return xr.Dataset(
            {metric.name: (("seed", "time"), values[i], metric.attributes) for i, metric in enumerate(measured)}
            | {"diverged": (("seed",), np.concatenate([part[1] for part in parts]), {"units": self.time_units})},
            coords={"seed": labels, "time": self.time_coordinate(request.times)},
            attrs=self.common_attributes()
            | as_attributes(self.problem.settings())
            | {"scaled_damping": self.scaled_damping, "tolerance": self.tolerance, "step": step, "theory": "Drift"},
        )

    def _chunk(self, request: _Request, seeds: NDArray[np.integer[Any]], advance: Callable[[float], None]) -> tuple[Array, Array]:
        """The metrics of the runs of some seeds, (metric, seed, time), and the times at which runs diverged, (seed,)."""
        block = _Block(self, request, seeds)
        out = np.empty((len(request.metrics), len(seeds), len(request.times)))
        for t, h in enumerate(request.size):
            for _ in range(request.n_steps[t]):
                block.step(h)
                advance(len(seeds) * h / request.times[-1])
            for i in range(len(seeds)):
                out[:, i, t] = [self.problem.metric(metric, block.place(i)) for metric in request.metrics]
            out[:, ~np.isnan(block.diverged), t] = np.nan
        return out, block.diverged


class _Block:
    """Runs that are stepped together: in machine code where the problem has kernels, and where that fails in NumPy."""

    def __init__(self, limit: DriftDiffusion, request: _Request, seeds: NDArray[np.integer[Any]]) -> None:
        problem = limit.problem
        self.limit, self.time = limit, 0.0
        self.diverged = np.full(len(seeds), np.nan)
        kernels = request.kernels
        self.lanes = WIDTH if kernels is None else kernels.lanes
        self.state = np.stack([streams(cut, GRADIENT_NOISE) for cut in _groups(seeds, self.lanes)])
        size, p = problem.n_parameters, problem.n_outputs
        self.runs = steps.runs_of(len(self.state), size, p, request.rank, self.lanes)
        self.runs.w[:] = request.point[:, None]
        self.runs.alive.reshape(-1)[: len(seeds)] = 1.0
        self.reference = _matrix(limit.factor(request.point)).copy()  # the function may write to what it gave
        self._own: dict[int, Array] = {}
        """Factors of runs that are not diagonal, and not that of the start."""
        self._changed: set[int] = set()
        """Runs whose factor is not that of the start."""
        for i in range(len(seeds)):
            self._set_factor(i, None)
        self.model: Outputs | None = None
        if kernels is not None:
            self.model = outputs_of(kernels, problem.targets, float(limit.tolerance))
            self.room = steps.room_of(p, size, self.lanes, kernels.scratch_rows)
            jacobian = problem.jacobian(request.point)
            self.runs.vectors[:] = np.linalg.eigh(jacobian @ jacobian.T)[1].T.reshape(-1, 1)
            covariance = np.empty((0, size)) if steps.is_diagonal(self.reference) else self.reference @ self.reference.T
            self.law = steps.law_of(1 / (2 * p * limit.scaled_damping**2), self.reference, covariance)

    def place(self, i: int) -> Array:
        """w of run i, (N,)."""
        return self.runs.w[i // self.lanes, :, i % self.lanes].copy()

    def step(self, h: float) -> None:
        """One step of size h of every run that has not diverged."""
        for state, xi in zip(self.state, self.runs.xi, strict=True):
            fill_normal(state, xi)  # for diverged runs too: no stream may depend on its neighbours
        self.time += h
        some = np.flatnonzero(np.isnan(self.diverged)).tolist()
        factors = {}
        for i in some:
            factors[i] = self._factor(i)
        if self.model is not None:
            own = np.stack(list(self._own.values())) if self._own else np.empty((0, *self.reference.shape))
            for k, i in enumerate(self._own):
                self.runs.own[i // self.lanes, i % self.lanes] = k
            steps.step(self.model, self.law, self.room, self.runs, own, h)
            some = [i for i in some if not self.runs.moved[i // self.lanes, 0, i % self.lanes]]
        if some:
            self._step_in_numpy(np.array(some), np.stack([factors[i] for i in some]), h)

    def _factor(self, i: int) -> Array:
        """B of run i where it is now. The runs are told of it, where it is not as it was."""
        factor = _matrix(self.limit.factor(self.place(i)))
        if factor.shape != self.reference.shape:
            raise InputError("factor", f"values of shape {factor.shape} and {self.reference.shape}", "values of one shape")
        same = steps.equal(factor, self.reference)
        if not same or i in self._changed:
            self._set_factor(i, None if same else factor)
        return factor

    def _set_factor(self, i: int, factor: Array | None) -> None:
        """Tells the runs of B of run i; None: that of the start."""
        matrix, at = self.reference if factor is None else factor, (i // self.lanes, slice(None), i % self.lanes)
        diagonal = steps.is_diagonal(matrix)
        weights = matrix.diagonal() if diagonal else np.zeros(1)
        self.runs.weights[at] = weights
        self.runs.isotropic[at] = weights[0] ** 2 if (weights == weights[0]).all() else 0.0
        self.runs.common[at] = factor is None and not diagonal
        self._own.pop(i, None)
        self.runs.own[i // self.lanes, i % self.lanes] = -1
        if factor is not None:
            self._changed.add(i)
            if not diagonal:
                self._own[i] = factor
        else:
            self._changed.discard(i)

    def _step_in_numpy(self, some: NDArray[np.intp], factors: Array, h: float) -> None:
        """The same for some of the runs, also close to where J loses rank."""
        groups, lanes = some // self.lanes, some % self.lanes
        w, xi = self.runs.w[groups, :, lanes], self.runs.xi[groups, :, lanes]
        with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges is marked
            drift, spread = coefficients_along(self.limit.problem, w, factors, self.limit.scaled_damping)
            kick = (spread @ xi[..., None])[..., 0]
            w, off = move(self.limit.problem, w, h * drift + np.sqrt(h) * kick, self.limit.tolerance)
        self.runs.w[groups, :, lanes] = w
        self.diverged[some[off]] = self.time
        self.runs.alive[groups[off], 0, lanes[off]] = 0.0
        for i in some[off].tolist():
            self._own.pop(i, None)
            self.runs.own[i // self.lanes, i % self.lanes] = -1


def _matrix(factor: Array) -> Array:
    """As compiled code takes it."""
    return np.ascontiguousarray(factor, dtype=np.float64)


def _groups(seeds: NDArray[np.integer[Any]], lanes: int) -> Iterator[NDArray[np.integer[Any]]]:
    """The seeds in groups, the last one filled up with its last seed."""
    for first in range(0, len(seeds), lanes):
        yield np.pad(seeds[first : first + lanes], (0, max(0, first + lanes - len(seeds))), mode="edge")
