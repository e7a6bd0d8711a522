"""This library's side of the comparison: the same functions that every peer has, and the limits of its generator."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from peers.problems import CriticalValley, Floats, LabelNoise, Moments, OrnsteinUhlenbeck

import sde_momentum as sm
from sde_momentum.dynamics.random import LABEL_NOISE, fill_normal, streams

_NO_ENGINE = "the SDE engine is not in this version"


def p1_normal(problem: OrnsteinUhlenbeck) -> Callable[[int], Moments]:
    """Euler-Maruyama."""
    raise NotImplementedError(_NO_ENGINE)


def p1_two_point(problem: OrnsteinUhlenbeck) -> Callable[[int], Moments]:
    """Weak Euler with two-point increments."""
    raise NotImplementedError(_NO_ENGINE)


def p2_normal(problem: CriticalValley) -> Callable[[int], Moments]:
    """Euler-Maruyama with full truncation."""
    raise NotImplementedError(_NO_ENGINE)


def p2_two_point(problem: CriticalValley) -> Callable[[int], Moments]:
    """Weak Euler with two-point increments and full truncation."""
    raise NotImplementedError(_NO_ENGINE)


def p3(problem: LabelNoise) -> Callable[[int], Floats]:
    """`simulate` on all cores (64 seeds are one block: one core works)."""
    sensing = sm.MatrixSensing(problem.d, 1, problem.n_measurements)
    method = sm.LabelNoiseSGD(sensing, problem.label_noise)
    start = sensing.random_start(0.1)
    steps = problem.stride * np.arange(1, problem.n_times + 1)

    def run(seed: int) -> Floats:
        seeds = seed * problem.n_paths + np.arange(problem.n_paths)
        runs = sm.simulate(method, start, problem.lr, problem.momentum, seeds, steps, metrics=("test_error",))
        errors: Floats = runs.test_error.values.reshape(problem.n_paths, problem.n_times)
        return errors

    return run


def normals_per_second(threads: int, size: int = 20_000_000) -> float:
    """What the generator alone makes: lanes in a small buffer, as the kernels use it."""

    def fill(seed: int) -> None:
        state, words = streams(np.arange(64) + 64 * seed, LABEL_NOISE), np.empty(64, dtype=np.uint64)
        buffer = np.empty((16, 64))
        for _ in range(size // buffer.size // threads):
            fill_normal(state, words, buffer)

    fill(0)
    with ThreadPoolExecutor(threads) as pool:
        clock = time.perf_counter()
        list(pool.map(fill, range(threads)))
        return size / (time.perf_counter() - clock)
