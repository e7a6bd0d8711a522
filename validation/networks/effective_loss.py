"""Times to the target of noise-free training on the effective loss, and the momentum that they recommend
[theory: Effective loss, eq. 5.1; Effective loss, eq. 5.3].

    L_eff(w, k) = L(w) + (eta c / (4 delta)) (1 - exp(-delta k)) tr H(w),   heavy ball with the same eta and beta

Many momenta are trained together. L_eff leaves the fluctuations of the energies out, and so does not see the cliff: the
recommendation is the least momentum within 15 % of the shortest time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray

import sde_momentum as sm

from .base import Parameters
from .losses import CrossEntropy
from .sharpness import trace_hessian, trace_hessian_gradient
from .task import METRICS, Task

_WITHIN = 1.15
_HOLD = 1.6
_N_PROBES = 4
_EVERY = 4  # steps between two evaluations of tr H


@dataclass(frozen=True)
class EffectiveTimes:
    """Steps to the target on L_eff at one learning rate, (n,), inf where it is not reached; and the recommendation."""

    one_minus_beta: NDArray[np.float64]
    time: NDArray[np.float64]
    recommended: float


def effective_times(
    task: Task,
    start: Parameters,
    noise: float,
    lr: float,
    one_minus_beta: NDArray[np.float64],
    fraction: float,
    *,
    n_probes: int = _N_PROBES,
    max_steps: int = 20_000,
) -> EffectiveTimes | None:
    """Train on L_eff until the fastest momentum has stayed below the target; None if none reaches it.

    Args:
        task: network, loss and data
        start: a point of Gamma, name -> (1, ...)
        noise: c
        lr: eta
        one_minus_beta: momenta to try, (n,), increasing
        fraction: tr H is to stay below this fraction of its start
        n_probes: of the gradient of tr H where it is not exact
    """
    clock, course = [], []
    arrived = np.full(len(one_minus_beta), np.inf)
    for k, w in zip(range(max_steps + 1), _descent(task, start, noise, lr, one_minus_beta, n_probes), strict=False):
        if k % _EVERY == 0:
            trace = trace_hessian(task.network, task.loss, w, task.inputs, n_probes=task.n_probes)[0].double().cpu().numpy()
            clock.append(k)
            course.append(np.where(np.isfinite(trace), trace, np.inf))
            arrived = np.where(course[-1] < fraction * course[0], np.minimum(arrived, k), np.inf)
            if k > _HOLD * arrived.min():
                break
    time = sm.convergence_time(np.array(course).T, np.array(clock), fraction)
    if not np.isfinite(time).any():
        return None
    return EffectiveTimes(one_minus_beta, time, _recommend(one_minus_beta, time))


def effective_course(
    task: Task, start: Parameters, noise: float, lr: float, one_minus_beta: NDArray[np.float64], steps: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """METRICS of training on L_eff at `steps`, increasing from 0: name -> (n_momentum, n_steps)."""
    found: list[dict[str, NDArray[np.float32]]] = []
    for k, w in enumerate(_descent(task, start, noise, lr, one_minus_beta, _N_PROBES)):
        if k == steps[len(found)]:
            found.append(task.measure(w, start))
        if len(found) == len(steps):
            break
    return {name: np.stack([one[name] for one in found], axis=1) for name in METRICS}


def _descent(
    task: Task, start: Parameters, noise: float, lr: float, one_minus_beta: NDArray[np.float64], n_probes: int
) -> Iterator[Parameters]:
    """Parameters (n_momentum, ...) after 0, 1, 2, ... steps of heavy ball on L_eff; the same tensors, changed in place."""
    n = len(one_minus_beta)
    w = {name: value.repeat(n, *[1] * (value.ndim - 1)) for name, value in start.items()}
    v = {name: torch.zeros_like(value) for name, value in w.items()}
    targets = task.loss.expected_targets() if isinstance(task.loss, CrossEntropy) else task.loss.targets
    delta = torch.tensor(one_minus_beta).to(targets)
    strength = lr * noise / (4 * delta)
    for k in count():
        yield w
        with torch.no_grad():
            outputs, pull = task.network.pullback(w, task.inputs)
            gradient = pull(task.loss.gradient(outputs, targets))
        drift = trace_hessian_gradient(task.network, task.loss, w, task.inputs, n_probes=n_probes, seed=k)
        share = strength * (1 - torch.exp(-delta * k))
        for name, x in w.items():
            shape = (-1, *[1] * (x.ndim - 1))
            v[name] = v[name] * (1 - delta).view(shape) - lr * (gradient[name] + share.view(shape) * drift[name])
            x += v[name]


def _recommend(one_minus_beta: NDArray[np.float64], time: NDArray[np.float64]) -> float:
    """The largest 1 - beta within 15 % of the shortest time, interpolated between neighbours."""
    good = int(np.flatnonzero(time <= _WITHIN * time.min())[-1])
    if good + 1 == len(time) or not np.isfinite(time[good + 1]):
        return float(one_minus_beta[good])
    x, y = np.log(one_minus_beta[good : good + 2]), np.log(time[good : good + 2])
    return float(np.exp(np.interp(np.log(_WITHIN * time.min()), y, x)))
