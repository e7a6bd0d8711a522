"""The discrete update itself: v <- beta v - eta g(w), w <- w + v, with fresh label noise every step (T1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from joblib import Parallel, delayed
from numba import int64, njit, types
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from ..errors import InputError, check_integer, check_lr, check_momentum, check_non_negative
from ..problems.base import KERNEL, METRICS, PULLBACK, Array, Problem
from ..simd.matrix import aligned
from .ensemble import check_seeds
from .random import BATCHES, LABEL_NOISE, fill_normal, fill_rademacher, next_words, streams

LANES = 32
"""Runs stepped together. Always this many (short blocks are padded): a run's rounding must not depend on its company."""

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


@njit(
    types.void(
        types.FunctionType(KERNEL), types.FunctionType(PULLBACK), _M, _V, _M, _M, _M, _M, _V, _V, _V,
        _STATE, _STATE, types.Array(types.int64, 2, "C"), _STEPS, int64, int64, int64, types.boolean, types.boolean,
    ),
    cache=True,
    nogil=True,
    fastmath={"contract"},
)  # fmt: skip
def advance(
    outputs: Any, pullback: Any, data: Any, targets: Any, w: Any, v: Any, force: Any, scratch: Any,
    lr: Any, momentum: Any, label_noise: Any,
    noise_state: Any, batch_state: Any, order: Any, diverged: Any,
    first: int, last: int, batch: int, gaussian: bool, nesterov: bool,
) -> None:  # fmt: skip
    """Steps first..last-1 for all lanes, in place: the gradient is that of the noisy loss plus `force` (N, lanes).

    A lane that leaves the finite world is frozen at its step.
    """
    n_rows, lanes = w.shape
    p = targets.shape[0]
    f = aligned(p, lanes)
    xi = aligned(p, lanes)
    g = aligned(n_rows, lanes)
    keep = np.empty((p, lanes))
    size = np.empty(lanes)
    words = np.empty(lanes, dtype=np.uint64)
    look = aligned(n_rows, lanes)
    for step in range(first, last):
        if nesterov:  # the gradient is taken where momentum alone would lead (T2)
            for i in range(n_rows):
                for n in range(lanes):
                    look[i, n] = w[i, n] + momentum[n] * v[i, n]
        point = look if nesterov else w
        outputs(data, point, f, scratch)
        if gaussian:
            fill_normal(noise_state, words, xi)
        else:
            fill_rademacher(noise_state, words, xi)
        for n in range(lanes):
            size[n] = 0.0
        for i in range(p):
            for n in range(lanes):
                r = f[i, n] - targets[i]
                size[n] += r * r
                f[i, n] = (r - label_noise[n] * xi[i, n]) / batch
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
        for i in range(n_rows):
            for n in range(lanes):
                v[i, n] = momentum[n] * v[i, n] - lr[n] * (g[i, n] + force[i, n])
                w[i, n] += v[i, n]


@dataclass(frozen=True)
class LabelNoiseSGD:
    """SGD with momentum and label noise on `problem`: the method that `simulate` steps (T1).

    `label_noise`: sigma >= 0; `batch_size`: samples per step, drawn without replacement afresh each step
    (None: full batch); `noise_law`: "rademacher" or "normal"; `nesterov`: the gradient at w + beta v.
    """

    problem: Problem
    label_noise: float
    batch_size: int | None = None
    noise_law: str = "rademacher"
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_non_negative(self.label_noise, "label_noise")
        if self.batch_size is not None:
            check_integer(self.batch_size, "batch_size", 1)
            if self.batch_size > self.problem.n_outputs:
                raise InputError("batch_size", self.batch_size, f"a whole number from 1 to {self.problem.n_outputs}")
        if self.noise_law not in ("rademacher", "normal"):
            raise InputError("noise_law", self.noise_law, "'rademacher' or 'normal'")

    @property
    def batch(self) -> int:
        """Samples per step, B."""
        return self.problem.n_outputs if self.batch_size is None else self.batch_size

    @property
    def noise(self) -> float:
        """c = sigma^2 / B (T1)."""
        return self.label_noise**2 / self.batch

    def settings(self) -> dict[str, Any]:
        """What rebuilds this method."""
        return {
            "label_noise": self.label_noise,
            "batch_size": self.batch,
            "noise_law": self.noise_law,
            "nesterov": self.nesterov,
        }


def run_block(
    method: LabelNoiseSGD,
    start: Array,
    lr: ArrayLike,
    momentum: ArrayLike,
    seeds: ArrayLike,
    steps: NDArray[np.int64],
    metrics: Sequence[str] = tuple(METRICS),
) -> tuple[Array, NDArray[np.int64]]:
    """Up to LANES runs: metrics (metric, lane, time) at `steps`, and each lane's step of divergence (-1: none).

    Run it within `one_blas_thread`: the rounding of a product may depend on the threads that share it.
    """
    problem = method.problem
    outputs, pullback, data, scratch_rows = problem.kernels
    seed_words = np.atleast_1d(np.asarray(seeds, dtype=np.uint64))
    n_runs = len(seed_words)

    def lanes_of(values: ArrayLike) -> Array:
        return np.ascontiguousarray(np.resize(np.broadcast_to(np.asarray(values, float), (n_runs,)), LANES))

    rates, betas = lanes_of(lr), lanes_of(momentum)
    seed_words = np.resize(seed_words, LANES)
    noise_state, batch_state = streams(seed_words, LABEL_NOISE), streams(seed_words, BATCHES)
    w, v = (aligned(problem.n_parameters, LANES) for _ in range(2))
    w[:], v[:] = start[:, None], 0.0
    order = np.ascontiguousarray(np.broadcast_to(np.arange(problem.n_outputs)[:, None], (problem.n_outputs, LANES)))
    order = order.copy()
    diverged = np.full(LANES, -1, dtype=np.int64)
    sigma = np.full(LANES, float(method.label_noise))
    scratch = aligned(scratch_rows, LANES)
    out = np.empty((len(metrics), n_runs, len(steps)))
    force = np.zeros_like(w)
    for t, (now, then) in enumerate(pairwise([0, *steps.tolist()])):
        advance(
            outputs, pullback, data, problem.targets, w, v, force, scratch, rates, betas, sigma,
            noise_state, batch_state, order, diverged,
            now, then, method.batch, method.noise_law == "normal", method.nesterov,
        )  # fmt: skip
        points = np.ascontiguousarray(w[:, :n_runs].T)
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging run's numbers are replaced below
            out[:, :, t] = [problem.metric(name, points) for name in metrics]
        out[:, diverged[:n_runs] >= 0, t] = np.nan
    return out, diverged[:n_runs]


def one_blas_thread() -> threadpool_limits:
    """Context in which BLAS keeps to one thread: the blocks themselves fill the cores."""
    return threadpool_limits(1, user_api="blas")


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


def simulate(
    method: LabelNoiseSGD,
    start: ArrayLike,
    lr: ArrayLike,
    momentum: ArrayLike,
    seeds: ArrayLike,
    steps: ArrayLike,
    *,
    metrics: Sequence[str] = tuple(METRICS),
    workers: int = -1,
) -> xr.Dataset:
    """Run every (lr, momentum, seed) from `start` and stream the metrics at `steps` (T1).

    `lr` (n_lr,), `momentum` (n_momentum,), `seeds` (n_seed,) whole numbers: all combinations are run; `steps`
    (n_time,) counts updates. Runs of equal seed share their noise (common random numbers). Returns a Dataset of
    dims (lr, momentum, seed, time) with one variable a metric and `diverged` (the step, or -1). The numbers do
    not depend on `workers` (threads, -1: all cores). Raises InputError.
    """
    rates = np.atleast_1d(check_lr(lr))
    betas = np.atleast_1d(check_momentum(momentum))
    labels = check_seeds(seeds)
    times = check_steps(steps)
    for name in metrics:
        check_metric(name, "metrics")
    point = method.problem.check_point(start)
    grid = np.stack([g.ravel() for g in np.meshgrid(rates, betas, indexing="ij")])
    grid = np.repeat(grid, len(labels), axis=1)
    lanes = np.tile(labels.astype(np.uint64), len(rates) * len(betas))

    def blocks() -> Iterator[Any]:
        for i in range(0, grid.shape[1], LANES):
            cut = slice(i, i + LANES)
            yield delayed(run_block)(method, point, grid[0, cut], grid[1, cut], lanes[cut], times, metrics)

    with one_blas_thread():
        parts = Parallel(n_jobs=workers, prefer="threads")(blocks())
    shape = (len(rates), len(betas), len(labels))
    values = np.concatenate([part[0] for part in parts], axis=1).reshape(len(metrics), *shape, len(times))
    diverged = np.concatenate([part[1] for part in parts]).reshape(shape)
    dims = ("lr", "momentum", "seed", "time")
    return xr.Dataset(
        {name: (dims, values[i]) for i, name in enumerate(metrics)} | {"diverged": (dims[:3], diverged)},
        coords={"lr": rates, "momentum": betas, "seed": labels, "time": ("time", times, {"units": "steps"})},
        attrs=method.problem.settings() | {k: v for k, v in method.settings().items() if v is not None},
    )
