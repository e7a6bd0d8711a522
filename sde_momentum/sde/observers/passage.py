"""First-passage times of an event: survival, mean and quantiles, with standard errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...core import intervals
from ...core.arguments import by_annotations
from ..equation import check_function
from . import covariance
from .base import Extras, Observer, State, Variables, total
from .quantiles import Quantiles, check_probabilities, with_errors

_NAMES = ("passage time",)


@by_annotations
@dataclass(frozen=True)
class PassageTimes(Observer):
    """First-passage times T of an event: survival P(T > t), mean and quantiles, with standard errors.

    `event`: f(x, t, p) -> float, plain scalar Python as an equation's coefficients. A path passes when f is first >= 0 at
    the end of a step, at the time interpolated linearly within it; or within a step, if it is below 0 at both ends, with the
    probability of a Brownian bridge of f's noise there. So their error is O(step). With the two-point increments of
    "weak-euler", which have no bridge, they are late by O(sqrt(step)). `probabilities`: of the quantiles, increasing, in (0, 1).

    `stop`: a path stops where it passes; all statistics are then those of X at min(t, T), and with `KeepPaths` a kept path's last
    value is its stopping state and `path_passage_time` its stopping time. The state is that between the step's ends at T; of a
    passage unseen at both ends, it is moved along the noise to where f is 0 to first order. Functionals take the clock's t.

    S(t) = P(T > t) is given at the record times, and E min(T, end), `end` the last of them. All
    over the n paths that are not faulty before they pass (a path that is faulty before is left out at all times, since
    its T is not known; `passage_faulty` counts them). T equal to a record time counts as passed.

    Variables: `survival` (time); `passed`, paths with T <= end; `mean_passage_time`, of min(T, end): with survivors a lower bound
    of E T; each with `_se` and a 95 % interval, `_low` and `_high` (Wilson's, and Student's t);
    `passage_quantile` (passage_probability), with `_se`, `_low`, `_high` and `_resolution` as in `Quantiles`, NaN where fewer
    than p n paths (for the error: p + sqrt(p (1 - p) / n)) have passed by the end, infinite ends likewise. All times in the
    equation's own t. Memory: 16 bytes per time, and that of `Quantiles` for one time and row. Raises InputError.
    """

    event: Callable[[Any, float, Any], Any] = field(repr=False)
    probabilities: Sequence[float] = (0.25, 0.5, 0.75)
    stop: bool = False
    needs: ClassVar[str | None] = "passages"

    def __post_init__(self) -> None:
        check_function("event", self.event)
        object.__setattr__(self, "probabilities", check_probabilities(self.probabilities))

    def start(self, times: NDArray[np.float64], names: tuple[str, ...], chunk: int) -> State:
        end = times[-1:]
        parts = {"mean": _MEAN.start(end, _NAMES, chunk), "spread": _SPREAD.start(end, _NAMES, chunk)}
        own: State = {
            "times": np.array(times, dtype=np.float64),
            "passed": np.zeros(len(times) + 1, np.int64),  # first seen at each record time; the last: not at all
            "faulty": np.zeros(1, np.int64),
        }
        return own | {f"{part}.{name}": array for part, state in parts.items() for name, array in state.items()}

    def add(self, state: State, first_time: int, values: NDArray[np.float64], n_active: int) -> None:
        """Passages come at the end of the chunk."""

    def add_extras(self, state: State, extras: Extras, n_active: int) -> None:
        times, hit = state["times"], extras["passages"]
        known = hit.ravel()[:n_active]
        good = known[~np.isnan(known)]
        state["faulty"] = state["faulty"] + (len(known) - len(good))
        seen = np.searchsorted(times, good)
        state["passed"] = state["passed"] + np.bincount(seen, minlength=len(times) + 1)
        stopped = np.minimum(hit, times[-1])
        passed = np.where(hit <= times[-1], hit, np.inf)  # those not finite are left out of the bins
        for observer, name, values in ((_MEAN, "mean", stopped), (_SPREAD, "spread", passed)):
            part = _part(state, name)
            observer.add(part, 0, np.ascontiguousarray(values[:, None, None, :]), n_active)
            _put(state, name, part)

    def merge(self, state: State, other: State) -> None:
        state.update(passed=state["passed"] + other["passed"], faulty=state["faulty"] + other["faulty"])
        for observer, name in ((_MEAN, "mean"), (_SPREAD, "spread")):
            part = _part(state, name)
            observer.merge(part, _part(other, name))
            _put(state, name, part)

    def variables(self, state: State, times: NDArray[np.float64], names: tuple[str, ...]) -> Variables:
        n, p = int(state["passed"].sum()), np.array(self.probabilities)
        moments = total(_part(state, "mean"), covariance.join)
        value = moments["origin"][0, 0] + moments["mean"][0, 0] if n else np.nan
        mean = intervals.mean(np.array(value), covariance.statistics(moments).value[0, 0, 0], np.array(float(n)))
        survival = intervals.probability(n - np.cumsum(state["passed"])[:-1], np.full(len(times), float(n)))
        found = with_errors(_part(state, "spread"), 0, 0, p, n)
        quantile, error, width = np.where(np.isfinite(found[:3]), found[:3], np.nan)
        clock, fraction = {"units": "the equation's own t"}, {"units": "fraction of the paths"}
        of_stopped = clock | {"long_name": "mean of min(T, end)", "end": float(times[-1])}
        axis = ("passage_probability",)
        table: Variables = {name: (("time",), values, fraction) for name, values in survival.named("survival").items()}
        table |= {name: ((), values, of_stopped) for name, values in mean.named("mean_passage_time").items()}
        table |= {
            name: (axis, values, clock)
            for name, values in intervals.Estimate(quantile, error, *found[3:]).named("passage_quantile").items()
        }
        return table | {
            "passed": ((), np.array(n - state["passed"][-1]), {"units": "paths"}),
            "passage_faulty": ((), np.array(state["faulty"][0]), {"units": "paths"}),
            "passage_probability": (axis, p, {"units": "1"}),
            "passage_quantile_resolution": (axis, width, clock),
        }


_MEAN, _SPREAD = covariance.Covariance(), Quantiles()


def _part(state: State, name: str) -> State:
    """The state of the observer inside."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): array for key, array in state.items() if key.startswith(prefix)}


def _put(state: State, name: str, part: State) -> None:
    state.update({f"{name}.{key}": array for key, array in part.items()})
