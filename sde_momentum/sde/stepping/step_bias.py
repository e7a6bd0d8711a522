"""The error of the step beside that of chance: the same noise at half the step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from ...core import random
from ...core.errors import InputError
from ...core.random import MULTILEVEL
from ..kernel import compiled
from ..methods import METHODS, Method, describe
from ..noise import path_words
from ..task import Array, Task
from .base import check_alike
from .multilevel import compiled_pairs

_BLOCKS = 8
"""Blocks of lanes that are stepped together."""
_MOST = 1 << 14
"""Paths, at most: differences of coupled paths vary far less than the paths."""


def with_step_bias(result: xr.Dataset, task: Task, method: type[Method]) -> xr.Dataset:
    """The result with `step_bias`, an estimate of the error of `mean` by the size of the step, and `step_bias_se`.

    (E[X_h] - E[X_{h/2}]) 2^a / (2^a - 1), a the weak order, over pairs of paths on one Brownian path, as many as there are paths,
    16384 at most. For each functional `<name>_step_bias`. A coarse step takes for each of its normal numbers the sum of those of
    two fine ones / sqrt(2): its law is right for every method with normal numbers, and differences are small, if less so where a
    number is not an increment. Raises InputError for two-point increments.
    """
    check_alike(task, "check_step")
    if method.weak_order == math.inf:
        zero = xr.zeros_like(result["mean"])
        return result.assign(step_bias=zero, step_bias_se=zero)
    if task.statistics.stop:
        raise InputError("check_step", True, "False, with paths that stop at an event")
    if method.increments != "normal":  # the sum of two is of another law than one
        able = ", ".join(m.name for m in METHODS.values() if m.increments == "normal" and m.fits(task.equation))
        allowed = f"False, or one of the methods {able} (for {describe(task.equation)})"
        raise InputError("check_step", f"True with {method.name}", allowed)
    difference, error = _differences(task, method, min(int(result.attrs["n_paths"]), _MOST))
    scale = 2.0**method.weak_order / (2.0**method.weak_order - 1.0)
    found: dict[str, Any] = {}
    dim = task.equation.dim
    for name, values in (("step_bias", scale * difference), ("step_bias_se", scale * error)):
        found[name] = (result["mean"].dims, values[:, 0] if dim == 1 else values[:, :dim])
        found |= {f"{row}_{name}": ("time", values[:, dim + i]) for i, row in enumerate(task.statistics.functionals)}
    return result.assign(found)


def _differences(task: Task, method: type[Method], n_paths: int) -> tuple[Array, Array]:
    """Mean of (coarse - fine) and its standard error, (times, rows)."""
    kernel = compiled(task.equation, method, len(task.parameters), task.statistics.functionals)
    pairs, lanes, h = compiled_pairs(kernel), kernel.lanes, task.step
    count, sums, squares = (np.zeros((len(task.steps), kernel.rows)) for _ in range(3))
    constants = kernel.constants(0.5 * h), kernel.constants(h)
    for first in range(0, n_paths, _BLOCKS * lanes):
        n = min(_BLOCKS * lanes, n_paths - first)
        blocks = -(-n // lanes)
        states = random.streams(path_words(task.seed, first, blocks * lanes, (0,)), MULTILEVEL)
        states = np.ascontiguousarray(states.reshape(4, blocks, lanes).transpose(1, 0, 2))
        x = np.empty((2, blocks, len(task.start), lanes))
        x[:] = task.start[:, None]
        extra, out, k = np.zeros((2, max(1, kernel.extras.rows), lanes)), np.empty((2, blocks, kernel.rows, lanes)), 0
        for t, at in enumerate(task.steps):
            now = task.t0 + k * h
            pairs(x, states, extra, True, 2 * int(at - k), now, 0.5 * h, task.parameters, *constants, out)
            k = int(at)
            ends = out.transpose(0, 2, 1, 3).reshape(2, kernel.rows, -1)[..., :n]
            good = np.isfinite(ends).all(axis=(0, 1))
            difference = np.where(good, ends[1] - ends[0], 0.0)
            count[t] += good.sum()
            sums[t] += difference.sum(axis=1)
            squares[t] += (difference**2).sum(axis=1)
    with np.errstate(all="ignore"):  # no or one pair left: NaN
        mean = sums / count
        return mean, np.sqrt(np.maximum(squares / count - mean**2, 0.0) / (count - 1))
