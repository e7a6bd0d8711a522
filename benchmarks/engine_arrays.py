"""Large systems: the engine against a plain NumPy loop that keeps mean and variance, as ratios of CPU time.

    python benchmarks/engine_arrays.py [--paths 2048] [--steps 100] [--rounds 5]

A dense linear system of 50 and 200 components, a ring of 200 neighbours, and the gradient of a network's loss of 180 parameters
(16 inputs, 10 tanh units with bias), each with independent noise of every component. Ways take turns; a ratio is the median over
rounds.

For a linear system the product A x alone, by BLAS, is timed too: the loop's time over the product's is the bound of any engine
whose product is not faster than BLAS's. Rates are those of 2 d^2 operations a path and step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import sde_momentum as sm

H = 0.01


def linear(d: int) -> tuple[Any, Any]:
    """-A x, A with eigenvalues near 1: on arrays, and in loops."""
    multiply, a = sm.sde.multiply, np.eye(d) + 0.5 * np.random.default_rng(d).standard_normal((d, d)) / np.sqrt(d)
    minus = -a

    def write(x: Any, t: float, p: Any, out: Any) -> None:
        multiply(minus, x, out)

    return lambda x, t, p: -(a @ x), write


def chain(d: int) -> tuple[Any, Any]:
    """A ring of neighbours with a cubic force."""

    def write(x: Any, t: float, p: Any, out: Any) -> None:
        for i in range(d):
            out[i] = x[i - 1 if i > 0 else d - 1] - 2.0 * x[i] + x[i + 1 if i < d - 1 else 0] - x[i] * x[i] * x[i]

    return lambda x, t, p: np.roll(x, 1, axis=0) - 2.0 * x + np.roll(x, -1, axis=0) - x * x * x, write


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


def product(drift: Callable[..., Any], d: int, n_paths: int, n_steps: int) -> tuple[Any, Any]:
    """The drift alone, on the chunks of the NumPy loop."""
    x = np.random.default_rng(0).standard_normal((d, 512))
    for _ in range(n_paths // 512 * n_steps):
        drift(x, 0.0, ())
    return np.nan, np.nan


def noise(x: Any, t: float, p: Any, out: Any) -> None:
    """0.1 for every component."""
    for i in range(len(out)):
        out[i] = 0.1


def looped(write: Callable[..., Any], d: int, n_paths: int, n_steps: int) -> tuple[Any, Any]:
    """The engine in compiled loops."""
    equation = sm.SDE(write, noise, d)
    result = sm.solve(equation, np.ones(d), [n_steps * H], step=H, n_paths=n_paths, progress=False, workers=1)
    return result["mean"].values[0], result["variance"].values[0]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("paths", 2048), ("steps", 100), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    cases = [("linear", d, *linear(d)) for d in (50, 200)] + [("ring", 200, *chain(200)), ("network", *network(), None)]
    for label, d, drift, write in cases:
        ways = [(plain, drift), (batched, drift)] + ([(looped, write)] if write is not None else [])
        ways += [(product, drift)] if label == "linear" else []
        begin = time.process_time()
        ways[2 if write is not None else 1][0](write or drift, d, 64, 1)
        compiled = time.process_time() - begin
        rounds = []
        for _ in range(given.rounds):
            seconds, found = [], []
            for way, function in ways:
                begin = time.process_time()
                found.append(way(function, d, given.paths, given.steps))
                seconds.append(time.process_time() - begin)
            rounds.append(seconds)
            error = np.sqrt(2.0 * found[0][1] / given.paths)
            for mean, _ in found[1 : 3 if write is not None else 2]:
                assert np.all(abs(found[0][0] - mean) < 6.0 * error), label
        ratios = [statistics.median(r[0] / r[k] for r in rounds) for k in range(1, len(ways))]
        text = f"{label} {d}: NumPy loop / engine on arrays {ratios[0]:.2f}"
        if write is not None:
            text += f", in compiled loops {ratios[1]:.2f} (compiled in {compiled:.1f} s)"
        if label == "linear":
            work = 2e-9 * d * d * given.paths * given.steps
            rates = [work / statistics.median(r[k] for r in rounds) for k in range(4)]
            text += f"; bound by the product alone {ratios[2]:.2f}; 1e9 operations a second: loop {rates[0]:.1f}, on arrays "
            text += f"{rates[1]:.1f}, in compiled loops {rates[2]:.1f}, the product alone {rates[3]:.1f}"
        print(text, flush=True)


if __name__ == "__main__":
    main()
