"""Batched NumPy with the SFC64 generator: whole-array updates in place, in blocks that stay in the cache.

On one core; two threads did not pay (the interpreter's lock), two processes do.

It is also the reference of P2 and P3: the plainest code, written as the formulas stand in `problems.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .problems import CriticalValley, Floats, LabelNoise, Moments, OrnsteinUhlenbeck, Reference, reference_of

BLOCK, VALLEY_BLOCK = 4096, 512  # paths stepped together: state and increments within the second-level cache


def _rng(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(seed))


def _two_point(rng: np.random.Generator, out: Floats) -> None:
    """out <- +-1: random bytes, one bit each."""
    bits = np.unpackbits(np.frombuffer(rng.bytes((out.size + 7) // 8), np.uint8), count=out.size)
    np.multiply(bits.reshape(out.shape), 2.0, out=out)
    out -= 1.0


def _over_blocks(step_block: Callable[[np.random.Generator, int], Floats], n_paths: int, size: int) -> Callable[[int], Moments]:
    """Moments over blocks of paths: step_block(rng, n) returns sums of x and x^2, (2, n_times)."""

    def run(seed: int) -> Moments:
        blocks = [step_block(_rng(seed, first), min(size, n_paths - first)) for first in range(0, n_paths, size)]
        mean, square = np.sum(blocks, axis=0) / n_paths
        return Moments(mean, square - mean**2)

    return run


def _ou(problem: OrnsteinUhlenbeck, two_point: bool) -> Callable[[int], Moments]:
    def step_block(rng: np.random.Generator, n: int) -> Floats:
        sums = np.empty((2, problem.n_times))
        x = np.full(n, problem.start)
        noise = np.empty_like(x)
        for time in range(problem.n_times):
            for _ in range(problem.stride):
                if two_point:
                    _two_point(rng, noise)
                else:
                    rng.standard_normal(out=noise)
                noise *= problem.kick
                x *= problem.decay
                x += noise
            sums[:, time] = x.sum(), x @ x
        return sums

    return _over_blocks(step_block, problem.n_paths, BLOCK)


def p1_normal(problem: OrnsteinUhlenbeck) -> Callable[[int], Moments]:
    """Normal increments."""
    return _ou(problem, two_point=False)


def p1_two_point(problem: OrnsteinUhlenbeck) -> Callable[[int], Moments]:
    """Increments of +-sqrt(dt)."""
    return _ou(problem, two_point=True)


def valley_block(problem: CriticalValley, rng: np.random.Generator, n: int, two_point: bool = False) -> Floats:
    """theta (n, n_times) of n paths."""
    base, slope, bend = problem.base[:, None], problem.slope[:, None], problem.bend[:, None]
    dt, half = problem.dt, 0.5 * bend
    theta, p = np.full(n, problem.start), np.zeros(n)
    e = np.repeat(problem.start_energies[:, None], n, axis=1)
    lam, plus, drift, noise = (np.empty_like(e) for _ in range(4))
    out = np.empty((n, problem.n_times))
    for time in range(problem.n_times):
        for _ in range(problem.stride):
            np.multiply(half, theta, out=lam)
            lam += slope
            lam *= theta
            lam += base
            np.maximum(e, 0.0, out=plus)
            np.multiply(bend, theta, out=drift)  # drift <- l_j e+_j
            drift += slope
            drift *= plus
            drift /= lam
            force = drift.sum(0)
            drift *= 0.5 * p
            drift += lam
            drift -= plus
            drift *= dt
            if two_point:
                _two_point(rng, noise)
            else:
                rng.standard_normal(out=noise)
            plus *= lam
            plus *= 2 * dt
            np.sqrt(plus, out=plus)
            plus *= noise
            e += drift
            e += plus
            theta += dt * p
            p -= dt * (p + problem.kappa * force)
        out[:, time] = theta
    return out


def _valley(problem: CriticalValley) -> Callable[[int], Moments]:
    def step_block(rng: np.random.Generator, n: int) -> Floats:
        theta = valley_block(problem, rng, n)
        return np.stack([theta.sum(0), (theta**2).sum(0)])

    return _over_blocks(step_block, problem.n_paths, VALLEY_BLOCK)


def p2_normal(problem: CriticalValley) -> Callable[[int], Moments]:
    """Normal increments."""
    return _valley(problem)


def label_noise_runs(problem: LabelNoise, rng: np.random.Generator) -> Floats:
    """Test error (n_seeds, n_times)."""
    a, y, u0, v0, solution = problem.arrays()
    n, d, p = problem.n_paths, problem.d, problem.n_measurements
    u, v = np.repeat(u0[None], n, axis=0), np.repeat(v0[None], n, axis=0)
    du, dv = np.zeros_like(u), np.zeros_like(v)
    xi, out = np.empty((n, p)), np.empty((n, problem.n_times))
    for time in range(problem.n_times):
        for _ in range(problem.stride):
            _two_point(rng, xi)
            xi *= problem.label_noise
            residual = (u @ v).reshape(n, -1) @ a.T
            residual -= y
            residual -= xi
            s = (residual @ a).reshape(n, d, d)
            s *= problem.lr / p
            du *= problem.momentum
            du -= s @ v.swapaxes(1, 2)
            dv *= problem.momentum
            dv -= u.swapaxes(1, 2) @ s
            u += du
            v += dv
        out[:, time] = ((u @ v - solution) ** 2).sum((1, 2)) / (solution**2).sum()
    return out


def p3_batched(problem: LabelNoise) -> Callable[[int], Floats]:
    """All seeds in one batch of matrices."""
    return lambda seed: label_noise_runs(problem, _rng(seed))


def valley_reference(problem: CriticalValley, two_point: bool, n_paths: int = 40_000) -> Reference:
    """Moments of theta by simulation with another seed."""
    rng = _rng(987_654_321)
    blocks = [valley_block(problem, rng, 500, two_point) for _ in range(n_paths // 500)]
    return reference_of(np.concatenate(blocks))


def label_noise_reference(problem: LabelNoise) -> Reference:
    """Moments of the test error by simulation with other seeds; `problem` gives the number of runs and of steps."""
    return reference_of(label_noise_runs(problem, _rng(987_654_321)))
