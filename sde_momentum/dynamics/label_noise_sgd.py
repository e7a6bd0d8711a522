"""SGD with momentum and label noise, step by step: the training whose best momentum the library predicts
[theory: Setting, eq. 1.2]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import by_annotations
from ..core.dataset import as_attributes
from ..core.dynamics import Dynamics
from ..core.errors import InputError, check, check_integer, check_lr, check_momentum, check_non_negative, check_size
from ..core.progress import track
from ..core.simd.matrix import aligned
from ..core.threads import in_order, one_blas_thread
from ..core.times import check_seeds
from ..problems.metrics import METRICS, Metric
from ..problems.problem import Array, Problem, as_problem
from .update import Draws, Rule, Runs, record

LANES = 32
"""Runs stepped together. Always this many (short blocks are padded): a run's rounding must not depend on the others."""

PIECE = 4096
"""Steps between two messages of progress, about."""


@by_annotations
@dataclass(frozen=True, eq=False)
class LabelNoiseSGD(Dynamics):
    """SGD with momentum and label noise on a problem [theory: Setting, eq. 1.2].

        v <- beta v - eta (g(w) + weight_decay w + F z),   w <- w + v

    with g the gradient of the batch's loss at labels y + sigma xi; xi and z of mean 0 and variance 1, fresh each step. Problems
    with compiled kernels run in machine code, others in NumPy, on the same noise.

    Args:
        problem: a Problem, or a SymbolicModel
        label_noise: sigma >= 0, in units of the targets
        batch_size: B, samples per step, drawn without replacement afresh each step (None: full batch)
        noise_law: "rademacher" or "normal", of the label noise and of z
        nesterov: gradient and decay at w + beta v
        weight_decay: >= 0, in units of the Hessian, as in `torch.optim.SGD`
        gradient_noise: F in units of the gradient, for additive noise of covariance F F^T: a matrix (N, r), its
            diagonal (N,), or one number for all directions; None for none

    Raises:
        InputError: for values out of range or of the wrong shape.

    >>> import sde_momentum as sm
    >>> sm.LabelNoiseSGD(sm.MatrixSensing(4, 1, 10), 0.1, weight_decay=1e-3, gradient_noise=0.01).settings()["weight_decay"]
    0.001
    """

    clock: ClassVar[str] = "k"
    time_units: ClassVar[str] = "steps"

    problem: Problem
    label_noise: float
    batch_size: int | None = None
    noise_law: str = "rademacher"
    nesterov: bool = False
    weight_decay: float = 0.0
    gradient_noise: ArrayLike | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "problem", as_problem(self.problem))
        check_size(self.label_noise, "label_noise")
        if self.batch_size is not None:
            check_integer(self.batch_size, "batch_size", 1)
            if self.batch_size > self.problem.n_outputs:
                raise InputError("batch_size", self.batch_size, f"a whole number from 1 to {self.problem.n_outputs}")
        if self.noise_law not in ("rademacher", "normal"):
            raise InputError("noise_law", self.noise_law, "'rademacher' or 'normal'")
        if check_non_negative(self.weight_decay, "weight_decay").ndim:
            raise InputError("weight_decay", self.weight_decay, "one number >= 0")
        self.rule()

    def rule(self) -> Rule:
        """The update in the form that `update.advance` takes."""
        law = (self.batch, self.noise_law == "normal", bool(self.nesterov), float(self.weight_decay))
        if self.gradient_noise is None:
            return Rule(*law)
        n = self.problem.n_parameters
        given = check("gradient_noise", self.gradient_noise, np.isfinite, "finite numbers")
        if given.shape in ((), (n,)):
            return Rule(*law, np.broadcast_to(given, (n,)).reshape(n, 1).copy(), True)
        if given.ndim != 2 or given.shape[0] != n or given.shape[1] == 0:
            raise InputError("gradient_noise", f"shape {given.shape}", f"shape ({n}, r) or ({n},), one number, or None")
        return Rule(*law, np.ascontiguousarray(given))

    @property
    def batch(self) -> int:
        """Samples per step, B."""
        return self.problem.n_outputs if self.batch_size is None else int(self.batch_size)

    @property
    def noise(self) -> float:
        """c = sigma^2 / B [theory: Setting, eq. 1.4]."""
        return self.label_noise**2 / self.batch

    def settings(self) -> dict[str, Any]:
        """Numbers and strings that identify this method; stored with results."""
        return {
            "label_noise": self.label_noise,
            "batch_size": self.batch,
            "noise_law": self.noise_law,
            "nesterov": self.nesterov,
            "weight_decay": self.weight_decay,
            "gradient_noise": None if self.gradient_noise is None else np.asarray(self.gradient_noise, float).tolist(),
        }

    def solve(
        self,
        start: ArrayLike,
        times: ArrayLike,
        *,
        lr: ArrayLike,
        momentum: ArrayLike,
        seeds: ArrayLike,
        metrics: Sequence[str | Metric] = tuple(METRICS),
        workers: int = -1,
        progress: bool | None = None,
    ) -> xr.Dataset:
        """Run every (lr, momentum, seed) from `start`, at rest, and take the metrics at `times`.

        Args:
            start: w_0, (N,)
            times: numbers of updates after which to take the metrics, increasing whole numbers >= 0, (n_time,)
            lr: eta > 0, (n_lr,) or one number
            momentum: beta in [0, 1), (n_momentum,) or one number; run at every `lr`
            seeds: whole numbers >= 0, (n_seed,); runs of equal seed share their noise (common random numbers)
            metrics: names of the problem's metrics, or Metric objects
            workers: threads, -1 for all cores; the numbers do not depend on it
            progress: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten

        Returns:
            Dataset of dims (lr, momentum, seed, time), a variable for each metric, and `diverged` (lr, momentum, seed): the
            step at which a run diverged, -1 for none. Its metrics are NaN from then on.

        Raises:
            InputError: for a value out of range.
        """
        rates, betas, labels = np.atleast_1d(check_lr(lr)), np.atleast_1d(check_momentum(momentum)), check_seeds(seeds)
        steps = check_steps(times)
        if isinstance(metrics, str) or not isinstance(metrics, Sequence):
            raise InputError("metrics", metrics, f"a list of some of {', '.join(self.problem.metrics)}")
        for name, given in {"lr": rates, "momentum": betas}.items():
            if not given.size or given.ndim != 1:
                raise InputError(name, f"shape {given.shape}", "one number or several")
        measured = [self.problem.find_metric(metric, "metrics") for metric in metrics]
        point = self.problem.check_point(start)
        grid = np.stack([g.ravel() for g in np.meshgrid(rates, betas, indexing="ij")])
        grid = np.repeat(grid, len(labels), axis=1)
        lanes = np.tile(labels.astype(np.uint64), len(rates) * len(betas))

        def block(first: int, advance: Callable[[float], None]) -> tuple[Array, NDArray[np.int64]]:
            cut = slice(first, first + LANES)
            return run_block(self, point, grid[0, cut], grid[1, cut], lanes[cut], steps, measured, advance)

        with track("runs", len(lanes), progress) as advance, one_blas_thread():
            parts = list(in_order((partial(block, first, advance) for first in range(0, len(lanes), LANES)), workers))
        shape = (len(rates), len(betas), len(labels))
        values = np.concatenate([part[0] for part in parts], axis=1).reshape(len(measured), *shape, len(steps))
        diverged = np.concatenate([part[1] for part in parts]).reshape(shape)
        dims = ("lr", "momentum", "seed", "time")
        return xr.Dataset(
            {metric.name: (dims, values[i], metric.attributes) for i, metric in enumerate(measured)}
            | {"diverged": (dims[:3], diverged, {"units": self.time_units})},
            coords={"lr": rates, "momentum": betas, "seed": labels, "time": self.time_coordinate(steps)},
            attrs=self.common_attributes()
            | as_attributes(self.problem.settings() | self.settings())
            | {"step": 1, "theory": "Setting"},
        )


def run_block(
    method: LabelNoiseSGD,
    start: Array,
    lr: ArrayLike,
    momentum: ArrayLike,
    seeds: ArrayLike,
    steps: NDArray[np.int64],
    metrics: Sequence[str | Metric] = tuple(METRICS),
    progress: Callable[[float], None] = lambda amount: None,
) -> tuple[Array, NDArray[np.int64]]:
    """Up to LANES runs: metrics (metric, lane, time) at `steps`, and each lane's step of divergence (-1: none).

    `progress` is called with the progress since its last call, in runs. Call this within `one_blas_thread`: the rounding of a
    metric's products may depend on the threads that share them.
    """
    problem = method.problem
    seed_words = np.atleast_1d(np.asarray(seeds, dtype=np.uint64))
    n_runs = len(seed_words)

    def lanes_of(values: ArrayLike) -> Array:
        return np.ascontiguousarray(np.resize(np.broadcast_to(np.asarray(values, float), (n_runs,)), LANES))

    w, v = (aligned(problem.n_parameters, LANES) for _ in range(2))
    w[:], v[:] = start[:, None], 0.0
    sigma, diverged = np.full(LANES, float(method.label_noise)), np.full(LANES, -1, dtype=np.int64)
    runs = Runs(w, v, lanes_of(lr), lanes_of(momentum), sigma, diverged)
    draws, rule = Draws.of(np.resize(seed_words, LANES), problem.n_outputs), method.rule()
    measured = [problem.find_metric(metric, "metrics") for metric in metrics]
    parts, now = [], 0
    for some in np.split(steps, _pieces(steps)):
        then = int(some[-1])
        parts.append(record(problem, runs, draws, rule, now, some, measured, n_runs=n_runs))
        progress(n_runs * (then - now) / max(1, int(steps[-1])))
        now = then
    return np.concatenate(parts, axis=2), diverged[:n_runs]


def _pieces(steps: NDArray[np.int64]) -> NDArray[np.intp]:
    """Where the records are divided, so that progress is told after PIECE steps or at the next record."""
    return np.flatnonzero(np.diff(steps // PIECE)) + 1


def check_steps(steps: ArrayLike, argument: str = "steps") -> NDArray[np.int64]:
    """Record times: increasing whole numbers >= 0."""
    given = np.asarray(steps)
    if given.ndim != 1 or given.size == 0 or not np.issubdtype(given.dtype, np.integer) or given[0] < 0:
        raise InputError(argument, steps, "a 1-D array of increasing whole numbers >= 0")
    if np.any(np.diff(given) <= 0):
        raise InputError(argument, steps, "a 1-D array of increasing whole numbers >= 0")
    return given.astype(np.int64)
