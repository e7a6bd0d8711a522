"""One engine in its own process: warm up, prove the law, then run once for every line on standard input.

Answers are JSON, one a line: first {"first": s, "deviation": z, ...}, then {"seconds": s, "memory": MiB} for each run.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from . import numpy_batched
from .entries import P2, P3_CHECK, Entry, entries
from .problems import CriticalValley, LabelNoise, Moments, OrnsteinUhlenbeck, Problem, Reference


def peak_memory() -> float:
    """Peak resident set of this process in MiB (NaN where the system does not tell)."""
    # not ru_maxrss: on Linux a child inherits its parent's
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def write_references(folder: Path, quick: bool) -> None:
    """Simulate what has no closed form, once for all engines."""
    n_paths = 10_000 if quick else 40_000
    for name, reference in {
        "P2-normal": numpy_batched.valley_reference(P2, False, n_paths),
        "P2-two-point": numpy_batched.valley_reference(P2, True, n_paths),
        "P3": numpy_batched.label_noise_reference(replace(P3_CHECK, n_paths=256)),
    }.items():
        np.savez(folder / f"{name}.npz", **reference._asdict())


def reference_for(entry: Entry, folder: Path) -> Reference:
    """The law that the entry must reproduce."""
    if isinstance(entry.checked, OrnsteinUhlenbeck):
        return entry.checked.reference()
    kind = "-two-point" if "two-point" in entry.group else "-normal" if isinstance(entry.checked, CriticalValley) else ""
    with np.load(folder / f"{entry.group[:2]}{kind}.npz") as stored:
        return Reference(**{name: stored[name] for name in stored.files})


def seconds(run: Callable[[int], Any], seed: int) -> float:
    """Wall time of one call."""
    clock = time.perf_counter()
    run(seed)
    return time.perf_counter() - clock


def choose_threads(build: Callable[[Problem], Callable[[int], Any]], entry: Entry) -> int | None:
    """The PyTorch thread count that does a short run fastest, now set."""
    if entry.threads is None:
        return None
    import torch

    short = build(replace(entry.timed, n_steps=entry.timed.n_steps // 10, n_times=10))
    times = {}
    for count in entry.threads:
        torch.set_num_threads(count)
        if len(entry.threads) > 1:
            times[count] = min(seconds(short, seed) for seed in range(2))
    best = min(times, key=times.__getitem__) if times else entry.threads[0]
    torch.set_num_threads(best)
    return best


def deviation(build: Callable[[Problem], Callable[[int], Any]], run: Callable[[int], Any], entry: Entry, folder: Path) -> float:
    """Largest difference from the reference in standard errors."""
    result = run(1) if entry.checked == entry.timed else build(entry.checked)(1)
    if isinstance(entry.checked, LabelNoise):
        result = Moments(result.mean(0), result.var(0))
    return reference_for(entry, folder).deviation(result, entry.checked.n_paths)


def versions() -> dict[str, str]:
    """Of every package that a figure depends on, where it is installed."""
    found = {}
    for name in ("sde-momentum", "numpy", "numba", "jax", "jaxlib", "diffrax", "torch", "torchsde"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def builder(function: str) -> Callable[[Problem], Callable[[int], Any]]:
    """The function that an entry names."""
    module, name = function.split(".")
    build: Callable[[Problem], Callable[[int], Any]] = getattr(
        importlib.import_module("ours" if module == "ours" else f"peers.{module}"), name
    )
    return build


def _serve_share(pipe: Any, function: str, share: Problem, one_thread: bool) -> None:
    """A child of `divided`: its share of the paths, once for every seed that comes."""
    run = builder(function)(share)
    if one_thread:
        import torch

        torch.set_num_threads(1)
    while (seed := pipe.recv()) is not None:
        pipe.send((run(seed), peak_memory()))


def divided(entry: Entry, memory: dict[int, float]) -> Callable[[Problem], Callable[[int], Any]]:
    """The entry's builder with the paths divided among processes that stay; `memory` learns their peaks."""

    def build(problem: Problem) -> Callable[[int], Any]:
        context = multiprocessing.get_context("spawn")
        share = replace(problem, n_paths=problem.n_paths // entry.processes)
        pipes = []
        for _ in range(entry.processes):
            mine, theirs = context.Pipe()
            arguments = (theirs, entry.function, share, entry.threads is not None)
            context.Process(target=_serve_share, args=arguments, daemon=True).start()
            pipes.append(mine)

        def run(seed: int) -> Any:
            for i, pipe in enumerate(pipes):
                pipe.send(1000 * (i + 1) + seed)
            parts = []
            for i, pipe in enumerate(pipes):
                result, memory[i] = pipe.recv()
                parts.append(result)
            if isinstance(problem, LabelNoise):
                return np.concatenate(parts)
            means, variances = np.array([p.mean for p in parts]), np.array([p.variance for p in parts])
            return Moments(means.mean(0), variances.mean(0) + means.var(0))

        return run

    return build


def main(index: int, folder: Path, quick: bool) -> None:
    """Serve one entry."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers

    def reply(**fields: Any) -> None:
        print(json.dumps(fields), file=replies, flush=True)

    entry = entries(quick)[index]
    memory: dict[int, float] = {}
    try:
        build = builder(entry.function) if entry.processes == 1 else divided(entry, memory)
        threads = choose_threads(build, entry) if entry.processes == 1 else None
        run = build(entry.timed)
        first = seconds(run, 0)
        warm = statistics.median(seconds(run, seed) for seed in (1, 2)) if first < 30 else seconds(run, 1)
        z = deviation(build, run, entry, folder)
    except NotImplementedError as reason:
        reply(missing=str(reason))
        return
    reply(compile=max(first - warm, 0.0), deviation=z, threads=threads)
    for line in sys.stdin:
        reply(seconds=seconds(run, int(line)), memory=sum(memory.values()) or peak_memory())
