"""Metrics, the numbers measured along a run, with their names, labels and units in results, files and pictures.

A new one is added to METRICS, or to a problem's `own_metrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A function of a problem's parameters w, such as the test error.

    Attributes:
        name: in results and on command lines, such as "test_error"
        label: on axes, such as "test error"
        unit: of the values; "1" for a pure number
        value: (problem, w) -> values, w of shape (..., N) to (...)
        vanishes_on_manifold: whether it is 0 on Gamma; such a metric cannot be the target of a drift along Gamma

    >>> import sde_momentum as sm
    >>> size = Metric("size", "|w|", "units of w", lambda problem, w: np.linalg.norm(w, axis=-1))
    >>> method = sm.LabelNoiseSGD(sm.Valley([1.0, 2.0], [0.1, -0.1], curvature=0.5), 0.1)
    >>> runs = sm.solve(method, [2.0, 0.0, 0.0], [0], lr=0.1, momentum=0.9, seeds=[0], metrics=["trace_hessian", size])
    >>> runs["size"].item(), runs["size"].attrs["units"]
    (2.0, 'units of w')
    """

    name: str
    label: str
    unit: str
    value: Callable[[Any, Array], Array]
    vanishes_on_manifold: bool = False

    def __str__(self) -> str:
        return self.name

    def __call__(self, problem: Any, w: Array) -> Array:
        """Its values at w, (..., N) -> (...)."""
        return np.asarray(self.value(problem, w))

    @property
    def attributes(self) -> dict[str, str]:
        """The attrs of the metric's variable in a Dataset."""
        return {"long_name": self.label, "units": self.unit}


@dataclass(frozen=True)
class Method:
    """The values of a metric that is a method of the problem, such as `Problem.test_error`."""

    name: str

    def __call__(self, problem: Any, w: Array) -> Array:
        """problem.NAME(w)."""
        return np.asarray(getattr(problem, self.name)(w))

    def of(self, problem: Any) -> Callable[..., Any] | None:
        """The function that the problem's class has for it, None for one that the object has of its own."""
        return getattr(getattr(problem, self.name), "__func__", None)


#: The metrics that every problem has, by name.
METRICS = {
    metric.name: metric
    for metric in (
        Metric("train_loss", "train loss without noise", "1", Method("loss"), vanishes_on_manifold=True),
        Metric("test_error", "test error", "1", Method("test_error")),
        Metric("trace_hessian", "tr H", "1", Method("trace_hessian")),
        Metric("distance", "first-order distance to Gamma", "1", Method("distance"), vanishes_on_manifold=True),
    )
}
