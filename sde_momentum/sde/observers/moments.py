"""Mean and variance at each time: part of every result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.moments import add, centre, merge, statistics
from .base import Observer, State, Variables


@dataclass(frozen=True)
class Moments(Observer):
    """Mean and unbiased variance at each time, with standard errors (`_se`) and the ends of 95 % intervals (`_low`, `_high`).

    Those of the components, the first `n_components` rows, are in one variable, those of a functional under its name.
    `faulty`: the number of paths that are left out. Formulas: `core.intervals`. NaN where too few paths are left: fewer than two
    for the mean's error, three for the variance's interval, four for its error.
    """

    n_components: int

    def start(self, times: NDArray[np.float64], names: tuple[str, ...], chunk: int) -> State:
        n, rows = len(times), len(names)
        return {"paths": np.zeros(n), "count": np.zeros(n), "shift": np.zeros((n, rows)), "sums": np.zeros((n, rows, 4))}

    def add(self, state: State, first_time: int, values: NDArray[np.float64], n_active: int) -> None:
        paths, count, shift, sums = (state[name][first_time : first_time + values.shape[1]] for name in state)
        paths += n_active
        add(values, n_active, count, shift, sums)
        centre(count, shift, sums)

    def merge(self, state: State, other: State) -> None:
        state["paths"] += other["paths"]
        merge(state["count"], state["sums"], other["count"], other["sums"])

    def variables(self, state: State, times: NDArray[np.float64], names: tuple[str, ...]) -> Variables:
        d = self.n_components
        found: Variables = {}
        for name, values in statistics(state["count"], state["sums"]).items():
            found[name] = (("time",), values[:, 0], {}) if d == 1 else (("time", "component"), values[:, :d], {})
            found |= {f"{row}_{name}": (("time",), values[:, d + i], {}) for i, row in enumerate(names[d:])}
        faulty = (state["paths"] - state["count"]).astype(np.int64)
        return found | {"faulty": (("time",), faulty, {"units": "paths"})}
