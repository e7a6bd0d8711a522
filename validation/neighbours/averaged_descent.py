"""Simulator of descent by averages of gradients with label noise: dampened momentum, Adam and AdamW
[theory: Averages of gradients].

A plain reference: many runs side by side in NumPy, through the compiled outputs and pullbacks of the problem.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sde_momentum.core.errors import (
    InputError,
    check_integer,
    check_lr,
    check_momentum,
    check_non_negative,
    check_one,
    check_shape,
)
from sde_momentum.dynamics.label_noise_sgd import check_steps
from sde_momentum.problems.problem import Problem

Floats = NDArray[np.float64]


def averaged_descent(
    problem: Problem,
    start: ArrayLike,
    times: ArrayLike,
    *,
    lr: float,
    beta1: float,
    n_runs: int,
    seed: int,
    label_noise: float,
    beta2: float | None = None,
    epsilon: float = 0.0,
    weight_decay: float = 0.0,
    basis: ArrayLike | None = None,
) -> Floats:
    """w at `times`, in steps: (n_time, n_runs, N).

        m <- beta1 m + (1 - beta1) g,   w <- (1 - eta wd) w - eta m                                  (beta2 None)
        u <- beta2 u + (1 - beta2) g^2,   w <- (1 - eta wd) w - eta m^ / (sqrt(u^) + epsilon)        (Adam, AdamW)

    with m^ = m / (1 - beta1^k), u^ = u / (1 - beta2^k) after k steps, element by element, as in `torch.optim.AdamW`. Without
    beta2 it is `torch.optim.SGD` with dampening = momentum, but for the first step: torch's average starts at the first gradient,
    this one at 0. Full batch; label noise is standard normal, fresh each step.

    Args:
        start: w_0, (N,); all start at rest
        times: increasing whole numbers, (n_time,)
        lr: eta > 0
        beta1: in [0, 1)
        n_runs: independent runs
        seed: of all noise
        label_noise: sigma, in units of f, >= 0
        beta2: in [0, 1), of Adam's second moments; None: dampened momentum
        epsilon: of Adam, in units of the gradient, >= 0
        weight_decay: wd >= 0, in units of the Hessian for dampened momentum, of 1 / eta for Adam; not averaged
        basis: orthogonal (N, N), its columns the coordinates by which Adam normalises; None: the problem's own

    Raises:
        InputError: for a value out of range.

    >>> import sde_momentum as sm
    >>> valley = sm.Valley([1.0, 1.0], 0.0, curvature=1.0)
    >>> start = valley.start(1.0)
    >>> averaged_descent(valley, start, [0, 9], lr=0.1, beta1=0.5, beta2=0.9, n_runs=4, seed=0, label_noise=0.1).shape
    (2, 4, 3)
    """
    clock = check_steps(times, "times")
    rate, beta = check_one(check_lr, lr, "lr"), check_one(check_momentum, beta1, "beta1")
    slow = None if beta2 is None else check_one(check_momentum, beta2, "beta2")
    check_one(check_non_negative, label_noise, "label_noise")
    keep = 1 - rate * check_one(check_non_negative, weight_decay, "weight_decay")
    check_one(check_non_negative, epsilon, "epsilon")
    if slow is None and (epsilon or basis is not None):
        raise InputError("epsilon, basis", (epsilon, basis), "0 and None without beta2: only Adam has them")
    point = problem.check_point(start)
    turn = None if basis is None else check_shape("basis", np.asarray(basis, dtype=np.float64), len(point), len(point))
    rng = np.random.default_rng([check_integer(seed, "seed", 0), 41])
    if problem.kernels is None:
        raise InputError("problem", problem.name, "a problem with compiled kernels")
    outputs, pullback, data, scratch_rows = problem.kernels[:4]
    n, p, lanes = problem.n_parameters, problem.n_outputs, check_integer(n_runs, "n_runs", 1)
    w, g, m, u = np.repeat(point[:, None], lanes, axis=1), np.empty((n, lanes)), np.zeros((n, lanes)), np.zeros((n, lanes))
    f, scratch, targets = np.empty((p, lanes)), np.empty((scratch_rows, lanes)), problem.targets[:, None]
    label, move = np.empty((p, lanes)), np.empty((n, lanes))
    out = np.empty((len(clock), n_runs, n))
    for t, (now, then) in enumerate(pairwise([0, *clock.tolist()])):
        for step in range(now + 1, then + 1):
            outputs(data, w, f, scratch)
            f -= targets
            rng.standard_normal(out=label)
            label *= label_noise
            f -= label
            f /= p
            pullback(data, w, f, g, scratch)
            gradient = g if turn is None else turn.T @ g
            m *= beta
            m += (1 - beta) * gradient
            if slow is None:
                np.multiply(m, rate, out=move)
            else:
                gradient *= gradient  # it is not used again
                u *= slow
                u += (1 - slow) * gradient
                np.divide(u, 1 - slow**step, out=move)
                np.sqrt(move, out=move)
                move += epsilon
                np.divide(m, move, out=move, where=move > 0)  # an element that never had a gradient stays
                move *= rate / (1 - beta**step)
            w *= keep
            w -= move if turn is None else turn @ move
        out[t] = w.T
    return out
