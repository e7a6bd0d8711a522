"""diffrax with Euler's method under `jit`: the whole batch as one state, and one path under `vmap`.

UnsafeBrownianPath is its fastest, meant for fixed steps without reverse differentiation. `ForwardMode` avoids the
checkpoints of the default adjoint, and SaveAt(steps=n, fn=...) keeps moments instead of states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

from .problems import CriticalValley, Moments, OrnsteinUhlenbeck

jax.config.update("jax_enable_x64", True)


def _moments(x: Any) -> Any:
    return jnp.stack([x.mean(), x.var()])


def _solve(problem: Any, terms: Callable[[Any], Any], start: Any, save: Callable[[Any], Any], key: Any) -> Any:
    """What `save` makes of the state at the record times; `terms` makes the equation from a random key."""
    return diffrax.diffeqsolve(
        terms(key),
        diffrax.Euler(),
        t0=0.0,
        t1=problem.n_steps * problem.dt,
        dt0=problem.dt,
        y0=start,
        saveat=diffrax.SaveAt(steps=problem.stride, fn=lambda t, y, args: save(y)),
        adjoint=diffrax.ForwardMode(),
        max_steps=problem.n_steps,
        throw=False,
    ).ys[: problem.n_times]


def _run(simulate: Callable[[Any], Any]) -> Callable[[int], Moments]:
    compiled = jax.jit(simulate)

    def run(seed: int) -> Moments:
        mean, variance = np.asarray(compiled(jax.random.key(seed))).T
        return Moments(mean, variance)

    return run


def _ou(problem: OrnsteinUhlenbeck, shape: tuple[int, ...]) -> Callable[[Any], Any]:
    def terms(key: Any) -> Any:
        drift = diffrax.ODETerm(lambda t, x, args: -problem.rate * x)
        operator = lx.DiagonalLinearOperator(jnp.full(shape, problem.noise)) if shape else problem.noise
        path = diffrax.UnsafeBrownianPath(shape=shape, key=key)
        return diffrax.MultiTerm(drift, diffrax.ControlTerm(lambda t, x, args: operator, path))

    return terms


def p1_batch(problem: OrnsteinUhlenbeck) -> Callable[[int], Moments]:
    """The batch as one state."""
    start = jnp.full(problem.n_paths, problem.start)
    return _run(lambda key: _solve(problem, _ou(problem, (problem.n_paths,)), start, _moments, key))


def p1_vmap(problem: OrnsteinUhlenbeck) -> Callable[[int], Moments]:
    """One path, vmapped."""
    one = lambda key: _solve(problem, _ou(problem, ()), jnp.asarray(problem.start), lambda x: x, key)  # noqa: E731
    return _run(lambda key: jax.vmap(_moments, 1)(jax.vmap(one)(jax.random.split(key, problem.n_paths))))


def _valley(problem: CriticalValley, batch: tuple[int, ...]) -> Callable[[Any], Any]:
    """State: theta and p of shape `batch`, e of shape (n_modes, *batch)."""
    column = (slice(None),) + (None,) * len(batch)
    base, slope, bend = (jnp.asarray(x)[column] for x in (problem.base, problem.slope, problem.bend))
    shape = (problem.n_modes, *batch)
    increment = jax.ShapeDtypeStruct(shape, jnp.float64)

    def curvatures(theta: Any) -> Any:
        return base + theta * (slope + 0.5 * bend * theta)

    def drift(t: Any, state: Any, args: Any) -> Any:
        theta, p, e = state
        lam, plus = curvatures(theta), jnp.maximum(e, 0.0)
        pull = (slope + bend * theta) * plus / lam
        return p, -(p + problem.kappa * pull.sum(0)), lam - plus + 0.5 * p * pull

    def diffusion(t: Any, state: Any, args: Any) -> Any:
        theta, p, e = state
        root = jnp.sqrt(2 * curvatures(theta) * jnp.maximum(e, 0.0))
        return lx.FunctionLinearOperator(lambda dw: (jnp.zeros_like(theta), jnp.zeros_like(p), root * dw), increment)

    def terms(key: Any) -> Any:
        path = diffrax.UnsafeBrownianPath(shape=shape, key=key)
        return diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(diffusion, path))

    return terms


def _valley_start(problem: CriticalValley, batch: tuple[int, ...]) -> Any:
    energies = jnp.asarray(problem.start_energies).reshape(-1, *(1 for _ in batch))
    return jnp.full(batch, problem.start), jnp.zeros(batch), jnp.broadcast_to(energies, (problem.n_modes, *batch))


def p2_batch(problem: CriticalValley) -> Callable[[int], Moments]:
    """The batch as one state."""
    batch = (problem.n_paths,)
    start = _valley_start(problem, batch)
    return _run(lambda key: _solve(problem, _valley(problem, batch), start, lambda s: _moments(s[0]), key))


def p2_vmap(problem: CriticalValley) -> Callable[[int], Moments]:
    """One path, vmapped."""
    one = lambda key: _solve(problem, _valley(problem, ()), _valley_start(problem, ()), lambda s: s[0], key)  # noqa: E731
    return _run(lambda key: jax.vmap(_moments, 1)(jax.vmap(one)(jax.random.split(key, problem.n_paths))))
