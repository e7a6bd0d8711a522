"""The checked arguments of `solve`, apart from the stepping: an equation, its start, the times and the statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import InputError, check, check_integer, check_one, check_positive
from ..core.times import check_times
from .equation import Coefficient, Equation, call, check_parameters
from .observers import Functional, KeepPaths, Observer, PassageTimes

Array = NDArray[np.float64]


class RequestedStatistics(NamedTuple):
    """The requested statistics by kind: functionals by name, the event of passages, numbers of kept paths, and observers."""

    functionals: dict[str, Coefficient]
    event: Coefficient | None
    kept: tuple[int, ...]
    observers: tuple[Observer, ...]

    @classmethod
    def of(cls, statistics: Iterable[Any]) -> RequestedStatistics:
        """Sorted by kind. Raises InputError for anything else, or for two of a kind that allows one."""
        functionals: dict[str, Coefficient] = {}
        events: list[Coefficient] = []
        kept: list[KeepPaths] = []
        observers: list[Observer] = []
        for one in statistics:
            if isinstance(one, Functional):
                if one.name in functionals:
                    raise InputError("statistics", f"two functionals {one.name!r}", "functionals of different names")
                functionals[one.name] = one.function
            elif isinstance(one, KeepPaths):
                kept.append(one)
            elif isinstance(one, Observer):
                observers.append(one)
                events += [one.event] if isinstance(one, PassageTimes) else []
            else:
                raise InputError("statistics", one, "Covariance, Functional, Histogram, KeepPaths, PassageTimes, Quantiles")
        for name, found in (("PassageTimes", events), ("KeepPaths", kept)):
            if len(found) > 1:
                raise InputError("statistics", f"{len(found)} {name}", f"one {name} at most")
        return cls(functionals, events[0] if events else None, tuple(kept[0].numbers) if kept else (), tuple(observers))


@dataclass(frozen=True, eq=False)
class Task:
    """An equation from X(t0) = start, recorded at `times`, `steps` (n_time,) steps of size `step` after t0; all checked.

    `seed`: path i draws from the stream (seed, i). `parameters`: the tuple p that all functions get.
    """

    equation: Equation
    start: Array
    times: Array
    steps: NDArray[np.int64]
    step: float
    t0: float
    seed: int
    parameters: tuple[float, ...]
    statistics: RequestedStatistics

    @classmethod
    def of(
        cls,
        equation: Equation,
        x0: ArrayLike,
        times: ArrayLike,
        *,
        step: float,
        seed: int = 0,
        parameters: Sequence[float] = (),
        t0: float = 0.0,
        statistics: Iterable[Any] = (),
    ) -> Task:
        """The task of these arguments, or an InputError."""
        if not isinstance(equation, Equation):
            raise InputError("equation", equation, "an SDE, OrnsteinUhlenbeck or Langevin")
        h, origin = check_one(check_positive, step, "step"), check_one(_check_finite, t0, "t0")
        start, p = equation.check_start(x0), check_parameters(parameters)
        instants, steps = check_times(times, h, origin)
        check_integer(seed, "seed", 0)
        equation.probe(start, origin, p)
        task = cls(equation, start, instants, steps, h, origin, seed, p, RequestedStatistics.of(statistics))
        for name in set(task.statistics.functionals) & set(equation.component_names):
            raise InputError("statistics", f"a functional {name!r}", "another name: a component has this one")
        for name, function in task.functions().items():
            value = task.at_start(name, function)
            if value is not None and (not np.isscalar(value) or isinstance(value, str)):
                raise InputError(name, f"a function that returns {value!r}", "a function f(x, t, p) that returns a float")
        return task

    def functions(self) -> Mapping[str, Coefficient]:
        """Functions of the state beside the equation's: functionals, and the event."""
        event = {} if self.statistics.event is None else {"event": self.statistics.event}
        return self.statistics.functionals | event

    def at_start(self, name: str, function: Coefficient) -> Any:
        """The function's value at the start; None where it has none."""
        x = float(self.start[0]) if self.equation.dim == 1 else tuple(map(float, self.start))
        return call(name, function, x, self.t0, self.parameters)


def _check_finite(value: ArrayLike, argument: str) -> Array:
    return check(argument, value, lambda x: np.full(x.shape, True), "a finite number")
