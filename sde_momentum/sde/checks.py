"""Doubts about a result that are told with it: paths that are lost, steps that the drift makes unstable."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .equation import to_numpy
from .methods import Method
from .task import Array, Task

_MOST = 32
"""Components of an equation whose drift is differentiated: more would take too long in Python."""


def told(result: xr.Dataset, doubts: Iterable[str]) -> xr.Dataset:
    """The result with its doubts as attribute `warnings`, which are warned of too."""
    found = list(doubts)
    for doubt in found:
        warnings.warn(doubt, stacklevel=5)
    return result.assign_attrs(warnings="\n".join(found)) if found else result


def lost(faulty: int, n: int, unit: str = "paths") -> list[str]:
    """The doubt of a result from which paths are left out."""
    text = (
        f"{faulty} of {n} {unit} were lost (not finite, or out of a domain whose rule is 'fault'): all is of those that are left"
    )
    return [text] if faulty else []


def unstable(task: Task, method: type[Method], points: Iterable[tuple[Array, float]]) -> list[str]:
    """The doubt of steps for which a part of the drift that decays would grow, at one of the points (x, t)."""
    if task.equation.dim > _MOST:
        return []
    for x, t in points:
        jacobian = _jacobian(task, x, t)
        if jacobian is None or not method.unstable(task.equation, jacobian, task.step):
            continue
        low, high = 0.0, task.step
        for _ in range(20):
            middle = (low + high) / 2.0
            low, high = (low, middle) if method.unstable(task.equation, jacobian, middle) else (middle, high)
        where = ", ".join(f"{value:.3g}" for value in x)
        return [
            f"steps of {task.step:g} are unstable at x = {where}: with {method.name} a part grows there that decays; "
            f"stable are steps below {low:.2g}"
        ]
    return []


def _jacobian(task: Task, x: Array, t: float) -> NDArray[np.float64] | None:
    """Derivatives of the first coefficient (drift or force) at x by central differences; None where it has none."""
    equation = task.equation
    n = equation.n_indices
    name, function = next(iter(equation.coefficients().items()))
    size = max(float(np.max(np.abs(x))), 1e-6)
    columns = []
    for j in range(n):
        shift = 1e-6 * (abs(float(x[j])) or size)
        ends = []
        for sign in (1.0, -1.0):
            moved = np.array(x[:n])
            moved[j] += sign * shift
            if equation.domain is not None:
                moved[j] = np.clip(moved[j], *equation.domain[j])
            value = equation.evaluate(name, function, moved, t, task.parameters)
            if value is None or not np.all(np.isfinite(rates := np.array(to_numpy(value), dtype=np.float64))):
                return None
            ends.append((moved[j], np.broadcast_to(rates.reshape(-1), (n,))))
        (up, high), (down, low) = ends
        if up == down:
            return None
        columns.append((high - low) / (up - down))
    return np.stack(columns, axis=1)
