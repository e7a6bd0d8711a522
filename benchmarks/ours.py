"""This library's entries of the comparison, the same functions as every peer's, and the speed of its generator."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit
from peers.problems import CriticalValley, Floats, LabelNoise, Moments, OrnsteinUhlenbeck

import sde_momentum as sm
from sde_momentum.core.random import LABEL_NOISE, fill_normal, streams
from sde_momentum.core.simd.lanes import load_and_spread, sqrt, store


def _moments(
    sde: sm.SDE,
    x0: Any,
    problem: OrnsteinUhlenbeck | CriticalValley,
    method: str,
    parameters: tuple[float, ...] = (),
    workers: int = -1,
) -> Callable[[int], Moments]:
    """Mean and variance of the first component, by `solve`, on all cores unless `workers` says otherwise."""
    times = problem.dt * problem.stride * np.arange(1, problem.n_times + 1)

    def run(seed: int) -> Moments:
        step = sm.sde.Fixed(problem.dt, method)
        options = {"n_paths": problem.n_paths, "seed": seed, "parameters": parameters, "workers": workers}
        result = sm.solve(sde, x0, times, step=step, **options)
        first = result if sde.dim == 1 else result.isel(component=0)
        return Moments(first["mean"].values, first["variance"].values)

    return run


def _ornstein_uhlenbeck(problem: OrnsteinUhlenbeck, method: str) -> Callable[[int], Moments]:
    sde = sm.SDE(lambda x, t, p: -p[0] * x, lambda x, t, p: p[1])
    return _moments(sde, problem.start, problem, method, (problem.rate, problem.noise))


def p1_normal(problem: OrnsteinUhlenbeck) -> Callable[[int], Moments]:
    """Euler-Maruyama on a user's own drift and diffusion."""
    return _ornstein_uhlenbeck(problem, "euler-maruyama")


def p1_two_point(problem: OrnsteinUhlenbeck) -> Callable[[int], Moments]:
    """Weak Euler with two-point increments."""
    return _ornstein_uhlenbeck(problem, "weak-euler")


def _valley(problem: CriticalValley, method: str, workers: int = -1) -> Callable[[int], Moments]:
    """x = (theta, p, e_1, ..., e_m) as a user would write it, each mode spelt out."""
    rows = list(zip(problem.base.tolist(), problem.slope.tolist(), problem.bend.tolist(), strict=True))
    modes = range(len(rows))
    energies = [f"    e{j} = max(x[{j + 2}], 0.0)" for j in modes]
    eigenvalues = [f"    lam{j} = {b} + ({s}) * x[0] + {h / 2} * x[0] * x[0]" for j, (b, s, h) in enumerate(rows)]
    slopes = [f"    l{j} = ({s} + {h} * x[0]) / lam{j}" for j, (_, s, h) in enumerate(rows)]
    force = " + ".join(f"l{j} * e{j}" for j in modes)
    relax = ", ".join(f"lam{j} - e{j} + 0.5 * l{j} * x[1] * e{j}" for j in modes)
    spread = ", ".join(f"math.sqrt(2.0 * lam{j} * e{j})" for j in modes)
    lines = ["def drift(x, t, p):", *energies, *eigenvalues, *slopes, f"    return (x[1], -x[1] - p[0] * ({force}), {relax})"]
    lines += ["def diffusion(x, t, p):", *energies, *eigenvalues, f"    return ({spread})"]
    text = "\n".join(lines)
    names: dict[str, Any] = {"math": math}
    exec(text, names)
    sde = sm.SDE(names["drift"], names["diffusion"], dim=problem.components, driven=tuple(range(2, problem.components)))
    return _moments(sde, [problem.start, 0.0, *problem.start_energies], problem, method, (problem.kappa,), workers)


def p2_normal(problem: CriticalValley, workers: int = -1) -> Callable[[int], Moments]:
    """Euler-Maruyama with full truncation."""
    return _valley(problem, "euler-maruyama", workers)


def p2_two_point(problem: CriticalValley, workers: int = -1) -> Callable[[int], Moments]:
    """Weak Euler with two-point increments and full truncation."""
    return _valley(problem, "weak-euler", workers)


def p3(problem: LabelNoise) -> Callable[[int], Floats]:
    """The library's own simulator on all cores."""
    sensing = sm.MatrixSensing(problem.d, 1, problem.n_measurements)
    method = sm.LabelNoiseSGD(sensing, problem.label_noise)
    start = sensing.random_start(0.1)
    steps = problem.stride * np.arange(1, problem.n_times + 1)

    def run(seed: int) -> Floats:
        seeds = seed * problem.n_paths + np.arange(problem.n_paths)
        runs = sm.solve(method, start, steps, lr=problem.lr, momentum=problem.momentum, seeds=seeds, metrics=("test_error",))
        errors: Floats = runs.test_error.values.reshape(problem.n_paths, problem.n_times)
        return errors

    return run


@njit(nogil=True, cache=True)
def _fill(state: Any, buffer: Any, times: int) -> None:
    for _ in range(times):
        fill_normal(state, buffer)


_load, _ = load_and_spread(16)


@njit(nogil=True, cache=True, error_model="numpy")
def _divide_and_root(x: Any, y: Any, out: Any, times: int) -> None:
    for _ in range(times):
        for n in range(0, x.size, 16):
            store(out, n, _load(y, n) / _load(x, n) + sqrt(_load(x, n)))


def _per_second(work: Callable[[int, int], None], threads: int, times: int) -> float:
    """Calls per second of work(thread, times), `times` in all."""
    for thread in range(threads):
        work(thread, 1)
    with ThreadPoolExecutor(threads) as pool:
        clock = time.perf_counter()
        list(pool.map(work, range(threads), [times // threads] * threads))
        return times / (time.perf_counter() - clock)


def normals_per_second(threads: int, size: int = 40_000_000) -> float:
    """What the generator alone makes: 64 lanes into a small buffer again and again, one buffer a thread."""

    def fill(thread: int, times: int) -> None:
        _fill(streams(np.arange(64) + 64 * thread, LABEL_NOISE), np.empty((16, 64)), times)

    return 1024 * _per_second(fill, threads, size // 1024)


def divisions_and_roots_per_second(threads: int, size: int = 40_000_000) -> float:
    """Pairs of a division and a square root alone, on numbers in the first-level cache."""

    def divide(thread: int, times: int) -> None:
        x, y = np.linspace(1.0, 2.0, 1024), np.linspace(3.0, 4.0, 1024)
        _divide_and_root(x, y, np.empty(1024), times)

    return 1024 * _per_second(divide, threads, size // 1024)
