"""This library's side of the comparison: the same functions that every peer has, and the limits of its generator."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit
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


@njit(nogil=True, cache=True)
def _fill(state: Any, words: Any, buffer: Any, times: int) -> None:
    for _ in range(times):
        fill_normal(state, words, buffer)


def normals_per_second(threads: int, size: int = 40_000_000) -> float:
    """What the generator alone makes: 64 lanes into a small buffer again and again, one buffer a thread."""

    def fill(seed: int, times: int = size // 1024 // threads) -> None:
        state, words = streams(np.arange(64) + 64 * seed, LABEL_NOISE), np.empty(64, dtype=np.uint64)
        _fill(state, words, np.empty((16, 64)), times)

    fill(0, 1)
    with ThreadPoolExecutor(threads) as pool:
        clock = time.perf_counter()
        list(pool.map(fill, range(threads)))
        return size / (time.perf_counter() - clock)
