"""`solve` and `solve_until`: what an ensemble is asked for, and the labelled answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from .. import __version__
from ..errors import InputError, check_integer, check_positive
from .collect import Collected, Collection
from .ensemble import Run
from .equation import Coefficient, Equation, check_functionals
from .observers import Moments, Observer, PassageTimes

_CLOCK = "the equation's own t"


def solve(
    sde: Equation,
    x0: ArrayLike,
    times: ArrayLike,
    *,
    step: float,
    method: str | None = None,
    n_paths: int,
    seed: int = 0,
    parameters: Sequence[float] = (),
    t0: float = 0.0,
    observe: dict[str, Coefficient] | None = None,
    event: Coefficient | None = None,
    statistics: Sequence[Observer] = (),
    paths: ArrayLike = (),
    workers: int = -1,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> xr.Dataset:
    """Mean and variance over n_paths paths of `sde` from X(t0) = x0, at `times`, each with its standard error, and more.

    Args:
        sde: an `SDE`, `OrnsteinUhlenbeck` or `Langevin`
        x0: a number in dim 1, else (dim,)
        times: increasing, in the equation's own t, each a whole number of `step`s (same unit) after `t0`, (n_time,)
        method: one of `METHODS` that fits the equation; None: "euler-maruyama" (Ito), "heun" (Stratonovich), "exact"
            (Ornstein-Uhlenbeck), "obabo" (Langevin)
        n_paths, seed: path i draws from the stream (seed, i)
        parameters: p of the equation's functions
        observe: functionals of the state by name, f(x, t, p) -> float, of which the moments are given too
        event: f(x, t, p) -> float; a path passes when it is first >= 0 at the end of a step, at the time interpolated
            linearly within it. A path that passes and returns within a step is not seen: passages are late by O(sqrt(step))
        statistics: more of an ensemble: `Covariance`, `Quantiles`, `Histogram`, `PassageTimes` (given with an event anyway)
        paths: numbers of paths that are kept whole, (n_path,)
        workers: threads, -1 for all cores
        progress: a bar with the time left; None: if standard error is a terminal and it takes over two seconds
        checkpoint: a file for what is done so far, written every half minute and at the end or an interruption. A run
            that finds one goes on from it, to the numbers of an uninterrupted run, also to more paths (whole chunks)

    Returns:
        Dataset over `time` (and `component`, in dim d > 1): `mean`, `variance` (unbiased), `mean_se`, `variance_se`, the
        same for each functional with its name before (`energy_mean`, ...), and `faulty`, the number of paths that are not
        finite at that time, or have left a domain whose rule is "fault"; `fault_path`, `fault_time` name them and the
        record time at which they were found. Such a path is left out from that time on (it cannot return: a step adds to
        X), so the moments are those of the paths that are left; with `faulty` > 0 they are conditional on survival.
        attrs: `exits`, steps that left the domain, and `paths_with_exits`. `path` (path, time, component) for `paths`.

    A path's noise depends on (seed, path, step) alone, so a longer ensemble contains a shorter one; results do
    not depend on `workers`. Memory does not grow with the number of steps or paths. The first call for an equation and a
    method compiles, a few seconds; later ones, with other parameters or in other processes, do not.
    Raises InputError.

    >>> ou = SDE(lambda x, t, p: -p[0] * x, lambda x, t, p: p[1])
    >>> result = solve(ou, 1.0, [0.5, 1.0], step=0.01, n_paths=4096, parameters=(1.0, 0.2))
    >>> bool(abs(result["mean"][-1] - 0.99**100) < 5 * result["mean_se"][-1])
    True
    """
    run = Run.of(sde, x0, times, step, method, seed, parameters, t0, check_functionals(observe), event)
    n = check_integer(n_paths, "n_paths", 1)
    collection = _collection(run, statistics, event, _check_paths(paths, n))
    return _dataset(collection, collection.gather(n, workers=workers, progress=progress, checkpoint=checkpoint))


def solve_until(
    sde: Equation,
    x0: ArrayLike,
    times: ArrayLike,
    *,
    relative_error: float,
    quantity: str = "mean",
    max_paths: int = 10_000_000,
    step: float,
    method: str | None = None,
    seed: int = 0,
    parameters: Sequence[float] = (),
    t0: float = 0.0,
    observe: dict[str, Coefficient] | None = None,
    event: Coefficient | None = None,
    statistics: Sequence[Observer] = (),
    paths: ArrayLike = (),
    workers: int = -1,
    progress: bool | None = None,
) -> xr.Dataset:
    """`solve` with as many paths as it takes: until the standard error of `quantity` is at most relative_error |quantity|.

    `quantity`: a variable of the result that has an error `..._se`: "mean", "variance", "energy_mean"; at all times and
    components. It is asked after 4, 8, 16, ... chunks of paths, so the number of paths is at most twice what is needed, and the
    same for any number of threads; attrs: `reached`, whether the error was met within `max_paths`, and `n_paths`.
    A quantity near 0 may never get there. Raises InputError.

    >>> ou = SDE(lambda x, t, p: -x, lambda x, t, p: 0.5)
    >>> result = solve_until(ou, 1.0, [1.0], relative_error=0.01, step=0.01)
    >>> result.attrs["reached"], bool(result["mean_se"][0] <= 0.01 * result["mean"][0])
    (True, True)
    """
    run = Run.of(sde, x0, times, step, method, seed, parameters, t0, check_functionals(observe), event)
    goal = float(check_positive(relative_error, "relative_error"))
    n = check_integer(max_paths, "max_paths", 1)
    collection = _collection(run, statistics, event, _check_paths(paths, n))
    known = [f"{name}{moment}" for name in ("", *(f"{f}_" for f in run.kernel.observe)) for moment in ("mean", "variance")]
    if quantity not in known:
        raise InputError("quantity", quantity, ", ".join(known))

    def reached(total: Collected) -> bool:
        result = _dataset(collection, total)
        return bool((result[f"{quantity}_se"] <= goal * abs(result[quantity])).all())

    total = collection.gather(n, workers=workers, progress=progress, checkpoint=None, enough=reached)
    return _dataset(collection, total).assign_attrs(relative_error=goal, quantity=quantity, reached=reached(total))


def _check_paths(paths: ArrayLike, n_paths: int) -> NDArray[np.int64]:
    allowed = f"different whole numbers from 0 to {n_paths - 1}"
    numbers = np.atleast_1d(np.asarray(paths))
    if numbers.size == 0:
        return np.zeros(0, np.int64)
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer) or np.any((numbers < 0) | (numbers >= n_paths)):
        raise InputError("paths", paths, allowed)
    if len(np.unique(numbers)) < len(numbers):
        raise InputError("paths", paths, allowed)
    return np.sort(numbers).astype(np.int64)


def _collection(run: Run, statistics: Sequence[Observer], event: Any, paths: NDArray[np.int64]) -> Collection:
    asked = tuple(statistics)
    for one in asked:
        if not isinstance(one, Observer):
            raise InputError("statistics", one, "Covariance, Quantiles, Histogram or PassageTimes")
        if one.needs_passages and event is None:
            raise InputError("statistics", one, "a statistic of passages only with an event")
    if event is not None and not any(one.needs_passages for one in asked):
        asked += (PassageTimes(),)
    observers = (Moments(run.equation.dim), *asked)
    names = run.kernel.row_names
    seen: dict[str, Observer] = {}
    for observer in observers:
        for name, (dims, _, _) in observer.variables(observer.start(run.instants, names, 0), run.instants, names).items():
            if name in seen and dims != (name,):
                raise InputError("statistics", f"{seen[name]} and {observer}", f"one of them: both give {name!r}")
            seen[name] = observer
    return Collection(run, observers, paths)


def _dataset(collection: Collection, total: Collected) -> xr.Dataset:
    run, equation = collection.run, collection.run.equation
    names = run.kernel.row_names
    variables: dict[str, Any] = {}
    for observer, state in zip(collection.observers, total.states, strict=True):
        variables |= observer.variables(state, run.instants, names)
    scalar = equation.dim == 1
    dims = ("path", "time") if scalar else ("path", "time", "component")
    if len(collection.chosen):
        components = total.chosen[..., : equation.dim]
        variables["path"] = (("path",), collection.chosen, {})
        variables["path_value"] = (dims, components[..., 0] if scalar else components, {})
        for i, name in enumerate(run.kernel.observe):
            variables[f"path_{name}"] = (("path", "time"), total.chosen[..., equation.dim + i], {})
    variables["fault_path"] = (("fault",), total.fault_path, {})
    variables["fault_time"] = (("fault",), total.fault_time, {"units": _CLOCK})
    coordinates: dict[str, Any] = {"time": ("time", run.instants, {"units": _CLOCK})}
    if not scalar:
        labels = np.arange(equation.dim) if len(equation.parts) == 1 else np.array(names[: equation.dim])
        coordinates["component"] = ("component", labels, {})
    return xr.Dataset(
        variables,
        coords=coordinates,
        attrs={
            "clock": _CLOCK,
            "equation": type(equation).__name__,
            "method": run.method.name,
            "interpretation": equation.interpretation,
            "weak_order": run.method.weak_order,
            "step": run.h,
            "t0": run.t0,
            "x0": run.start,
            "parameters": np.array(run.parameters),
            "n_paths": total.n_paths,
            "seed": run.seed,
            "version": __version__,
            "faults": "a path that is not finite at a time is left out from that time on",
            "outside": equation.outside if equation.domain is not None else "no domain",
            "exits": int(total.exits[0]),
            "paths_with_exits": int(total.exits[1]),
        },
    )
