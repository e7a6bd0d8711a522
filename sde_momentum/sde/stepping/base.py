"""The contract of a stepping: how the paths of an equation are stepped, the option `step` of `solve`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import xarray as xr

from ...core.errors import InputError, check_integer, check_one, check_positive
from ..checks import told
from ..collect import Collected, Collection, Execution
from ..paths import Paths
from ..task import Task
from ..until import UntilError


def check_alike(task: Task, stepping: str) -> None:
    """InputError for a batched equation or starts that differ, which only steps of one size take."""
    if task.equation.batched:
        raise InputError("step", stepping, "Fixed or OnIncrements, for a batched equation")
    if task.given is not None:
        raise InputError("x0", "a start for each path", f"one start, with {stepping} steps")


class Stepping(ABC):
    """How paths are stepped. `step`: the (largest, coarsest) step, in the equation's own t; record times are multiples of it.

    Members are frozen dataclasses, checked when they are made.
    """

    step: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", check_one(check_positive, self.step, "step"))

    @abstractmethod
    def run(self, task: Task, n_paths: int | UntilError, how: Execution) -> xr.Dataset:
        """The result for `n_paths` paths, or as many as a target error needs. Raises InputError for what it cannot give."""


class PathStepping(Stepping):
    """A stepping that gives whole paths: its ensembles are collected chunk by chunk."""

    @abstractmethod
    def paths(self, task: Task) -> Paths:
        """The source of the task's paths. Raises InputError for an equation that it cannot step."""

    def run(self, task: Task, n_paths: int | UntilError, how: Execution) -> xr.Dataset:
        until = n_paths if isinstance(n_paths, UntilError) else None
        n = until.limit if until is not None else check_integer(n_paths, "n_paths", 1, 10**13)
        if task.statistics.kept and task.statistics.kept[-1] >= n:
            raise InputError("numbers", list(task.statistics.kept), f"different whole numbers from 0 to {n - 1}, one at least")
        if task.given is not None and task.given.points is not None and len(task.given.points) != n:
            raise InputError("x0", f"{len(task.given.points)} starts", f"one, or n_paths = {n} of them")
        paths = replace(self.paths(task), small=until is not None)
        collection = Collection.of(paths)
        if until is None:
            result = collection.result(collection.gather(n, how))
            return told(result, paths.doubts(result))
        known = [f"{f}{moment}" for f in ("", *(f"{f}_" for f in task.statistics.functionals)) for moment in ("mean", "variance")]
        if until.quantity not in known:
            raise InputError("quantity", until.quantity, ", ".join(known))

        def enough(total: Collected) -> bool:
            return until.reached(collection.result(total))

        result = collection.result(collection.gather(n, how, enough))
        errors = {"relative_error": until.relative, "absolute_error": until.absolute}
        found = {"quantity": until.quantity, "reached": int(until.reached(result))}
        result = result.assign_attrs({name: e for name, e in errors.items() if e is not None} | found)
        return told(result, paths.doubts(result))
