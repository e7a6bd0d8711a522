"""Simulator of heavy ball with label noise, parameter noise and local steps together [theory: Forces].

A plain reference: many runs side by side in NumPy, through the compiled outputs and pullbacks of the problem.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sde_momentum.core.errors import InputError, check_integer, check_lr, check_momentum, check_non_negative, check_one
from sde_momentum.dynamics.label_noise_sgd import check_steps
from sde_momentum.problems.problem import Problem

Floats = NDArray[np.float64]


def noisy_descent(
    problem: Problem,
    start: ArrayLike,
    times: ArrayLike,
    *,
    lr: float,
    momentum: float,
    n_runs: int,
    seed: int,
    label_noise: float = 0.0,
    parameter_noise: float = 0.0,
    n_workers: int = 1,
    local_steps: int = 1,
) -> Floats:
    """Mean of w over the workers at `times`, in steps: (n_time, n_runs, N).

        v <- beta v - eta g(w + s z),   w <- w + v;   every H steps w and v of a run's workers are set to their means

    Full batch; label noise and z are standard normal, fresh each step and independent between workers.

    Args:
        start: w_0, (N,); all start at rest
        times: increasing whole numbers, (n_time,)
        lr: eta > 0
        momentum: beta in [0, 1)
        n_runs: independent runs
        seed: of all noise
        label_noise: sigma of each worker, in units of f, >= 0
        parameter_noise: s, in units of w, >= 0
        n_workers: K
        local_steps: H

    Raises:
        InputError: for a value out of range.

    >>> import sde_momentum as sm
    >>> valley = sm.Valley([1.0, 1.0], 0.0, curvature=1.0)
    >>> noisy_descent(valley, valley.start(1.0), [0, 9], lr=0.1, momentum=0.5, n_runs=4, seed=0, label_noise=0.1).shape
    (2, 4, 3)
    """
    clock = check_steps(times, "times")
    rate, beta = check_one(check_lr, lr, "lr"), check_one(check_momentum, momentum, "momentum")
    check_one(check_non_negative, label_noise, "label_noise")
    check_one(check_non_negative, parameter_noise, "parameter_noise")
    workers = check_integer(n_workers, "n_workers", 1)
    check_integer(local_steps, "local_steps", 1)
    point = problem.check_point(start)
    rng = np.random.default_rng([check_integer(seed, "seed", 0), 40])
    if problem.kernels is None:
        raise InputError("problem", problem.name, "a problem with compiled kernels")
    outputs, pullback, data, scratch_rows = problem.kernels[:4]
    n, p, lanes = problem.n_parameters, problem.n_outputs, check_integer(n_runs, "n_runs", 1) * workers
    w, v, g = np.repeat(point[:, None], lanes, axis=1), np.zeros((n, lanes)), np.empty((n, lanes))
    f, scratch, targets = np.empty((p, lanes)), np.empty((scratch_rows, lanes)), problem.targets[:, None]
    label, shake = np.empty((p, lanes)), np.empty((n, lanes))
    out = np.empty((len(clock), n_runs, n))
    for t, (now, then) in enumerate(pairwise([0, *clock.tolist()])):
        for step in range(now + 1, then + 1):
            at = w
            if parameter_noise > 0:
                rng.standard_normal(out=shake)
                at = w + parameter_noise * shake
            outputs(data, at, f, scratch)
            f -= targets
            if label_noise > 0:
                rng.standard_normal(out=label)
                label *= label_noise
                f -= label
            f /= p
            pullback(data, at, f, g, scratch)
            v *= beta
            v -= rate * g
            w += v
            if workers > 1 and step % local_steps == 0:
                w, v = _average(w, workers), _average(v, workers)
        out[t] = w.reshape(n, n_runs, workers).mean(axis=2).T
    return out


def _average(x: Floats, workers: int) -> Floats:
    """The mean over each run's workers, given to all of them: (N, lanes) -> (N, lanes)."""
    mean = x.reshape(len(x), -1, workers).mean(axis=2)
    return np.repeat(mean, workers, axis=1)
