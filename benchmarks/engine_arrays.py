"""Large systems: the engine against a plain NumPy loop that keeps mean and variance, as ratios of CPU time.

    python benchmarks/engine_arrays.py [--paths 2048] [--steps 100] [--rounds 5]

A dense linear system of 50 and 200 components, and the gradient of a network's loss of 200 parameters (16 inputs, 10 tanh units
with bias, 30 outputs' weights), each with independent noise of every component. Ways take turns; a ratio is the median over
rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import sde_momentum as sm
from sde_momentum import sde

H = 0.01


def linear(d: int) -> Callable[[Any, float, Any], Any]:
    """-A x, A with eigenvalues near 1."""
    a = np.eye(d) + 0.5 * np.random.default_rng(d).standard_normal((d, d)) / np.sqrt(d)
    return lambda x, t, p: -(a @ x)


def network() -> tuple[int, Callable[[Any, float, Any], Any]]:
    """Minus the gradient of the mean square error of a tanh network of 16 inputs and 10 units, 32 samples: 180 parameters."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.standard_normal((32, 16)), rng.standard_normal(32)

    def drift(x: Any, t: float, p: Any) -> Any:
        n = x.shape[1]
        first, bias, second = x[:160].reshape(10, 16, n), x[160:170], x[170:]
        hidden = np.tanh(np.tensordot(inputs, first, ((1,), (1,))) + bias)  # (32, 10, n)
        error = ((hidden * second).sum(axis=1) - targets[:, None]) / 32.0
        back = error[:, None] * second * (1.0 - hidden**2)
        slope = np.tensordot(inputs, back, ((0,), (0,)))  # (16, 10, n)
        parts = (slope.transpose(1, 0, 2).reshape(160, n), back.sum(axis=0), (error[:, None] * hidden).sum(axis=0))
        return -np.concatenate(parts)

    return 180, drift


def plain(drift: Callable[..., Any], d: int, n_paths: int, n_steps: int) -> tuple[Any, Any]:
    """A NumPy loop over chunks of paths."""
    rng, ends = np.random.default_rng(0), []
    for _ in range(n_paths // 512):
        x = np.ones((d, 512))
        for k in range(n_steps):
            x = x + drift(x, k * H, ()) * H + 0.1 * np.sqrt(H) * rng.standard_normal((d, 512))
        ends.append(x)
    x = np.concatenate(ends, axis=1)
    return x.mean(axis=1), x.var(axis=1, ddof=1)


def batched(drift: Callable[..., Any], d: int, n_paths: int, n_steps: int) -> tuple[Any, Any]:
    """The engine on arrays."""
    equation = sm.SDE(drift, lambda x, t, p: 0.1, d, batched=True)
    result = sm.solve(equation, np.ones(d), [n_steps * H], step=H, n_paths=n_paths, progress=False, workers=1)
    return result["mean"].values[0], result["variance"].values[0]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("paths", 2048), ("steps", 100), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    for label, d, drift in (("linear", 50, linear(50)), ("linear", 200, linear(200)), ("network", *network())):
        rounds = []
        for _ in range(given.rounds):
            seconds, found = [], []
            for way in (plain, batched):
                begin = time.process_time()
                found.append(way(drift, d, given.paths, given.steps))
                seconds.append(time.process_time() - begin)
            rounds.append(seconds)
            error = np.sqrt(2.0 * found[0][1] / given.paths)
            assert np.all(abs(found[0][0] - found[1][0]) < 6.0 * error), label
        ratio = statistics.median(theirs / ours for theirs, ours in rounds)
        print(f"{label} {d}: NumPy loop / engine {ratio:.2f} (CPU seconds {rounds[-1][0]:.2f} / {rounds[-1][1]:.2f})", flush=True)
    assert sde


if __name__ == "__main__":
    main()
