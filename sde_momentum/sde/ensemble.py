"""The ensemble: many paths of one equation from one start, and their moments at chosen times; paths are never stored."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xarray as xr
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray

from .. import __version__
from ..errors import InputError, check, check_integer, check_positive
from .equation import SDE
from .kernel import Kernel, compiled
from .methods import method_named
from .moments import merge_tasks, statistics
from .noise import LANES, path_states

TASKS, MOST_BLOCKS = 32, 32
"""Tasks of equal size, about TASKS of them or more, follow from n_paths alone: moments are merged in an order that
does not depend on the threads."""


def solve(
    sde: SDE,
    x0: ArrayLike,
    times: ArrayLike,
    *,
    step: float,
    method: str = "euler-maruyama",
    n_paths: int,
    seed: int = 0,
    parameters: Sequence[float] = (),
    t0: float = 0.0,
    workers: int = -1,
) -> xr.Dataset:
    """Mean and variance over n_paths paths of `sde` from X(t0) = x0, at `times`, each with its standard error.

    `x0`: a number in dim 1, else (dim,). `times` (n_time,): increasing, in the equation's own t, each a whole
    number of `step`s (same unit) after `t0`. `method`: "euler-maruyama", "weak-euler", "milstein" (Ito) or "heun"
    (Stratonovich). `parameters`: p of the equation's functions. `workers`: threads, -1 for all cores.

    Returns a Dataset over `time` (and `component`, in dim d > 1): `mean`, `variance` (unbiased), `mean_se`,
    `variance_se`, and `faulty`, the number of paths that are not finite at that time. The rule for faults: such a
    path is left out from that time on (it cannot return: a step adds to X), so the moments are those of the
    paths that are left; with `faulty` > 0 they are conditional on survival.

    A path's noise depends on (seed, path, step) alone, so a longer ensemble contains a shorter one; results do
    not depend on `workers`. Memory does not grow with the number of steps. The first call for an equation and a
    method compiles, a few seconds; further calls in the process, with other parameters too, do not.
    Raises InputError.

    >>> ou = SDE(lambda x, t, p: -p[0] * x, lambda x, t, p: p[1])
    >>> result = solve(ou, 1.0, [0.5, 1.0], step=0.01, n_paths=4096, parameters=(1.0, 0.2))
    >>> bool(abs(result["mean"][-1] - 0.99**100) < 5 * result["mean_se"][-1])
    True
    """
    h, start, p = _check_common(sde, x0, step, t0, parameters)
    instants, steps = _check_times(times, h, t0)
    check_integer(n_paths, "n_paths", 1)
    check_integer(seed, "seed", 0)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers == 0:
        raise InputError("workers", workers, "-1 (all cores) or a number of threads >= 1")
    scheme = method_named(method)
    scheme.check(sde)
    sde.probe(start, float(t0), p)
    kernel = compiled(sde, scheme.name, len(p))
    per_task = LANES * min(MOST_BLOCKS, max(1, n_paths // (LANES * TASKS)))

    def task(first: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        active = min(n_paths - first, per_task)
        return _run(kernel, start, seed, first, active, float(t0), h, steps, p)

    count, sums = np.zeros(len(steps)), np.zeros((len(steps), sde.dim, 4))
    with ThreadPoolExecutor(effective_n_jobs(workers)) as pool:
        for part in pool.map(task, range(0, n_paths, per_task)):  # in the order of the paths, whoever is first
            merge_tasks(count, sums, *part)
    dims = ("time",) if sde.dim == 1 else ("time", "component")
    table = statistics(count, sums)
    return xr.Dataset(
        {name: (dims, values[:, 0] if sde.dim == 1 else values) for name, values in table.items()}
        | {"faulty": ("time", n_paths - count.astype(np.int64), {"units": "paths"})},
        coords={"time": ("time", instants, {"units": "the equation's own t"})}
        | ({} if sde.dim == 1 else {"component": np.arange(sde.dim)}),
        attrs={
            "clock": "the equation's own t",
            "method": scheme.name,
            "interpretation": sde.interpretation,
            "weak_order": scheme.weak_order,
            "step": h,
            "t0": float(t0),
            "x0": start,
            "parameters": np.array(p),
            "n_paths": n_paths,
            "seed": seed,
            "version": __version__,
            "faults": "a path that is not finite at a time is left out from that time on",
        },
    )


def follow(
    sde: SDE,
    x0: ArrayLike,
    increments: ArrayLike,
    *,
    step: float,
    method: str = "euler-maruyama",
    parameters: Sequence[float] = (),
    t0: float = 0.0,
) -> NDArray[np.float64]:
    """The paths (n_steps + 1, dim, n_paths) on given Wiener increments dW (n_steps, dim, n_paths), variance `step` each.

    Sums of fine increments drive a coarse grid along the same Wiener path: for strong errors and common noise.
    The step is the very code of `solve`, whose own increments are sqrt(step) times `noise.standard_increments`.
    Raises InputError.

    >>> from sde_momentum.sde.noise import standard_increments
    >>> fine = 0.1 * standard_increments(0, n_paths=3, n_steps=200)  # of variance 0.01
    >>> coarse = fine.reshape(100, 2, 1, 3).sum(axis=1)
    >>> brownian = SDE(lambda x, t, p: 0.0, lambda x, t, p: 1.0)
    >>> ends = [follow(brownian, 0.0, dw, step=h)[-1] for dw, h in ((fine, 0.01), (coarse, 0.02))]
    >>> bool(np.allclose(*ends))
    True
    """
    h, start, p = _check_common(sde, x0, step, t0, parameters)
    dw = check("increments", increments, lambda a: np.full(a.shape, True), "finite numbers")
    if dw.ndim != 3 or dw.shape[1] != sde.dim:
        raise InputError("increments", f"shape {dw.shape}", f"shape (n_steps, {sde.dim}, n_paths)")
    scheme = method_named(method)
    scheme.check(sde)
    sde.probe(start, float(t0), p)
    kernel = compiled(sde, scheme.name, len(p))
    n_steps, _, n_paths = dw.shape
    out = np.empty((n_steps + 1, sde.dim, n_paths))
    out[0] = start[:, None]
    for first in range(0, n_paths, LANES):
        width = min(LANES, n_paths - first)
        z = np.zeros((n_steps * sde.dim, LANES))
        z[:, :width] = dw[:, :, first : first + width].reshape(n_steps * sde.dim, width) / np.sqrt(h)
        x = np.repeat(start[:, None], LANES, axis=1)
        for k in range(n_steps):
            kernel.advance(x, z, k * sde.dim, 1, k, float(t0), h, p)
            out[k + 1, :, first : first + width] = x[:, :width]
    return out


def _run(
    kernel: Kernel, start: Any, seed: int, first: int, active: int, t0: float, h: float, steps: Any, p: tuple[float, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count and sums of `active` paths from `first` on; lanes past them in the last block are stepped and left out."""
    blocks = -(-active // LANES)
    states = path_states(seed, first, blocks * LANES).reshape(4, blocks, LANES).transpose(1, 0, 2)
    count, sums = np.zeros(len(steps)), np.zeros((len(steps), len(start), 4))
    kernel.run(start, np.ascontiguousarray(states), active, t0, h, steps, p, count, sums)
    return count, sums


def _check_common(
    sde: SDE, x0: ArrayLike, step: float, t0: float, parameters: Sequence[float]
) -> tuple[float, NDArray[np.float64], tuple[float, ...]]:
    if not isinstance(sde, SDE):
        raise InputError("sde", sde, "an SDE")
    h = check_positive(step, "step")
    origin = check("t0", t0, lambda t: np.full(t.shape, True), "a finite number")
    p = check("parameters", parameters, lambda a: np.full(a.shape, True), "a sequence of finite numbers")
    for name, value, ndim in (("step", h, 0), ("t0", origin, 0), ("parameters", p, 1)):
        if value.ndim != ndim:
            raise InputError(name, f"shape {value.shape}", "one number" if ndim == 0 else "a sequence of numbers")
    return float(h), sde.check_start(x0), tuple(map(float, p))


def _check_times(times: ArrayLike, h: float, t0: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """times and their numbers of steps from t0."""
    allowed = f"increasing times >= t0 = {t0:g}, each a whole number of steps of {h:g} after it"
    instants = np.atleast_1d(check("times", times, lambda t: t >= t0, allowed))
    if instants.ndim != 1 or instants.size == 0 or np.any(np.diff(instants) <= 0):
        raise InputError("times", times, allowed)
    ratio = (instants - t0) / h
    steps = np.rint(ratio)
    # times such as 0.1 * 3 are off by rounding; a real mismatch is far larger than a millionth of a step
    if np.any(np.abs(ratio - steps) > 1e-6) or np.any(np.diff(steps) <= 0):
        raise InputError("times", times, allowed)
    return instants, steps.astype(np.int64)
