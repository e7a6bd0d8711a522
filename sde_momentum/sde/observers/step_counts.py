"""Statistics of the numbers of steps that adaptive paths take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import Extras, Observer, State, Variables


@dataclass(frozen=True)
class StepCounts(Observer):
    """Numbers of steps from t0 to each time: kept, computed, and those that missed the tolerance.

    Variables over `time`: `steps`, the mean number of steps of a path, with `steps_se`; `tried`, that of all steps
    computed; `forced`, the number of intervals of all paths whose smallest steps missed the tolerance.
    attrs: `paths_with_forced`, of all paths.
    """

    needs: ClassVar[str | None] = "step counts"

    def start(self, times: NDArray[np.float64], names: tuple[str, ...], chunk: int) -> State:
        return {"paths": np.zeros(()), "sums": np.zeros((3, len(times), 4))}

    def add(self, state: State, first_time: int, values: NDArray[np.float64], n_active: int) -> None:
        """Counts come at the end of the chunk."""

    def add_extras(self, state: State, extras: Extras, n_active: int) -> None:
        counts = extras["step counts"]
        state["paths"] = np.array(float(n_active))
        state["sums"] = np.stack([counts.sum(axis=2), (counts**2).sum(axis=2), (counts > 0).sum(axis=2)])

    def merge(self, state: State, other: State) -> None:
        state.update({name: state[name] + other[name] for name in state})

    def variables(self, state: State, times: NDArray[np.float64], names: tuple[str, ...]) -> Variables:
        n, (sums, squares, _) = np.float64(state["paths"]), state["sums"]
        with np.errstate(all="ignore"):  # n = 0 or 1
            mean, tried = sums[:, 0] / n, sums[:, 1] / n
            variance = np.maximum(squares[:, 0] - sums[:, 0] ** 2 / n, 0.0) / (n - 1)
            error = np.where(n > 1, np.sqrt(variance / n), np.nan)
        unit = {"units": "steps a path"}
        return {
            "steps": (("time",), mean, unit),
            "steps_se": (("time",), error, unit),
            "tried": (("time",), tried, unit),
            "forced": (("time",), sums[:, 2].astype(np.int64), {"units": "intervals of all paths"}),
        }

    def attributes(self, state: State) -> dict[str, Any]:
        return {"paths_with_forced": int(state["sums"][2, -1, 2])}
