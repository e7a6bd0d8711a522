"""What an ensemble of an equation is asked for, and the labelled answer; `solve_until`, with as many paths as it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..core.errors import InputError, check_integer, check_positive
from .collect import Collected, Collection
from .ensemble import Run
from .equation import Coefficient, Equation, check_functionals
from .observers import Moments, Observer, PassageTimes


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

    >>> import sde_momentum as sm
    >>> ou = sm.SDE(lambda x, t, p: -x, lambda x, t, p: 0.5)
    >>> result = sm.solve_until(ou, 1.0, [1.0], relative_error=0.01, step=0.01)
    >>> bool(result.attrs["reached"]), bool(result["mean_se"][0] <= 0.01 * result["mean"][0])
    (True, True)
    """
    goal = float(check_positive(relative_error, "relative_error"))
    n = check_integer(max_paths, "max_paths", 1)
    asked = collection(
        sde, x0, times, n, step=step, method=method, seed=seed, parameters=parameters, t0=t0,
        observe=observe, event=event, statistics=statistics, paths=paths,
    )  # fmt: skip
    functionals = ("", *(f"{f}_" for f in asked.run.kernel.observe))
    known = [f"{name}{moment}" for name in functionals for moment in ("mean", "variance")]
    if quantity not in known:
        raise InputError("quantity", quantity, ", ".join(known))

    def reached(total: Collected) -> bool:
        result = answer(asked, total)
        return bool((result[f"{quantity}_se"] <= goal * abs(result[quantity])).all())

    total = asked.gather(n, workers=workers, progress=progress, checkpoint=None, enough=reached)
    return answer(asked, total).assign_attrs(relative_error=goal, quantity=quantity, reached=int(reached(total)))


def check_paths(paths: ArrayLike, n_paths: int) -> NDArray[np.int64]:
    """Numbers of paths that are kept whole, increasing."""
    allowed = f"different whole numbers from 0 to {n_paths - 1}"
    numbers = np.atleast_1d(np.asarray(paths))
    if numbers.size == 0:
        return np.zeros(0, np.int64)
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer) or np.any((numbers < 0) | (numbers >= n_paths)):
        raise InputError("paths", paths, allowed)
    if len(np.unique(numbers)) < len(numbers):
        raise InputError("paths", paths, allowed)
    return np.sort(numbers).astype(np.int64)


def collection(
    equation: Equation,
    x0: ArrayLike,
    times: ArrayLike,
    n_paths: int,
    *,
    step: float,
    method: str | None,
    seed: int,
    parameters: Sequence[float],
    t0: float,
    observe: dict[str, Coefficient] | None,
    event: Coefficient | None,
    statistics: Sequence[Observer],
    paths: ArrayLike,
) -> Collection:
    """What is asked of an ensemble of at most n_paths paths, checked."""
    run = Run.of(equation, x0, times, step, method, seed, parameters, t0, check_functionals(observe), event)
    chosen = check_paths(paths, n_paths)
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
    return Collection(run, observers, chosen)


def answer(asked: Collection, total: Collected) -> xr.Dataset:
    """What was gathered, with names, units and errors."""
    run, equation = asked.run, asked.run.equation
    names = run.kernel.row_names
    variables: dict[str, Any] = {}
    for observer, state in zip(asked.observers, total.states, strict=True):
        variables |= observer.variables(state, run.instants, names)
    scalar = equation.dim == 1
    dims = ("path", "time") if scalar else ("path", "time", "component")
    if len(asked.chosen):
        components = total.chosen[..., : equation.dim]
        variables["path"] = (("path",), asked.chosen, {})
        variables["path_value"] = (dims, components[..., 0] if scalar else components, {})
        for i, name in enumerate(run.kernel.observe):
            variables[f"path_{name}"] = (("path", "time"), total.chosen[..., equation.dim + i], {})
    variables["fault_path"] = (("fault",), total.fault_path, {})
    variables["fault_time"] = (("fault",), total.fault_time, {"units": equation.time_units})
    coordinates: dict[str, Any] = {"time": equation.time_coordinate(run.instants)}
    if not scalar:
        labels = np.arange(equation.dim) if len(equation.parts) == 1 else np.array(names[: equation.dim])
        coordinates["component"] = ("component", labels, {})
    return xr.Dataset(
        variables,
        coords=coordinates,
        attrs=equation.common_attributes()
        | {
            "method": run.method.name,
            "interpretation": equation.interpretation,
            "weak_order": run.method.weak_order,
            "step": run.h,
            "t0": run.t0,
            "x0": run.start,
            "parameters": np.array(run.parameters),
            "n_paths": total.n_paths,
            "seed": run.seed,
            "faults": "a path that is not finite at a time is left out from that time on",
            "outside": equation.outside if equation.domain is not None else "no domain",
            "exits": int(total.exits[0]),
            "paths_with_exits": int(total.exits[1]),
        },
    )
