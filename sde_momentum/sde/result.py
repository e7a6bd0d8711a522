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
        labels = np.arange(equation.dim) if len(equation.parts) == 1 else np.array(equation.component_names)
        found["component"] = ("component", labels, {})
    return found


def attributes(task: Task) -> dict[str, Any]:
    """The attrs that reproduce the run, apart from the method and the number of paths."""
    equation = task.equation
    return common_attributes(type(equation).__name__, CLOCK) | {
        "interpretation": equation.interpretation,
        "step": task.step,
        "t0": task.t0,
        "x0": task.start if task.given is None else "one for each path",
        "parameters": np.array(task.parameters),
        "seed": task.seed,
        "outside": equation.outside if equation.domain is not None else "no domain",
    }
