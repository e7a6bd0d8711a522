"""The discrete update itself: v <- beta v - eta g(w), w <- w + v, with fresh noise every step [theory: Setting]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import xarray as xr
from numba import float64, int64, njit, types
from numpy.typing import ArrayLike, NDArray

from ..core.dataset import as_attributes
from ..core.dynamics import Dynamics
from ..core.errors import InputError, check, check_integer, check_lr, check_momentum, check_non_negative
from ..core.progress import track
from ..core.random import BATCHES, GRADIENT_NOISE, LABEL_NOISE, fill_normal, fill_rademacher, next_words, streams
from ..core.simd.address import by_address
from ..core.simd.lanes import load_and_spread, store
from ..core.simd.matrix import WIDTH, aligned, product
from ..core.threads import in_order, one_blas_thread
from ..core.times import check_seeds
from ..problems.problem import KERNEL, METRICS, PULLBACK, Array, Problem

LANES = 32
"""Runs stepped together. Always this many (short blocks are padded): a run's rounding must not depend on its company."""

load, _ = load_and_spread(WIDTH)
_M = types.Array(types.float64, 2, "C")
_V = types.Array(types.float64, 1, "C")
_STATE = types.Array(types.uint64, 2, "C")
_STEPS = types.Array(types.int64, 1, "C")
_U64 = types.uint64


@njit(
    types.void(_STATE, _M, types.Array(types.uint64, 1, "C"), types.Array(types.int64, 2, "C"), int64),
    cache=True,
    nogil=True,
)
def _draw_batches(s: Any, keep: Any, words: Any, order: Any, batch: int) -> None:
    """keep (P, lanes) <- 1 for `batch` samples drawn without replacement, else 0 (partial Fisher-Yates)."""
    p, lanes = keep.shape
    for i in range(p):
        for n in range(lanes):
            keep[i, n] = 0.0
    for i in range(batch):
        next_words(s, words)
        for n in range(lanes):
            j = i + int64(np.float64(words[n] >> _U64(11)) * 2.0**-53 * (p - i))
            order[i, n], order[j, n] = order[j, n], order[i, n]
            keep[order[i, n], n] = 1.0


class Spread(NamedTuple):
    """Gradient noise B z of covariance B B^T: the factor B (N, r), or its diagonal as a column (N, 1)."""

    factor: Array
    diagonal: bool


@njit
def _fill(state: Any, out: Any, gaussian: bool) -> None:
    if gaussian:
        fill_normal(state, out)
    else:
        fill_rademacher(state, out)


@njit(fastmath={"contract"})
def _move(w: Any, v: Any, g: Any, lr: Any, momentum: Any) -> None:
    """v <- beta v - eta g, w <- w + v: a stripe of lanes at a time, so that their beta and eta stay in registers."""
    rows, lanes = w.shape
    striped = lanes - lanes % WIDTH
    for n in range(0, striped, WIDTH):
        eta, beta = load(lr, n), load(momentum, n)
        for i in range(n, rows * lanes, lanes):
            change = beta * load(v, i) - eta * load(g, i)
            store(v, i, change)
            store(w, i, load(w, i) + change)
    for i in range(rows):
        for n in range(striped, lanes):
            v[i, n] = momentum[n] * v[i, n] - lr[n] * g[i, n]
            w[i, n] += v[i, n]


@njit(
    types.void(
        types.FunctionType(KERNEL), types.FunctionType(PULLBACK), _M, _V, _M, _M, _M, _M, _V, _V, _V,
        _STATE, _STATE, types.Array(types.int64, 2, "C"), _STEPS, int64, int64, int64, types.boolean, types.boolean,
        float64, _M, types.boolean, _STATE,
    ),
    cache=True,
    nogil=True,
    fastmath={"contract"},
)  # fmt: skip
def _advance(
    outputs: Any, pullback: Any, data: Any, targets: Any, w: Any, v: Any, force: Any, scratch: Any,
    lr: Any, momentum: Any, label_noise: Any,
    noise_state: Any, batch_state: Any, order: Any, diverged: Any,
    first: int, last: int, batch: int, gaussian: bool, nesterov: bool,
    weight_decay: float, spread: Any, diagonal: bool, gradient_state: Any,
) -> None:  # fmt: skip
    n_rows, lanes = w.shape
    p = targets.shape[0]
    share = 1.0 / batch
    f = aligned(p, lanes)
    xi = aligned(p, lanes)
    g = aligned(n_rows, lanes)
    keep = np.empty((p, lanes))
    size = np.empty(lanes)
    words = np.empty(lanes, dtype=np.uint64)
    look = aligned(n_rows, lanes)
    with_noise = spread.shape[0] > 0
    kick = aligned(n_rows if with_noise else 0, lanes)
    source = kick if diagonal else aligned(spread.shape[1], lanes)
    for step in range(first, last):
        if nesterov:  # the gradient is taken where momentum alone would lead [theory: Relaxation]
            for i in range(n_rows):
                for n in range(lanes):
                    look[i, n] = w[i, n] + momentum[n] * v[i, n]
        point = look if nesterov else w
        outputs(data, point, f, scratch)
        _fill(noise_state, xi, gaussian)
        for n in range(lanes):
            size[n] = 0.0
        for i in range(p):
            for n in range(lanes):
                r = f[i, n] - targets[i]
                size[n] += r * r
                f[i, n] = (r - label_noise[n] * xi[i, n]) * share
        if batch < p:
            _draw_batches(batch_state, keep, words, order, batch)
            for i in range(p):
                for n in range(lanes):
                    f[i, n] *= keep[i, n]
        for n in range(lanes):
            # NaN fails the comparison too. 1e100: far beyond recovery, far from overflow.
            if not size[n] < 1e100 and diverged[n] < 0:
                diverged[n] = step
        for n in range(lanes):
            if diverged[n] >= 0:
                for i in range(n_rows):
                    w[i, n] = 0.0
                    v[i, n] = 0.0
                    look[i, n] = 0.0
                for i in range(p):
                    f[i, n] = 0.0
        pullback(data, point, f, g, scratch)
        for i in range(force.shape[0]):
            for n in range(lanes):
                g[i, n] += force[i, n]
        if weight_decay > 0.0:
            for i in range(n_rows):
                for n in range(lanes):
                    g[i, n] += weight_decay * point[i, n]
        if with_noise:
            _fill(gradient_state, source, gaussian)
            if diagonal:
                for i in range(n_rows):
                    for n in range(lanes):
                        kick[i, n] *= spread[i, 0]
            else:
                product(spread, source, kick)
            for i in range(n_rows):
                for n in range(lanes):
                    g[i, n] += kick[i, n]
        _move(w, v, g, lr, momentum)


def advance(
    outputs: Any, pullback: Any, data: Array, targets: Array, w: Array, v: Array, force: Array, scratch: Array,
    lr: Array, momentum: Array, label_noise: Array,
    noise_state: Any, batch_state: Any, order: Any, diverged: Any,
    first: int, last: int, batch: int, gaussian: bool, nesterov: bool,
    weight_decay: float = 0.0, gradient_noise: Spread | None = None, gradient_state: Any = None,
) -> None:  # fmt: skip
    """Steps first..last-1 for all lanes, in place.

    The gradient is that of the noisy loss, plus `force` (N, lanes), or (0, lanes) for none, plus weight_decay w, plus
    gradient noise drawn from the streams `gradient_state` (for at least WIDTH lanes). A lane that leaves the finite world
    is frozen at its step.
    """
    if gradient_noise is None:
        gradient_noise, gradient_state = Spread(np.empty((0, 0)), False), noise_state
    _advance(
        by_address(outputs, KERNEL), by_address(pullback, PULLBACK), data, targets, w, v, force, scratch, lr, momentum,
        label_noise, noise_state, batch_state, order,
        diverged, first, last, batch, gaussian, nesterov,
        weight_decay, gradient_noise.factor, gradient_noise.diagonal, gradient_state,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class LabelNoiseSGD(Dynamics):
    """SGD with momentum and label noise on `problem`: what the theory is about [theory: Setting].

        v <- beta v - eta (g(w) + weight_decay w + B z),   w <- w + v

    Args:
        problem: what moves
        label_noise: sigma >= 0
        batch_size: samples per step, drawn without replacement afresh each step (None: full batch)
        noise_law: "rademacher" or "normal", of the label noise and of z
        nesterov: gradient and decay at w + beta v
        weight_decay: >= 0, in units of the Hessian, as in `torch.optim.SGD`
        gradient_noise: B in units of the gradient, for additive noise of covariance B B^T: a factor (N, r), the
            diagonal (N,), or one number for all directions; None for none. z is of mean 0 and variance 1, fresh each step.

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
        check_non_negative(self.label_noise, "label_noise")
        if self.batch_size is not None:
            check_integer(self.batch_size, "batch_size", 1)
            if self.batch_size > self.problem.n_outputs:
                raise InputError("batch_size", self.batch_size, f"a whole number from 1 to {self.problem.n_outputs}")
        if self.noise_law not in ("rademacher", "normal"):
            raise InputError("noise_law", self.noise_law, "'rademacher' or 'normal'")
        if check_non_negative(self.weight_decay, "weight_decay").ndim:
            raise InputError("weight_decay", self.weight_decay, "one number >= 0")
        self.spread()

    def spread(self) -> Spread | None:
        """The gradient noise as `advance` wants it."""
        if self.gradient_noise is None:
            return None
        n = self.problem.n_parameters
        given = check("gradient_noise", self.gradient_noise, np.isfinite, "finite numbers")
        if given.shape in ((), (n,)):
            return Spread(np.broadcast_to(given, (n,)).reshape(n, 1).copy(), True)
        if given.ndim != 2 or given.shape[0] != n or given.shape[1] == 0:
            raise InputError("gradient_noise", f"shape {given.shape}", f"shape ({n}, r) or ({n},), one number, or None")
        return Spread(np.ascontiguousarray(given), False)

    @property
    def batch(self) -> int:
        """Samples per step, B."""
        return self.problem.n_outputs if self.batch_size is None else self.batch_size

    @property
    def noise(self) -> float:
        """c = sigma^2 / B [theory: Setting]."""
        return self.label_noise**2 / self.batch

    def settings(self) -> dict[str, Any]:
        """What rebuilds this method."""
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
        metrics: Sequence[str] = tuple(METRICS),
        workers: int = -1,
        progress: bool | None = None,
    ) -> xr.Dataset:
        """Run every (lr, momentum, seed) from `start`, at rest, and stream the metrics at `times` [theory: Setting].

        Args:
            start: w_0, (N,)
            times: numbers of updates after which to take the metrics, increasing whole numbers >= 0, (n_time,)
            lr: eta > 0, (n_lr,) or one number
            momentum: beta in [0, 1), (n_momentum,) or one number; all combinations with `lr` are run
            seeds: whole numbers >= 0, (n_seed,); runs of equal seed share their noise (common random numbers)
            metrics: some of METRICS
            workers: threads, -1 for all cores; the numbers do not depend on it
            progress: a bar with the time left; None: if standard error is a terminal and it takes over two seconds

        Returns:
            Dataset of dims (lr, momentum, seed, time), a variable for each metric, and `diverged` (lr, momentum, seed): the
            step at which a run left the finite world, -1 for none. Its metrics are NaN from then on.

        Raises:
            InputError: for a value out of range.
        """
        rates, betas, labels = np.atleast_1d(check_lr(lr)), np.atleast_1d(check_momentum(momentum)), check_seeds(seeds)
        steps = check_steps(times)
        for name in metrics:
            check_metric(name, "metrics")
        point = self.problem.check_point(start)
        grid = np.stack([g.ravel() for g in np.meshgrid(rates, betas, indexing="ij")])
        grid = np.repeat(grid, len(labels), axis=1)
        lanes = np.tile(labels.astype(np.uint64), len(rates) * len(betas))

        def block(first: int, advance: Callable[[float], None]) -> tuple[Array, NDArray[np.int64]]:
            cut = slice(first, first + LANES)
            return run_block(self, point, grid[0, cut], grid[1, cut], lanes[cut], steps, metrics, advance)

        with track("runs", len(lanes), progress) as advance, one_blas_thread():
            parts = list(in_order((partial(block, first, advance) for first in range(0, len(lanes), LANES)), workers))
        shape = (len(rates), len(betas), len(labels))
        values = np.concatenate([part[0] for part in parts], axis=1).reshape(len(metrics), *shape, len(steps))
        diverged = np.concatenate([part[1] for part in parts]).reshape(shape)
        dims = ("lr", "momentum", "seed", "time")
        return xr.Dataset(
            {name: (dims, values[i]) for i, name in enumerate(metrics)}
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
    metrics: Sequence[str] = tuple(METRICS),
    progress: Callable[[float], None] = lambda amount: None,
) -> tuple[Array, NDArray[np.int64]]:
    """Up to LANES runs: metrics (metric, lane, time) at `steps`, and each lane's step of divergence (-1: none).

    `progress` is told of the runs that are done, in parts.

    Run it within `one_blas_thread`: the rounding of a metric's products may depend on the threads that share them.
    """
    problem = method.problem
    outputs, pullback, data, scratch_rows = problem.kernels
    seed_words = np.atleast_1d(np.asarray(seeds, dtype=np.uint64))
    n_runs = len(seed_words)

    def lanes_of(values: ArrayLike) -> Array:
        return np.ascontiguousarray(np.resize(np.broadcast_to(np.asarray(values, float), (n_runs,)), LANES))

    rates, betas = lanes_of(lr), lanes_of(momentum)
    seed_words = np.resize(seed_words, LANES)
    noise_state, batch_state, gradient_state = (streams(seed_words, p) for p in (LABEL_NOISE, BATCHES, GRADIENT_NOISE))
    w, v = (aligned(problem.n_parameters, LANES) for _ in range(2))
    w[:], v[:] = start[:, None], 0.0
    order = np.ascontiguousarray(np.broadcast_to(np.arange(problem.n_outputs)[:, None], (problem.n_outputs, LANES)))
    order = order.copy()
    diverged = np.full(LANES, -1, dtype=np.int64)
    sigma = np.full(LANES, float(method.label_noise))
    scratch = aligned(scratch_rows, LANES)
    out = np.empty((len(metrics), n_runs, len(steps)))
    no_force, spread = np.empty((0, LANES)), method.spread()
    for t, (now, then) in enumerate(pairwise([0, *steps.tolist()])):
        advance(
            outputs, pullback, data, problem.targets, w, v, no_force, scratch, rates, betas, sigma,
            noise_state, batch_state, order, diverged,
            now, then, method.batch, method.noise_law == "normal", method.nesterov,
            float(method.weight_decay), spread, gradient_state,
        )  # fmt: skip
        points = np.ascontiguousarray(w[:, :n_runs].T)
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging run's numbers are replaced below
            out[:, :, t] = [problem.metric(name, points) for name in metrics]
        out[:, diverged[:n_runs] >= 0, t] = np.nan
        progress(n_runs * (then - now) / max(1, int(steps[-1])))
    return out, diverged[:n_runs]


def check_metric(name: str, argument: str = "metric") -> str:
    """One of METRICS."""
    if name not in METRICS:
        raise InputError(argument, name, ", ".join(METRICS))
    return name


def check_steps(steps: ArrayLike, argument: str = "steps") -> NDArray[np.int64]:
    """Record times: increasing whole numbers >= 0."""
    given = np.asarray(steps)
    if given.ndim != 1 or given.size == 0 or not np.issubdtype(given.dtype, np.integer) or given[0] < 0:
        raise InputError(argument, steps, "a 1-D array of increasing whole numbers >= 0")
    if np.any(np.diff(given) <= 0):
        raise InputError(argument, steps, "a 1-D array of increasing whole numbers >= 0")
    return given.astype(np.int64)
