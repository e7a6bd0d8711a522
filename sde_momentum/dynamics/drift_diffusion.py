"""T3 under gradient noise of any covariance Sigma(w): drift and diffusion along Gamma, t = k eta^2 / delta^2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..core.dataset import as_attributes
from ..core.dynamics import Dynamics
from ..core.errors import InputError, check_positive
from ..core.progress import track
from ..core.random import GRADIENT_NOISE, fill_normal, streams
from ..core.threads import in_order, one_blas_thread
from ..core.times import check_seeds, fit_steps
from ..geometry.along_manifold import move
from ..geometry.manifold_point import ManifoldPoint
from ..problems.problem import Array, Problem
from ..theory import formulas
from .checks import check_problem
from .label_noise_sgd import check_metric

_RUNS = 8  # runs stepped together; no run's numbers depend on it
_CLOSED = 1e-12  # an eigenvalue below this share of the largest: the direction counts as tangent


def coefficients_along(problem: Problem, w: Array, factor: Array, scaled_damping: float) -> tuple[Array, Array]:
    """Drift (n, N) and diffusion (n, N, r) at w (n, N) for Sigma = B B^T, B = factor (n, N, r)."""
    rows = problem.n_outputs
    jacobian = problem.jacobian(w)
    eigenvalues, u = np.linalg.eigh(jacobian @ np.swapaxes(jacobian, -1, -2) / rows)
    largest = eigenvalues[:, -1:]
    open_ = eigenvalues > _CLOSED * largest
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


@dataclass(frozen=True, eq=False)
class DriftDiffusion(Dynamics):
    """The limit of SGD with momentum along Gamma under gradient noise of covariance Sigma = B B^T [theory: Drift].

        dY = -(1/2) P_T grad^2(grad L)[X] dt + P_T B dW + (the curvature of Gamma),   t = k eta^2 / delta^2
        X_ij = Sigma_ij 2 C^2 / ((lambda_i - lambda_j)^2 + 2 C^2 (lambda_i + lambda_j)),   C = delta / sqrt(eta)

    over the pairs of directions that are not both tangent; Ito. X solves H X + X H = Sigma for C = inf (delta = eta^gamma,
    gamma < 1/2). Without noise along Gamma (label noise: Sigma = c H) it is `drift_flow`. Euler-Maruyama, weak order 1,
    brought back onto Gamma after each step along the normals of its start, which is the Ito term of Gamma's curvature.

    Args:
        problem: what moves
        factor: w (N,) -> B(w), (N, r), in units of the gradient; it must not change its argument
        scaled_damping: C > 0 or inf
        tolerance: after each step |f(w) - y| <= tolerance (1 + |y|)

    Raises:
        InputError: for a value out of range.

    Source: Li, Wang, Arora (arXiv 2110.06914), their limiting SDE; with momentum at the clock and operator of T2 and T3.

    >>> import sde_momentum as sm
    >>> problem = sm.MatrixSensing(4, 1, 10)
    >>> isotropic = sm.DriftDiffusion(problem, lambda w: 0.1 * np.eye(len(w)))
    >>> runs = sm.solve(isotropic, problem.interpolating_start(), [0.0, 1.0], step=0.1, seeds=range(3))
    >>> dict(runs.sizes), bool(runs.fault.isnull().all())
    ({'seed': 3, 'time': 2}, True)
    """

    clock: ClassVar[str] = "t = k eta^2 / delta^2"
    time_units: ClassVar[str] = "1 / squared gradient noise x squared w"

    problem: Problem
    factor: Callable[[Array], Array]
    scaled_damping: float = field(default=np.inf, kw_only=True)
    tolerance: float = field(default=1e-10, kw_only=True)

    def __post_init__(self) -> None:
        check_problem(self.problem)
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
        metrics: Sequence[str] = ("test_error", "trace_hessian"),
        workers: int = -1,
        progress: bool | None = None,
    ) -> xr.Dataset:
        """Metrics along every run from `start`, at `times`.

        Args:
            start: a point of Gamma, (N,)
            times: when to take the metrics, on the clock t = k eta^2 / delta^2, increasing, (n_time,)
            step: largest step in t
            seeds: whole numbers >= 0, (n_seed,)
            metrics: some of METRICS
            workers: threads, -1 for all cores; the numbers do not depend on it
            progress: a bar with the time left; None: if standard error is a terminal and it takes over two seconds

        Returns:
            Dataset of dims (seed, time), a variable for each metric, and `fault` (seed,): the t at which a run could not be
            brought back onto Gamma or became infinite, NaN for none. Its metrics are NaN from then on.

        Raises:
            InputError: for a value out of range, a start off Gamma or a factor of the wrong shape.
        """
        labels = check_seeds(seeds)
        clock, n_steps, size = fit_steps(times, step)
        for name in metrics:
            check_metric(name, "metrics")
        problem, factor = self.problem, self.factor
        point = ManifoldPoint(problem, problem.check_point(start)).w
        shape = np.shape(factor(point))
        if len(shape) != 2 or shape[0] != problem.n_parameters or shape[1] == 0:
            raise InputError("factor", f"values of shape {shape}", f"a function to shape ({problem.n_parameters}, r)")

        def run(seeds: NDArray[np.integer[Any]], advance: Callable[[float], None]) -> tuple[Array, Array]:
            state = streams(seeds, GRADIENT_NOISE)
            w, fault = np.repeat(point[None], len(seeds), axis=0), np.full(len(seeds), np.nan)
            xi = np.empty((shape[1], len(seeds)))
            out = np.empty((len(metrics), len(seeds), len(clock)))
            time = 0.0
            for t, h in enumerate(size):
                for _ in range(n_steps[t]):
                    fill_normal(state, xi)  # for every run: a stream does not know of its neighbours
                    time += h
                    advance(len(seeds) * h / clock[-1])
                    some = np.flatnonzero(np.isnan(fault))
                    if not len(some):
                        continue
                    now = w[some]
                    with np.errstate(over="ignore", invalid="ignore"):  # a run that leaves the finite world is marked
                        factors = np.stack([factor(x) for x in now])
                        drift, spread = coefficients_along(problem, now, factors, self.scaled_damping)
                        kick = (spread @ xi[:, some].T[..., None])[..., 0]
                        w[some], off = move(problem, now, h * drift + np.sqrt(h) * kick, self.tolerance)
                    fault[some[off]] = time
                for i, run_w in enumerate(w):
                    out[:, i, t] = [problem.metric(name, run_w) for name in metrics]
                out[:, ~np.isnan(fault), t] = np.nan
            return out, fault

        with track("runs", len(labels), progress) as advance, one_blas_thread():
            cuts = (labels[first : first + _RUNS] for first in range(0, len(labels), _RUNS))
            parts = list(in_order((partial(run, cut, advance) for cut in cuts), workers))
        values = np.concatenate([part[0] for part in parts], axis=1)
        return xr.Dataset(
            {name: (("seed", "time"), values[i]) for i, name in enumerate(metrics)}
            | {"fault": (("seed",), np.concatenate([part[1] for part in parts]), {"units": self.time_units})},
            coords={"seed": labels, "time": self.time_coordinate(clock)},
            attrs=self.common_attributes()
            | as_attributes(problem.settings())
            | {"scaled_damping": self.scaled_damping, "tolerance": self.tolerance, "step": step, "theory": "Drift"},
        )
