"""The update of SGD with momentum and noise, for a block of runs: compiled, or in NumPy [theory: Setting, eq. 1.2].

    v <- beta v - eta (J^T (f - y - sigma xi) / B + weight_decay w + F z + force),   w <- w + v

B is the batch size, F the factor of additional gradient noise. Both versions draw the same noise from the same streams; a problem
with kernels takes the compiled one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numba import int64, types
from numpy.typing import NDArray

from ..core.compile import njit
from ..core.errors import InputError
from ..core.random import BATCHES, GRADIENT_NOISE, LABEL_NOISE, fill_normal, fill_rademacher, next_words, streams
from ..core.simd.lanes import load_and_spread, store
from ..core.simd.matrix import WIDTH, aligned, product
from ..problems import measures
from ..problems.measures import MODEL, UNCOMPILED, measure
from ..problems.metrics import Metric
from ..problems.problem import Array, Problem

Words = NDArray[np.uint64]
Steps = NDArray[np.int64]

_FAR = 1e100
"""|f - y|^2 from which a run counts as diverged: far beyond recovery, far from overflow."""

load, _ = load_and_spread(WIDTH)
_KEPT = 8_000_000
"""Numbers that metrics in NumPy may hold at a time, 64 MB."""

_M = types.Array(types.float64, 2, "C")
_V = types.Array(types.float64, 1, "C")
_STATE = types.Array(types.uint64, 2, "C")
_ORDER = types.Array(types.int64, 2, "C")
_STEPS = types.Array(types.int64, 1, "C")
_CUBE = types.Array(types.float64, 3, "C")
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
    record(problem, runs, draws, rule, first, np.array([last]), (), force)


def record(
    problem: Problem, runs: Runs, draws: Draws, rule: Rule, first: int, steps: Steps, metrics: Sequence[Metric],
    force: Array | None = None, n_runs: int | None = None,
) -> Array:  # fmt: skip
    """Metrics of the runs after each of `steps`, (metric, run, step); NaN from the step on at which a run diverged.

    Advances all runs in place from step `first` to the last of `steps`, which increase from `first` or later on; equal to
    `first` is before any update. `force` (N, lanes) is added to the gradient. `n_runs`: measures the first of the lanes alone
    (None: all).

    With kernels the steps run in machine code, and so do metrics that have one (`Problem.compiled_metric`). The other metrics
    are taken of the parameters at many steps at once.
    """
    lanes, steps = runs.w.shape[1], np.asarray(steps, dtype=np.int64)
    added = np.empty((0, lanes)) if force is None else np.ascontiguousarray(force)
    measured = lanes if n_runs is None else n_runs
    kernels = problem.kernels
    compiled = [problem.compiled_metric(metric) for metric in metrics]
    model = kernels and measures.model(kernels, problem.targets, compiled)
    in_numpy = [i for i in range(len(metrics)) if model is None or model.kinds[i] == UNCOMPILED]
    out = np.empty((len(metrics), measured, len(steps)))
    size = problem.n_parameters * problem.n_outputs * measured  # a metric's Jacobians, for one record
    many = max(1, _KEPT // size) if len(in_numpy) else len(steps)
    for begin in range(0, len(steps), many):
        cut = slice(begin, begin + many)
        some = np.ascontiguousarray(steps[cut])
        points = np.empty((len(some) if len(in_numpy) else 0, measured, problem.n_parameters))
        values = np.empty((len(metrics), len(some), measured))
        if kernels is None:
            _record_arrays(problem, runs, draws, rule, first, some, added, points)
        else:
            scratch = aligned(kernels.scratch_rows, lanes)
            _record_compiled(model, scratch, runs, draws, rule, added, first, some, values, points)
        for i in in_numpy:
            values[i] = measure_in_numpy(problem, metrics[i], points)
        out[:, :, cut] = np.swapaxes(values, 1, 2)
        first = int(some[-1])
    for n in np.flatnonzero(runs.diverged[:measured] >= 0):
        out[:, n, np.searchsorted(steps, runs.diverged[n], "right") :] = np.nan
    return out


def measure_in_numpy(problem: Problem, metric: Metric, points: Array) -> Array:
    """Values (step, run) at points (step, run, N): each by itself, so that its rounding does not depend on the others."""
    shape = points.shape[:2]
    with np.errstate(over="ignore", invalid="ignore"):  # a diverging run's numbers are replaced
        values = metric(problem, points.reshape(-1, 1, points.shape[2]))
    if values.shape != (shape[0] * shape[1], 1):
        raise InputError(f"metric {metric}", f"values of shape {values.shape} at w of shape (M, 1, N)", "shape (M, 1)")
    return values.reshape(shape)


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
    share, label_noise = 1.0 / rule.batch, runs.label_noise
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
    _mark(size, runs.diverged, step)


@njit(fastmath={"contract"})
def _fused(model: Any, point: Any, runs: Any, rule: Any, step: int, room: Any, scratch: Any) -> None:
    """g <- J^T (f - y - sigma xi) / B, f found on the way; marks the runs that diverge."""
    p, lanes = room.f.shape
    share, shift, scale, size, targets = 1.0 / rule.batch, room.xi, room.keep, room.size, model.targets
    for i in range(p):
        for n in range(lanes):
            shift[i, n] = targets[i] + runs.label_noise[n] * shift[i, n]
            scale[i, n] = scale[i, n] * share if rule.batch < p else share
    model.pullback(model.data, point, room.whole, room.g, scratch)
    for n in range(lanes):
        size[n] = 0.0
    for i in range(p):
        for n in range(lanes):
            r = room.f[i, n] - targets[i]
            size[n] += r * r
    _mark(size, runs.diverged, step)


@njit
def _mark(size: Any, diverged: Any, step: int) -> None:
    """Marks the runs that diverge: `size` is |f - y|^2."""
    for n in range(size.shape[0]):
        if not size[n] < _FAR and diverged[n] < 0:  # NaN fails the comparison too
            diverged[n] = step


@njit(fastmath={"contract"})
def _freeze(f: Any, look: Any, runs: Any) -> None:
    """Diverged runs at 0, without a residual (rows of f), or else without a gradient."""
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


class _Room(NamedTuple):
    """Work space of a step, lanes side by side."""

    whole: Array
    """The next three below each other."""
    xi: Array
    keep: Array
    f: Array
    g: Array
    look: Array
    size: Array
    words: Words
    kick: Array
    source: Array


@njit
def _room(rows: int, p: int, lanes: int, rule: Any) -> Any:
    """Work space for runs of `rows` parameters and `p` outputs."""
    kick = aligned(rows if rule.factor.shape[0] > 0 else 0, lanes)
    source = kick if rule.diagonal else aligned(rule.factor.shape[1], lanes)
    whole, g, look = aligned(3 * p, lanes), aligned(rows, lanes), aligned(rows, lanes)
    xi, keep, f = whole[:p], whole[p : 2 * p], whole[2 * p :]
    return _Room(whole, xi, keep, f, g, look, np.empty(lanes), np.empty(lanes, dtype=np.uint64), kick, source)


@njit(fastmath={"contract"})
def _step(model: Any, scratch: Any, runs: Any, draws: Any, rule: Any, force: Any, step: int, room: Any) -> None:
    """Step `step` -> `step` + 1 of all runs."""
    w, v, momentum = runs.w, runs.v, runs.momentum
    f, xi, g, look = room.f, room.xi, room.g, room.look
    n_rows, lanes = w.shape
    if rule.nesterov:  # the gradient is taken at w + beta v [theory: Setting, eq. 1.2]
        for i in range(n_rows):
            for n in range(lanes):
                look[i, n] = w[i, n] + momentum[n] * v[i, n]
    point = look if rule.nesterov else w
    _fill(draws.labels, xi, rule.gaussian)
    if rule.batch < f.shape[0]:
        _draw_batches(draws.batches, room.keep, room.words, draws.order, rule.batch)
    if model.fused:
        _fused(model, point, runs, rule, step, room, scratch)
        _freeze(g, look, runs)
    else:
        model.outputs(model.data, point, f, scratch)
        _pull(f, xi, room.keep, model.targets, runs, rule, room.size, step)
        _freeze(f, look, runs)
        model.pullback(model.data, point, f, g, scratch)
    _add(g, point, room.source, room.kick, draws.gradient, rule, force)
    _move(w, v, g, runs.lr, momentum)


@njit(
    types.void(MODEL, _M, _RUNS, _DRAWS, _RULE, _M, int64, _STEPS, _CUBE, _CUBE),
    cache=True,
    nogil=True,
    fastmath={"contract"},
)
def _record_compiled(
    model: Any, scratch: Any, runs: Any, draws: Any, rule: Any, force: Any, first: int, steps: Any, values: Any, points: Any
) -> None:
    """values (metric, step, run) <- the compiled metrics; points (step, run, N) <- the parameters, if there are any steps."""
    n_rows, lanes = runs.w.shape
    room = _room(n_rows, model.targets.shape[0], lanes, rule)
    value = np.empty(lanes)
    for t in range(steps.shape[0]):
        for step in range(first, steps[t]):
            _step(model, scratch, runs, draws, rule, force, step, room)
        first = steps[t]
        for i in range(model.kinds.shape[0]):
            if model.kinds[i] != UNCOMPILED:
                measure(model, model.kinds[i], runs.w, value, scratch)
                for n in range(values.shape[2]):  # a slice would cost seconds of compilation, for its error message
                    values[i, t, n] = value[n]
        if points.shape[0] > 0:
            for n in range(points.shape[1]):
                for i in range(n_rows):
                    points[t, n, i] = runs.w[i, n]


def _record_arrays(
    problem: Problem, runs: Runs, draws: Draws, rule: Rule, first: int, steps: Steps, force: Array, points: Array
) -> None:
    """points (step, run, N) <- the parameters, if there are any steps."""
    for t, (now, then) in enumerate(pairwise([first, *map(int, steps)])):
        _advance_arrays(problem, runs, draws, rule, now, then, force)
        if len(points):
            points[t] = runs.w.T[: points.shape[1]]


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
