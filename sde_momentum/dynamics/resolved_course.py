"""Time courses at finite lr with every normal mode resolved: the update itself, at the largest lr that has the same course
[theory: Finite learning rate].

To first order in delta the update has two numbers on the clock s = delta k [theory: Finite learning rate, eq. 8.7], kappa and the
frequency omega = sqrt(eta) / delta. Training of any step h in s has them,

    beta = exp(-h),   eta = omega^2 h (1 - beta),   c = 2 kappa h^2 (1 - beta^2) / eta^2,

a splitting of second order in h. So it may take the largest step that resolves the stiffest mode, with a larger lr and weaker
noise than those asked for. A step costs one gradient, whatever the number of modes: no Jacobian, no eigenvectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.progress import track
from ..core.simd.matrix import WIDTH, aligned
from ..core.threads import in_order, n_threads, one_blas_thread
from ..core.times import fit_steps
from ..problems.problem import Array, Problem
from .update import Draws, Rule, Runs, record

PHASE = 0.4
"""Largest phase Omega_j h of a step, at the start: the stiffest mode has 1 / (1 - PHASE^2 / 4) of its force, 4 % more."""
_LANES = 32
_ITERATIONS = 30


def stiffest(problem: Problem, w: Array) -> float:
    """The largest eigenvalue of J J^T / P at w (N,), by power iteration with products alone: differences of f, and pullbacks."""
    direction = np.random.default_rng(0).standard_normal(w.shape)
    value, h = 0.0, 1e-5 * (1 + float(np.abs(w).max()))
    for _ in range(_ITERATIONS):
        direction /= np.linalg.norm(direction) / h
        along = (problem.outputs(w + direction) - problem.outputs(w - direction)) / (2 * h)
        value = float(along @ along) / problem.n_outputs
        direction = problem.pullback(w, along)
    return value


def resolving_pace(frequency: float, eigenvalue: float) -> float:
    """The largest step in s at which a mode of this eigenvalue is resolved."""
    return float(PHASE / (frequency * np.sqrt(eigenvalue)))


def resolved_metric(
    problem: Problem,
    start: Array,
    times: Array,
    *,
    kappa: Array,
    frequency: Array,
    pace: Array,
    step: float,
    metric: str,
    seeds: NDArray[np.int64],
    workers: int = -1,
    progress: bool | None = False,
) -> Array:
    """A metric along runs from a point of Gamma, (n_kappa, n_seed, n_time), NaN once a run has diverged.

    Args:
        start: (N,), left at rest
        times: record times, (n_time,), increasing; those of kappa[k] are pace[k] times as long, on the clock s = delta k
        kappa, frequency, pace: eta^2 c / (4 delta^3), sqrt(eta) / delta and the factor on the times, (n_kappa,) each
        step: largest step, in units of `times`; shorter where the stiffest mode asks for it
        seeds: whole numbers >= 0, (n_seed,); runs of equal seed share their noise
        workers: threads, -1 for all cores; the numbers do not depend on it
    """
    eigenvalue = stiffest(problem, start)
    most = min(resolving_pace(one, eigenvalue) / k for one, k in zip(frequency, pace, strict=True))
    schedule = fit_steps(times, min(step, most))
    n_runs = len(kappa) * len(seeds)
    rows = [np.repeat(x, len(seeds)) for x in (kappa, frequency, pace)]
    words = np.tile(seeds.astype(np.uint64), len(kappa))
    together = _LANES
    if problem.kernels is not None:
        together = min(_LANES, max(-(-n_runs // n_threads(workers) // WIDTH), 1) * WIDTH)
    with track("runs", n_runs, progress) as advance, one_blas_thread():

        def block(first: int) -> Array:
            cut = slice(first, first + together)
            found = _block(problem, start, schedule, [row[cut] for row in rows], words[cut], metric)
            advance(len(words[cut]))
            return found

        parts = list(in_order((partial(block, first) for first in range(0, n_runs, together)), workers))
    return np.concatenate(parts).reshape(len(kappa), len(seeds), -1)


def _block(
    problem: Problem, start: Array, schedule: Any, settings: Sequence[Array], seeds: NDArray[np.uint64], metric: str
) -> Array:
    """The metric of some runs of a kappa, frequency and pace each, (run, time)."""
    n_runs = len(seeds)
    lanes = n_runs if problem.kernels is None else -(-n_runs // WIDTH) * WIDTH
    fill = np.minimum(np.arange(lanes), n_runs - 1)
    kappa, frequency, pace = (row[fill] for row in settings)
    w, v = (aligned(problem.n_parameters, lanes) for _ in range(2))
    w[:], v[:] = start[:, None], 0.0
    lr, momentum, label_noise = (np.zeros(lanes) for _ in range(3))
    runs = Runs(w, v, lr, momentum, label_noise, np.full(lanes, -1))
    draws, rule = Draws.of(seeds[fill], problem.n_outputs), Rule(problem.n_outputs)
    measured, now, before = [problem.find_metric(metric)], 0, 0.0
    values = np.empty((n_runs, len(schedule[0])))
    for t, (n_steps, size) in enumerate(zip(*schedule[1:], strict=True)):
        if n_steps == 0:  # the start
            values[:, t] = record(problem, runs, draws, rule, now, np.array([now]), measured, n_runs=n_runs)[0, :, 0]
            continue
        h = size * pace
        v *= size / before if before else 1.0  # of dw in a step
        beta = np.exp(-h)
        runs.momentum[:] = beta
        runs.lr[:] = frequency**2 * h * (1 - beta)
        runs.label_noise[:] = np.sqrt(2 * kappa * (1 - beta**2) * problem.n_outputs) * h / runs.lr
        # w is half a step ahead of the time: the splitting's position lies between the last two
        last = now + int(n_steps) - np.arange(1, -1, -1)
        values[:, t] = record(problem, runs, draws, rule, now, last, measured, n_runs=n_runs)[0].mean(axis=-1)
        now, before = int(last[-1]), size
    return values
