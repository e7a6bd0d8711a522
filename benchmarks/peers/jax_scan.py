"""Raw JAX: `jit` of a `lax.scan` over record times and steps, the whole batch as one array (XLA shares it among the cores).

Threefry, JAX's default, made more normals per second on CPU than `rbg` and `unsafe_rbg`; vmap over blocks of paths and
smaller arrays were slower too (XLA divides large arrays among threads only), except where the generator is so cheap that
memory counts: there blocks of paths within the cache, in two processes, are offered as well. Normals come from
`random.normal`, or by hand (`jax_normals.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from .jax_normals import box_muller
from .problems import CriticalValley, Floats, LabelNoise, Moments, OrnsteinUhlenbeck, Work

jax.config.update("jax_enable_x64", True)

Draw = Callable[[Any, tuple[int, ...]], Any]


def normal(key: Any, shape: tuple[int, ...]) -> Any:
    """JAX's own normals."""
    return random.normal(key, shape, jnp.float64)


def rademacher(key: Any, shape: tuple[int, ...]) -> Any:
    """JAX's own +-1: it spends a whole random word on each."""
    return random.rademacher(key, shape, jnp.float64)


def unpacked_bits(key: Any, shape: tuple[int, ...]) -> Any:
    """+-1 from the 64 bits of each random word."""
    size = int(np.prod(shape))
    words = random.bits(key, (-(-size // 64),), jnp.uint64)
    bits = (words[:, None] >> jnp.arange(64, dtype=jnp.uint64)) & jnp.uint64(1)
    return (2.0 * bits.astype(jnp.float64) - 1.0).reshape(-1)[:size].reshape(shape)


def scan_records(step: Callable[[Any, Any], Any], observe: Callable[[Any], Any], start: Any, key: Any, problem: Work) -> Any:
    """observe(state) every `stride` steps of step(state, key), stacked."""

    def record(state: Any, time: Any) -> Any:
        steps = time * problem.stride + jnp.arange(problem.stride)
        state, _ = lax.scan(lambda s, k: (step(s, random.fold_in(key, k)), None), state, steps)
        return state, observe(state)

    return lax.scan(record, start, jnp.arange(problem.n_times))[1]


def scan_moments(
    step: Callable[[Any, Any], Any], observe: Callable[[Any], Any], start: Any, problem: Work, blocks: int = 1
) -> Callable[[int], Moments]:
    """Mean and variance of observe(state) at the times of record, over `blocks` runs from `start`."""

    def moments(state: Any) -> Any:
        x = observe(state)
        return x.mean(), x.var()

    def simulate(key: Any) -> Any:
        return scan_records(step, moments, start, key, problem)

    def one_after_another(key: Any) -> Any:
        mean, variance = lax.map(simulate, random.split(key, blocks))
        return mean.mean(0), variance.mean(0) + mean.var(0)

    compiled = jax.jit(simulate if blocks == 1 else one_after_another)

    def run(seed: int) -> Moments:
        return Moments(*map(np.asarray, compiled(random.key(seed))))

    return run


def with_increments(build: Callable[..., Any], draw: Draw, block: int | None = None) -> Callable[[Any], Callable[[int], Moments]]:
    """An entry: the problem `build` stepped with increments from `draw`; `block`: paths run at a time, None for all."""
    return lambda problem: build(problem, draw, 1 if block is None else max(1, problem.n_paths // block))


def _ou(problem: OrnsteinUhlenbeck, draw: Draw, blocks: int = 1) -> Callable[[int], Moments]:
    def step(x: Any, key: Any) -> Any:
        return problem.decay * x + problem.kick * draw(key, x.shape)

    return scan_moments(step, lambda x: x, jnp.full(problem.n_paths // blocks, problem.start), problem, blocks)


p1_normal = with_increments(_ou, normal)
p1_box_muller = with_increments(_ou, box_muller)
p1_two_point = with_increments(_ou, rademacher)
p1_two_point_bits = with_increments(_ou, unpacked_bits)
p1_two_point_blocks = with_increments(_ou, unpacked_bits, block=10_000)


def _valley(problem: CriticalValley, draw: Draw, blocks: int = 1) -> Callable[[int], Moments]:
    base, slope, bend = (jnp.asarray(x)[:, None] for x in (problem.base, problem.slope, problem.bend))
    dt, root = problem.dt, (2 * problem.dt) ** 0.5

    def step(state: Any, key: Any) -> Any:
        theta, p, e = state
        lam = base + theta * (slope + 0.5 * bend * theta)
        plus = jnp.maximum(e, 0.0)
        pull = (slope + bend * theta) * plus / lam
        e = e + (lam - plus + 0.5 * p * pull) * dt + root * jnp.sqrt(lam * plus) * draw(key, e.shape)
        return theta + p * dt, p - (p + problem.kappa * pull.sum(0)) * dt, e

    n = problem.n_paths // blocks
    start = (jnp.full(n, problem.start), jnp.zeros(n), jnp.repeat(jnp.asarray(problem.start_energies)[:, None], n, axis=1))
    return scan_moments(step, lambda state: state[0], start, problem, blocks)


p2_normal = with_increments(_valley, normal)
p2_box_muller = with_increments(_valley, box_muller)
p2_box_muller_blocks = with_increments(_valley, box_muller, block=1_000)
p2_two_point = with_increments(_valley, rademacher)
p2_two_point_bits = with_increments(_valley, unpacked_bits)
p2_two_point_blocks = with_increments(_valley, unpacked_bits, block=1_000)


def _sensing(problem: LabelNoise, scan_seeds: Callable[[Any, Any], Any]) -> Callable[[int], Floats]:
    simulate = jax.jit(lambda seed: scan_seeds(random.key(seed), tuple(map(jnp.asarray, problem.arrays()))))
    return lambda seed: np.asarray(simulate(seed))


def p3_vmap(problem: LabelNoise) -> Callable[[int], Floats]:
    """One run with its gradient by `jax.grad`, vmapped over seeds."""

    def scan_seeds(key: Any, arrays: Any) -> Any:
        a, y, u0, v0, solution = arrays

        def loss(w: Any, xi: Any) -> Any:
            residual = a @ (w[0] @ w[1]).ravel() - y - problem.label_noise * xi
            return 0.5 * (residual**2).mean()

        def step(state: Any, key: Any) -> Any:
            w, dw = state
            g = jax.grad(loss)(w, random.rademacher(key, y.shape, jnp.float64))
            dw = problem.momentum * dw - problem.lr * g
            return w + dw, dw

        def error(state: Any) -> Any:
            return ((state[0][0] @ state[0][1] - solution) ** 2).sum() / (solution**2).sum()

        w = jnp.stack([u0, v0])

        def one(key: Any) -> Any:
            return scan_records(step, error, (w, jnp.zeros_like(w)), key, problem)

        return jax.vmap(one)(random.split(key, problem.n_paths))

    return _sensing(problem, scan_seeds)


def _batched(problem: LabelNoise, times: Callable[[Any, Any], Any], axis: int) -> Callable[[int], Floats]:
    """Gradients by hand; `times` multiplies batches of matrices whose seeds lie along `axis` (0 first, -1 last)."""

    def scan_seeds(key: Any, arrays: Any) -> Any:
        a, y, u0, v0, solution = arrays
        n, d = problem.n_paths, problem.d
        lanes = axis == -1
        turn = (1, 0, 2) if lanes else (0, 2, 1)

        def step(state: Any, key: Any) -> Any:
            u, v, du, dv = state
            xi = unpacked_bits(key, (problem.n_measurements, n) if lanes else (n, problem.n_measurements))
            if lanes:
                residual = a @ times(u, v).reshape(d * d, n) - y[:, None] - problem.label_noise * xi
                s = (a.T @ residual).reshape(d, d, n) * (problem.lr / problem.n_measurements)
            else:
                residual = times(u, v).reshape(n, d * d) @ a.T - y - problem.label_noise * xi
                s = (residual @ a).reshape(n, d, d) * (problem.lr / problem.n_measurements)
            du = problem.momentum * du - times(s, v.transpose(turn))
            dv = problem.momentum * dv - times(u.transpose(turn), s)
            return u + du, v + dv, du, dv

        def error(state: Any) -> Any:
            gap = times(state[0], state[1]) - jnp.expand_dims(solution, axis)
            return (gap**2).sum((0, 1) if lanes else (1, 2)) / (solution**2).sum()

        u, v = (jnp.repeat(jnp.expand_dims(x, axis), n, axis=axis) for x in (u0, v0))
        zero = jnp.zeros_like(u)
        return scan_records(step, error, (u, v, zero, zero), key, problem).T

    return _sensing(problem, scan_seeds)


def p3_batched(problem: LabelNoise) -> Callable[[int], Floats]:
    """Hand-batched scan, seeds first: batched matrix products."""
    return _batched(problem, jnp.matmul, 0)


def p3_lanes(problem: LabelNoise) -> Callable[[int], Floats]:
    """Hand-batched scan, seeds last: sums of element-wise products over the inner index."""
    return _batched(problem, lambda x, y: (x[:, :, None] * y[None]).sum(1), -1)
