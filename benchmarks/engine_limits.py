"""Limits of the SDE engine: share of time in the random generator, scaling, two cores, user code, compilation.

Everything is printed as a ratio within one run: P1's throughput over the generator's own; the time that P2's normals,
divisions and roots would take alone over P2's; time per path-step from 10^6 to 10^9 path-steps, and what a call costs beside
its steps; one thread over two; a user's plain functions over the library's own kernels; the first call of a process that has
to compile, and of one that finds the kernel on disk.

    python benchmarks/engine_limits.py [--rounds 5] [--largest 1e9]

On a busy machine the figures are meaningless: the load is printed with them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import xarray as xr
from ours import divisions_and_roots_per_second, normals_per_second, p1_normal, p1_two_point, p2_normal, p2_two_point
from peers.entries import P1, P2

import sde_momentum as sm

OU = sm.SDE(lambda x, t, p: -p[0] * x, lambda x, t, p: p[1])
_FRESH = """
import time
clock = time.perf_counter()
import sys
sys.path.insert(0, {folder!r})
from ours import {function}
from peers.entries import {problem}
from dataclasses import replace
run = {function}(replace({problem}, n_paths=64, n_steps=100))
began = time.perf_counter()
run(0)
print(time.perf_counter() - began, began - clock)
"""


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    clock = time.perf_counter()
    run()
    return time.perf_counter() - clock


def turns(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Times of every run, taking turns, after one round to warm up."""
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return times


def ratio(over: list[float], under: list[float]) -> str:
    """Median of the rounds' ratios, and their range."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    return f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def ensemble(n_paths: int, n_steps: int, workers: int = -1, method: str | None = None) -> Callable[[], object]:
    """Problem P1 with another number of paths and steps."""
    times = P1.dt * n_steps / 10 * np.arange(1, 11)
    step, parameters = sm.sde.Fixed(P1.dt, method), (P1.rate, P1.noise)
    return lambda: sm.solve(OU, 1.0, times, step=step, n_paths=n_paths, parameters=parameters, workers=workers)


def generator_share(rounds: int) -> None:
    """Throughput of P1 over that of the generator alone, on one and on two threads."""
    size = 100_000_000
    for workers in (1, 2):
        runs = {"P1": ensemble(100_000, 1000, workers), "generator": partial(normals_per_second, workers, size)}
        times = turns(runs, rounds)
        print(
            f"P1 on {workers} thread(s): {size / median(times['P1']) / 1e6:,.0f} M/s, generator alone "
            f"{size / median(times['generator']) / 1e6:,.0f} M/s, share {ratio(times['generator'], times['P1'])}"
        )


def divider_share(rounds: int) -> None:
    """P2 against its bound: the divisions and roots, one each in every mode, and for normal increments as many normals.

    Beside it: what the steps with two-point increments and the normals take apart, over the steps with normals.
    """
    size = P2.n_paths * P2.n_steps * P2.n_modes
    for workers in (1, 2):
        runs: dict[str, Callable[[], object]] = {
            "normal": partial(p2_normal(P2, workers), 0),
            "two-point": partial(p2_two_point(P2, workers), 0),
            "normals": partial(normals_per_second, workers, size),
            "divisions and roots": partial(divisions_and_roots_per_second, workers, size),
        }
        times = turns(runs, rounds)
        bounds = {"two-point": times["divisions and roots"]}
        bounds["normal"] = [a + b for a, b in zip(bounds["two-point"], times["normals"], strict=True)]
        for name, bound in bounds.items():
            print(f"P2 {name} on {workers} thread(s): share of its bound {ratio(bound, times[name])}")
        apart = [a + b for a, b in zip(times["two-point"], times["normals"], strict=True)]
        print(f"P2 two-point and its normals, made apart, on {workers} thread(s): over P2 normal {ratio(apart, times['normal'])}")


def scaling(rounds: int, largest: float) -> None:
    """Time per path-step, relative to the largest run, on one and two threads, in both increments."""
    sizes = [10**k for k in range(6, round(np.log10(largest)) + 1)]
    for workers in (1, 2):
        runs = {f"{n:.0e}": ensemble(n // 1000, 1000, workers) for n in sizes}
        times = turns(runs, rounds)
        per_step = {name: median(times[name]) / float(name) for name in runs}
        print(f"Time per path-step over that of {list(runs)[-1]}, {workers} thread(s):", end=" ")
        print(", ".join(f"{name} {per_step[name] / list(per_step.values())[-1]:.2f}" for name in runs))


def fixed_cost(rounds: int) -> None:
    """What a call costs beside its steps, over a million path-steps' share of 10^8 on one thread: all of it, and its result.

    The result, a Dataset, is built anew from arrays that are there already: what no engine with a labelled result does without.
    """
    small = ensemble(1, 1000, 1)()
    assert isinstance(small, xr.Dataset)
    arrays, labels = (
        {str(name): (one.dims, one.values, one.attrs) for name, one in part.items()} for part in (small.data_vars, small.coords)
    )

    def often(run: Callable[[], object]) -> Callable[[], object]:
        return lambda: [run() for _ in range(100)]

    runs = {
        "steps": ensemble(100_000, 1000, 1),
        "a call with one path": often(ensemble(1, 1000, 1)),
        "its Dataset": often(lambda: xr.Dataset(arrays, coords=labels, attrs=small.attrs)),
    }
    times = turns(runs, rounds)
    for name in list(runs)[1:]:
        print(f"{name} over the steps of a million: {ratio(times[name], times['steps'])}")


def two_cores(rounds: int) -> None:
    """One thread over two."""
    for name, method in (("normal", None), ("two-point", "weak-euler")):
        times = turns({"one": ensemble(400_000, 1000, 1, method), "two": ensemble(400_000, 1000, 2, method)}, rounds)
        print(f"P1 {name}: one thread over two {ratio(times['one'], times['two'])}")


def user_code(rounds: int) -> None:
    """The same number of component-steps through a user's functions and through the library's own kernels."""
    process, valley = sm.sde.OrnsteinUhlenbeck(rate=P1.rate, noise=P1.noise), _valley()
    times_1 = P1.dt * P1.stride * np.arange(1, P1.n_times + 1)
    times_2 = P2.dt * P2.stride * np.arange(1, P2.n_times + 1)
    built_in = {
        "P1 exact steps": lambda: sm.solve(process, 1.0, times_1, step=P1.dt, n_paths=P1.n_paths),
        "P2 normal": lambda: sm.solve(valley, 1.0, times_2, kappa=P2.kappa, step=P2.dt, n_paths=P2.n_paths, increments="normal"),
        "P2 simplified": lambda: sm.solve(valley, 1.0, times_2, kappa=P2.kappa, step=P2.dt, n_paths=P2.n_paths),
    }
    users = {"P1": (p1_normal(P1), P1), "P2": (p2_normal(P2), P2)}
    users |= {"P1 two-point": (p1_two_point(P1), P1), "P2 two-point": (p2_two_point(P2), P2)}
    runs = built_in | {f"user's {name}": (lambda run=run: run(0)) for name, (run, _) in users.items()}
    times = turns(runs, rounds)
    work = {name: (P1 if "P1" in name else P2) for name in runs}
    for name, values in times.items():
        p = work[name]
        print(f"{name}: {p.n_paths * p.n_steps * p.components / median(values) / 1e6:,.0f} M component-steps/s")
    for user, own in (("user's P1", "P1 exact steps"), ("user's P2", "P2 normal"), ("user's P2 two-point", "P2 simplified")):
        print(f"{user} over {own}: {ratio(times[own], times[user])}")


def _valley() -> sm.dynamics.CriticalValley:
    """P2's valley; its slopes level off far away, where P2's do not."""
    return sm.dynamics.CriticalValley(sm.Valley(P2.base, P2.slope, float(P2.bend.sum())))


def compilation() -> None:
    """First call in a process without and with the kernel on disk; the import of the library itself apart."""
    for function, problem in (("p1_normal", "P1"), ("p2_normal", "P2"), ("p2_two_point", "P2")):
        with tempfile.TemporaryDirectory() as folder:
            text = _FRESH.format(folder=os.path.dirname(os.path.abspath(__file__)), function=function, problem=problem)
            calls = []
            for _ in range(2):
                environment = os.environ | {"SDE_MOMENTUM_CACHE": folder}
                done = subprocess.run([sys.executable, "-c", text], env=environment, check=True, capture_output=True, text=True)
                calls.append(float(done.stdout.split()[0]))
            print(f"{function}: first call {calls[0]:.2f} s, in the next process {calls[1]:.2f} s")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--largest", type=float, default=1e9)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    compilation()
    generator_share(given.rounds)
    divider_share(given.rounds)
    two_cores(given.rounds)
    user_code(given.rounds)
    fixed_cost(given.rounds)
    scaling(given.rounds, given.largest)
    print(f"Load before {load:.1f}, after {os.getloadavg()[0]:.1f}")
    if load > 0.5:
        print("The machine was busy when the run began: PRELIMINARY figures.")


if __name__ == "__main__":
    main()
