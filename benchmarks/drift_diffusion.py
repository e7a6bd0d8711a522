"""Drift and diffusion along Gamma against the update that they reduce: time for the same answer, as ratios.

Matrix sensing, d = 8, rank 1, 40 measurements, without label noise; gradient noise of covariance 0.01 times the unit matrix, and
of a random covariance of the same trace. 1 - beta = lr^(1/3). The answer: the mean of tr H over 64 runs, at
t = k eta^2 / delta^2 = 0.5. The limit takes ten steps to it at any lr, the update 0.5 lr^(-4/3). Rounds alternate; the fastest of
each counts.
Run: python benchmarks/drift_diffusion.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import sde_momentum as sm

RATES = {1e-2: 3, 1e-3: 3, 1e-4: 1}
"""Learning rates, and rounds of each."""
SEEDS, TIME, STEPS, SIZE = range(64), 0.5, 10, 0.1


def _timed(run: Callable[[], Any]) -> tuple[float, float, float]:
    """Seconds, and the mean of tr H with its standard error."""
    clock = time.perf_counter()
    values = run().trace_hessian.values.ravel()
    return time.perf_counter() - clock, values.mean(), values.std(ddof=1) / np.sqrt(len(values))


def main() -> None:
    problem = sm.MatrixSensing(8, 1, 40)
    start, n = problem.interpolating_start(), problem.n_parameters
    matrix = SIZE * np.random.default_rng(0).standard_normal((n, n)) / np.sqrt(n)

    def limit(factor: Any) -> Any:
        method = sm.DriftDiffusion(problem, lambda _: factor)
        return sm.solve(method, start, [TIME], step=TIME / STEPS, seeds=SEEDS, metrics=("trace_hessian",))

    def update(noise: Any, lr: float) -> Any:
        delta = lr ** (1 / 3)
        method = sm.LabelNoiseSGD(problem, 0.0, noise_law="normal", gradient_noise=noise)
        steps = [round(TIME * delta**2 / lr**2)]
        return sm.solve(method, start, steps, lr=lr, momentum=1 - delta, seeds=SEEDS, metrics=("trace_hessian",))

    for name, noise, factor in (("isotropic", SIZE, SIZE * np.eye(n)), ("one matrix", matrix, matrix)):
        limit(factor)  # compiled before the clock runs
        for lr, rounds in RATES.items():
            both = [(_timed(lambda: update(noise, lr)), _timed(lambda: limit(factor))) for _ in range(rounds)]  # noqa: B023
            (full, mean, error), (short, ours, own) = (min(times) for times in zip(*both, strict=True))
            print(
                f"{name:10}, lr {lr:g}: update {full:8.3f} s, limit {short:.3f} s, ratio {full / short:7.2f}; "
                f"tr H {mean:.2f} +- {error:.2f} and {ours:.2f} +- {own:.2f}"
            )


if __name__ == "__main__":
    main()
