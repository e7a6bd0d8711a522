"""`solve`: statistics of an ensemble of paths of one equation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ..core.arguments import by_annotations
from ..core.errors import InputError
from .collect import Execution
from .equation import Equation
from .methods import method_for
from .observers import Statistic
from .stepping import Fixed, Stepping
from .stepping.step_bias import with_step_bias
from .task import STATISTICS, Task
from .until import UntilError


@by_annotations
def solve(
    equation: Equation,
    x0: ArrayLike | Callable[..., Any],
    times: ArrayLike,
    *,
    step: float | Stepping,
    n_paths: int | UntilError,
    seed: int = 0,
    parameters: Sequence[float] | Mapping[str, ArrayLike] = (),
    t0: float = 0.0,
    statistics: Iterable[Statistic] = (),
    workers: int = -1,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    check_step: bool = False,
) -> xr.Dataset:
    """Mean and variance over the paths from X(t0) = x0, at `times`, each with its standard error, and more statistics.

    Args:
        equation: an `SDE`, `OrnsteinUhlenbeck` or `Langevin`
        x0: a number in dim 1, else (dim,); with steps of one size also a start for each path, (n_paths, dim) (dim 1: (n_paths,)),
            or a function of (rng, n) that draws n of them
        times: increasing, in the equation's own t, each a whole number of steps (same unit) after `t0`, (n_time,)
        step: a number: steps of one size with the equation's default method; or `Fixed` with a method, `Adaptive`,
            `Multilevel`, `OnIncrements`
        n_paths: a number, or a target error: `UntilError(relative=0.01)`
        seed: path i draws from the stream (seed, i)
        parameters: the tuple p that all functions f(x, t, p) get; or its entries by name, in order, each a number or a 1-D array:
            the result then has a dim of that name for each array (a sweep of all combinations, each with the same noise)
        statistics: those beside mean and variance: `Covariance`, `Autocovariance`, `Quantiles`, `Histogram`, `PassageTimes` of an
            event, `Functional` of the state, `KeepPaths`; each documents its variables
        workers: threads, -1 for all cores
        progress: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten
        checkpoint: a file for the statistics so far, written every half minute and at the end or an interruption. A run
            that finds it continues from there, with the numbers of an uninterrupted run, also to more paths (whole chunks)
        check_step: with `Fixed` steps, adds `step_bias` and `step_bias_se` to `mean`: an estimate of the error that comes from
        the
            size of the step, by pairs of paths at this step and at half of it on the same noise; not for every method

    Returns:
        Dataset over `time` (and `component`, in dim d > 1): `mean`, `variance` (unbiased), each with its standard error
        (`mean_se`) and the ends of a 95 % interval that is right for few paths too (`mean_low`, `mean_high`), the same for each
        functional prefixed by its name (`energy_mean`, ...), and `faulty`, the number of paths that are not finite at that
        time, or have left a domain whose rule is "fault"; `fault_path`, `fault_time` (if there are any) name them and the
        record time at which they were found. Such a path is left out from that time on (it cannot return: a step adds to X), so
        the moments are those of the paths that are left; with `faulty` > 0 they are conditional on survival, and a warning says
        so. So it does for steps that are unstable at the start or at the last mean; attr `warnings` keeps them. attrs: `exits`,
        steps that left the domain, and `paths_with_exits`. `Multilevel` gives other variables, for the mean at one time.

    A path's noise depends on (seed, path, step) alone, so a longer ensemble contains a shorter one; results do
    not depend on `workers`. Memory does not grow with the number of steps or paths. The first call for an equation and a
    method compiles, a few seconds; later ones, with other parameters or in other processes, do not.
    Raises InputError.

    >>> from sde_momentum import sde
    >>> ou = sde.SDE(lambda x, t, p: -p[0] * x, lambda x, t, p: p[1])
    >>> result = sde.solve(ou, 1.0, [0.5, 1.0], step=0.01, n_paths=4096, parameters=(1.0, 0.2))
    >>> bool(abs(result["mean"][-1] - 0.99**100) < 5 * result["mean_se"][-1])
    True
    """
    if isinstance(statistics, str | np.ndarray) or not isinstance(statistics, Iterable):
        raise InputError("statistics", statistics, f"a list of {STATISTICS}")
    statistics = list(statistics)
    if isinstance(parameters, Mapping):
        options: dict[str, Any] = dict(
            step=step, n_paths=n_paths, seed=seed, t0=t0, statistics=statistics, workers=workers, progress=progress
        )
        if checkpoint is not None:
            raise InputError("checkpoint", checkpoint, "none with parameters by name")
        return _sweep(parameters, lambda p: solve(equation, x0, times, parameters=p, check_step=check_step, **options))
    stepping = step if isinstance(step, Stepping) else Fixed(step)
    task = Task.of(
        equation, x0, times, step=stepping.step, seed=seed, parameters=parameters, t0=t0, statistics=statistics
    )  # fmt: skip
    if check_step and not isinstance(stepping, Fixed):
        raise InputError("check_step", True, "False, or Fixed steps")
    result = stepping.run(task, n_paths, Execution(workers, progress, checkpoint))
    return (
        with_step_bias(result, task, method_for(equation, stepping.method))
        if isinstance(stepping, Fixed) and check_step
        else result
    )


def _sweep(parameters: Mapping[str, ArrayLike], run: Callable[[tuple[float, ...]], xr.Dataset]) -> xr.Dataset:
    """The results for all combinations of the values of each parameter, along a dim of its name if it has several."""
    values = {name: np.asarray(given, dtype=np.float64) for name, given in parameters.items()}
    for name, given in values.items():
        if given.ndim > 1 or given.size == 0:
            raise InputError("parameters", f"{name} of shape {given.shape}", "numbers or 1-D arrays")

    def part(p: tuple[float, ...], left: list[str]) -> xr.Dataset:
        if not left:
            return run(p).drop_dims("fault", errors="ignore").drop_attrs(deep=False)
        name, *rest = left
        parts = [part((*p, float(value)), rest) for value in np.atleast_1d(values[name])]
        return xr.concat(parts, xr.Variable(name, values[name]), join="exact") if values[name].ndim else parts[0]

    swept = part((), list(values))
    attrs = run(tuple(float(np.atleast_1d(v)[0]) for v in values.values())).attrs
    return swept.assign_attrs({k: v for k, v in attrs.items() if k != "parameters"})
