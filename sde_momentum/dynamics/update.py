"""The update of SGD with momentum and noise, for a block of runs: compiled, or in NumPy [theory: Setting, eq. 1.2].

    v <- beta v - eta (J^T (f - y - sigma xi) / B + weight_decay w + F z + force),   w <- w + v

B is the batch size, F the factor of additional gradient noise. Both versions draw the same noise from the same streams; a problem
with kernels takes the compiled one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import int64, njit, types
from numpy.typing import NDArray

from ..core.random import BATCHES, GRADIENT_NOISE, LABEL_NOISE, fill_normal, fill_rademacher, next_words, streams
from ..core.simd.address import by_address
from ..core.simd.lanes import load_and_spread, store
from ..core.simd.matrix import WIDTH, aligned, product
from ..problems.compiled import KERNEL, PULLBACK
from ..problems.problem import Array, Problem

Words = NDArray[np.uint64]
Steps = NDArray[np.int64]

_FAR = 1e100
"""|f - y|^2 from which a run counts as diverged: far beyond recovery, far from overflow."""

load, _ = load_and_spread(WIDTH)
_M = types.Array(types.float64, 2, "C")
_V = types.Array(types.float64, 1, "C")
_STATE = types.Array(types.uint64, 2, "C")
_ORDER = types.Array(types.int64, 2, "C")
_STEPS = types.Array(types.int64, 1, "C")
_U64 = types.uint64


class Runs(NamedTuple):
    """State and settings of the runs of a block, one per lane."""

    w: Array
    """Parameters, (N, lanes)."""
    v: Array
    """Velocities, (N, lanes)."""
    lr: Array
    """eta, (lanes,)."""
    momentum: Array
    """beta, (lanes,)."""
    label_noise: Array
    """sigma, (lanes,)."""
    diverged: Steps
    """The step at which a run diverged, -1 for none, (lanes,). From then on it stays at 0."""


class Draws(NamedTuple):
    """Random streams of the runs, (4, lanes) each."""

    labels: Words
    batches: Words
    gradient: Words
    order: Steps
    """Permutation of the samples, shuffled in place as batches are drawn, (P, lanes)."""

    @classmethod
    def of(cls, seeds: Words, n_outputs: int) -> Draws:
        """The streams of these seeds, (lanes,), at their beginning."""
        order = np.repeat(np.arange(n_outputs, dtype=np.int64)[:, None], len(seeds), axis=1)
        labels, batches, gradient = (streams(seeds, purpose) for purpose in (LABEL_NOISE, BATCHES, GRADIENT_NOISE))
        return cls(labels, batches, gradient, order)


class Rule(NamedTuple):
    """Settings of the update that all runs of a block share."""

    batch: int
    """Samples per step, B."""
    gaussian: bool = False
    """Normal noise, not Rademacher."""
    nesterov: bool = False
    """Gradient and decay are taken at w + beta v."""
    weight_decay: float = 0.0
    factor: Array = np.empty((0, 0))
    """F of the gradient noise, (N, r), or its diagonal, (N, 1); (0, 0) for none."""
    diagonal: bool = False


_RUNS = types.NamedTuple((_M, _M, _V, _V, _V, _STEPS), Runs)
_DRAWS = types.NamedTuple((_STATE, _STATE, _STATE, _ORDER), Draws)
_RULE = types.NamedTuple((int64, types.boolean, types.boolean, types.float64, _M, types.boolean), Rule)


def advance(problem: Problem, runs: Runs, draws: Draws, rule: Rule, first: int, last: int, force: Array | None = None) -> None:
    """Steps first..last-1 of all runs, in place; `force` (N, lanes) is added to the gradient."""
    lanes = runs.w.shape[1]
    added = np.empty((0, lanes)) if force is None else np.ascontiguousarray(force)
    kernels = problem.kernels
    if kernels is None:
        _advance_arrays(problem, runs, draws, rule, first, last, added)
        return
    f, g = by_address(kernels.outputs, KERNEL), by_address(kernels.pullback, PULLBACK)
    scratch = aligned(kernels.scratch_rows, lanes)
    _advance_compiled(f, g, kernels.data, scratch, problem.targets, runs, draws, rule, added, first, last)


@njit(
    types.void(_STATE, _M, types.Array(types.uint64, 1, "C"), _ORDER, int64),
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


@njit(fastmath={"contract"})
def _pull(f: Any, xi: Any, keep: Any, targets: Any, runs: Any, rule: Any, size: Any, step: int) -> None:
    """f <- (f - y - sigma xi) / B for the samples of the batch, 0 for the others; marks the runs that diverge."""
    p, lanes = f.shape
    share, label_noise, diverged = 1.0 / rule.batch, runs.label_noise, runs.diverged
    for n in range(lanes):
        size[n] = 0.0
    for i in range(p):
        for n in range(lanes):
            r = f[i, n] - targets[i]
            size[n] += r * r
            f[i, n] = (r - label_noise[n] * xi[i, n]) * share
    if rule.batch < p:
        for i in range(p):
            for n in range(lanes):
                f[i, n] *= keep[i, n]
    for n in range(lanes):
        if not size[n] < _FAR and diverged[n] < 0:  # NaN fails the comparison too
            diverged[n] = step


@njit(fastmath={"contract"})
def _freeze(f: Any, look: Any, runs: Any) -> None:
    """Diverged runs at 0, without a residual."""
    p, lanes = f.shape
    for n in range(lanes):
        if runs.diverged[n] >= 0:
            for i in range(runs.w.shape[0]):
                runs.w[i, n] = 0.0
                runs.v[i, n] = 0.0
                look[i, n] = 0.0
            for i in range(p):
                f[i, n] = 0.0


@njit(fastmath={"contract"})
def _add(g: Any, point: Any, source: Any, kick: Any, state: Any, rule: Any, force: Any) -> None:
    """g <- g + force + weight_decay w + F z, w being the `point` where the gradient is taken."""
    n_rows, lanes = g.shape
    for i in range(force.shape[0]):
        for n in range(lanes):
            g[i, n] += force[i, n]
    if rule.weight_decay > 0.0:
        for i in range(n_rows):
            for n in range(lanes):
                g[i, n] += rule.weight_decay * point[i, n]
    if rule.factor.shape[0] > 0:
        _fill(state, source, rule.gaussian)
        if rule.diagonal:
            for i in range(n_rows):
                for n in range(lanes):
                    kick[i, n] *= rule.factor[i, 0]
        else:
            product(rule.factor, source, kick)
        for i in range(n_rows):
            for n in range(lanes):
                g[i, n] += kick[i, n]


@njit(
    types.void(
        types.FunctionType(KERNEL), types.FunctionType(PULLBACK), _M, _M, _V, _RUNS, _DRAWS, _RULE, _M, int64, int64
    ),
    cache=True,
    nogil=True,
    fastmath={"contract"},
)  # fmt: skip
def _advance_compiled(
    outputs: Any, pullback: Any, data: Any, scratch: Any, targets: Any, runs: Any, draws: Any, rule: Any, force: Any,
    first: int, last: int,
) -> None:  # fmt: skip
    w, v, lr, momentum = runs.w, runs.v, runs.lr, runs.momentum
    n_rows, lanes = w.shape
    p = targets.shape[0]
    f, xi, g, look = aligned(p, lanes), aligned(p, lanes), aligned(n_rows, lanes), aligned(n_rows, lanes)
    keep, size, words = np.empty((p, lanes)), np.empty(lanes), np.empty(lanes, dtype=np.uint64)
    kick = aligned(n_rows if rule.factor.shape[0] > 0 else 0, lanes)
    source = kick if rule.diagonal else aligned(rule.factor.shape[1], lanes)
    for step in range(first, last):
        if rule.nesterov:  # the gradient is taken at w + beta v [theory: Setting, eq. 1.2]
            for i in range(n_rows):
                for n in range(lanes):
                    look[i, n] = w[i, n] + momentum[n] * v[i, n]
        point = look if rule.nesterov else w
        outputs(data, point, f, scratch)
        _fill(draws.labels, xi, rule.gaussian)
        if rule.batch < p:
            _draw_batches(draws.batches, keep, words, draws.order, rule.batch)
        _pull(f, xi, keep, targets, runs, rule, size, step)
        _freeze(f, look, runs)
        pullback(data, point, f, g, scratch)
        _add(g, point, source, kick, draws.gradient, rule, force)
        _move(w, v, g, lr, momentum)


def _advance_arrays(problem: Problem, runs: Runs, draws: Draws, rule: Rule, first: int, last: int, force: Array) -> None:
    """The same by the problem's own `vjp`; equal to the compiled update up to rounding."""
    w, v, (p, lanes) = runs.w, runs.v, draws.order.shape
    fill = fill_normal if rule.gaussian else fill_rademacher
    xi, keep, words = np.empty((p, lanes)), np.ones((p, lanes)), np.empty(lanes, dtype=np.uint64)
    z = np.empty((len(w) if rule.diagonal else rule.factor.shape[1], lanes))
    for step in range(first, last):
        point = w + runs.momentum * v if rule.nesterov else w
        fill(draws.labels, xi)
        if rule.batch < p:
            _draw_batches(draws.batches, keep, words, draws.order, rule.batch)
        with np.errstate(all="ignore"):  # a run that diverges is marked
            # one matrix per run: the rounding of a product must not depend on the other runs
            rows = np.array(point.T, order="C")[:, None]
            f, pullback = problem.vjp(rows)
            r = f[:, 0].T - problem.targets[:, None]
            runs.diverged[~(np.square(r).sum(axis=0) < _FAR) & (runs.diverged < 0)] = step
            gone = runs.diverged >= 0
            r = np.where(gone, 0.0, (r - runs.label_noise * xi) * keep / rule.batch)
            w[:, gone] = v[:, gone] = rows[gone] = 0.0
            g = pullback(np.ascontiguousarray(r.T)[:, None])[:, 0].T + rule.weight_decay * rows[:, 0].T
            if len(force):
                g += force
            if len(rule.factor):
                fill(draws.gradient, z)
                g += rule.factor * z if rule.diagonal else rule.factor @ z
            g[:, gone] = 0.0
            v *= runs.momentum
            v -= runs.lr * g
            w += v
