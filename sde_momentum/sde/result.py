"""The coordinates and attrs that the results of all steppings have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.dataset import common_attributes, time_coordinate
from .task import Task

CLOCK = "the equation's own t"
"""What `times` counts, and its unit."""


def coordinates(task: Task) -> dict[str, Any]:
    """`time`, and in dim d > 1 `component`."""
    found: dict[str, Any] = {"time": time_coordinate(task.times, CLOCK, CLOCK)}
    equation = task.equation
    if equation.dim > 1:
        found["component"] = ("component", np.array(equation.component_names), {"long_name": "component of the state"})
    return found


def attributes(task: Task) -> dict[str, Any]:
    """The attrs that reproduce the run, apart from the method and the number of paths."""
    equation = task.equation
    return common_attributes(type(equation).__name__, CLOCK) | {
        "interpretation": equation.interpretation,
        "step": task.step,
        "t0": task.t0,
        "x0": _plain(task.start) if task.given is None else "one for each path",
        "parameters": _plain(np.array(task.parameters)),
        "seed": task.seed,
        "outside": equation.outside if equation.domain is not None else "no domain",
    }


def _plain(values: np.ndarray[Any, Any]) -> Any:
    """As netCDF gives it back: one number alone is no array."""
    return float(values[0]) if len(values) == 1 else values


_KINDS = {"_se": "standard error", "_low": "lower end of the 95 % interval", "_high": "upper end of the 95 % interval"}


def described(variables: dict[str, Any]) -> dict[str, Any]:
    """The variables, each with `long_name` and `units`: from its name where it has none of its own."""
    found = {}
    for name, (dims, values, attrs) in variables.items():
        ending = next((e for e in _KINDS if name.endswith(e)), "")
        base = name.removesuffix(ending)
        words = base.replace("_", " ")
        own = {"long_name": f"{_KINDS[ending]} of the {words}" if ending else words}
        row = base.removesuffix("mean").removesuffix("variance").rstrip("_") or "component"
        unit = f"unit of the {row}" + (", squared" if base.endswith("variance") else "")
        found[name] = (dims, values, own | {"units": unit} | attrs)
    return found
