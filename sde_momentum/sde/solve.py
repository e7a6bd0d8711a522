"""Moments of an ensemble at chosen times: `solve`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from .. import __version__
from ..errors import check_integer
from . import moments
from .ensemble import Run, in_order
from .equation import Coefficient, Equation, check_functionals


def solve(
    sde: Equation,
    x0: ArrayLike,
    times: ArrayLike,
    *,
    step: float,
    method: str = "euler-maruyama",
    n_paths: int,
    seed: int = 0,
    parameters: Sequence[float] = (),
    t0: float = 0.0,
    observe: dict[str, Coefficient] | None = None,
    workers: int = -1,
) -> xr.Dataset:
    """Mean and variance."""
    run = Run.of(sde, x0, times, step, method, check_integer(seed, "seed", 0), parameters, t0, check_functionals(observe))
    paths = check_integer(n_paths, "n_paths", 1)
    n_times, rows = len(run.steps), run.kernel.rows
    run.kernel.run

    def job(first: int) -> Any:
        active = min(run.chunk_size, paths - first)
        count, shift, sums = np.zeros(n_times), np.zeros((n_times, rows)), np.zeros((n_times, rows, 4))

        def see(t: int, values: Any) -> None:
            cut = slice(t, t + values.shape[1])
            moments.add(values, active, count[cut], shift[cut], sums[cut])

        run.chunk(first, active, see)
        return count, shift, sums

    count, central = np.zeros(n_times), np.zeros((n_times, rows, 4))
    for part in in_order((lambda first=first: job(first) for first in range(0, paths, run.chunk_size)), workers):
        moments.merge(count, central, *part)
    table = moments.statistics(count, central)
    dims = ("time",) if sde.dim == 1 else ("time", "component")
    return xr.Dataset(
        {name: (dims, values[:, 0] if sde.dim == 1 else values) for name, values in table.items()}
        | {"faulty": ("time", paths - count.astype(np.int64), {"units": "paths"})},
        coords={"time": ("time", run.instants, {"units": "the equation's own t"})},
        attrs={"version": __version__},
    )
