"""The checked arguments of `solve`, apart from the stepping: an equation, its start, the times and the statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import InputError, check, check_integer, check_one, check_positive
from ..core.times import check_times
from .equation import Coefficient, Equation, check_parameters
from .observers import Functional, KeepPaths, Observer, PassageTimes

Array = NDArray[np.float64]


STATISTICS = "Autocovariance, Covariance, Functional, Histogram, KeepPaths, PassageTimes, Quantiles"
"""What may stand in the list of statistics."""


class RequestedStatistics(NamedTuple):
    """The requested statistics by kind: functionals by name, the event of passages, numbers of kept paths, and observers."""

    functionals: dict[str, Coefficient]
    event: Coefficient | None
    kept: tuple[int, ...]
    observers: tuple[Observer, ...]
    stop: bool = False
    """Whether paths stop at the event."""

    @classmethod
    def of(cls, statistics: Iterable[Any]) -> RequestedStatistics:
        """Sorted by kind. Raises InputError for anything else, or for two of a kind that allows one."""
        functionals: dict[str, Coefficient] = {}
        events: list[Coefficient] = []
        stop = False
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
                if isinstance(one, PassageTimes):
                    events.append(one.event)
                    stop = one.stop
            else:
                raise InputError("statistics", one, STATISTICS)
        for name, found in (("PassageTimes", events), ("KeepPaths", kept)):
            if len(found) > 1:
                raise InputError("statistics", f"{len(found)} {name}", f"one {name} at most")
        return cls(functionals, events[0] if events else None, tuple(kept[0].numbers) if kept else (), tuple(observers), stop)


_DRAWN = 1024
"""Starts that are drawn together, from a generator of (seed, their number): so that each depends on the seed alone."""


@dataclass(frozen=True, eq=False)
class Starts:
    """The starts of paths that do not all begin at one point: `points` (n_paths, dim), or a `sampler` (rng, n) -> (n, dim)."""

    equation: Equation
    seed: int
    points: Array | None = None
    sampler: Callable[[np.random.Generator, int], Any] | None = None

    @classmethod
    def of(cls, equation: Equation, x0: Any, seed: int) -> Starts | None:
        """None if x0 is one point."""
        if callable(x0):
            return cls(equation, seed, sampler=x0)
        if np.ndim(x0) == (2 if equation.dim > 1 else 1) and np.size(x0) > equation.dim:
            return cls(equation, seed, points=_checked_starts(equation, x0, f"one point, or shape (n_paths, {equation.dim})"))
        return None

    def of_paths(self, first: int, n: int) -> Array:
        """Those of paths first, ..., first + n - 1, (n, dim); beyond the last: the last, as the padding of a chunk."""
        if self.points is not None:
            return np.asarray(self.points[np.minimum(np.arange(first, first + n), len(self.points) - 1)])
        blocks = range(first // _DRAWN, -(-(first + n) // _DRAWN))
        return np.concatenate([self._block(number) for number in blocks])[first % _DRAWN :][:n]

    def _block(self, number: int) -> Array:
        assert self.sampler is not None
        drawn = self.sampler(np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(number,))), _DRAWN)
        allowed = f"a function of (rng, n) that returns (n, {self.equation.dim}) numbers"
        points = _checked_starts(self.equation, drawn, allowed)
        if len(points) != _DRAWN:
            raise InputError("x0", f"a function that returns shape {np.shape(drawn)} for n = {_DRAWN}", allowed)
        return points


def _checked_starts(equation: Equation, given: Any, allowed: str) -> Array:
    try:
        points = np.asarray(given, dtype=np.float64).reshape(len(given), -1)
    except (TypeError, ValueError):
        raise InputError("x0", given, allowed) from None
    if points.shape[1] != equation.dim or not np.all(np.isfinite(points)):
        raise InputError("x0", f"shape {np.shape(given)}", f"{allowed}, all finite")
    for extreme in (points.min(axis=0), points.max(axis=0)):
        equation.check_start(extreme)
    return points


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
    given: Starts | None = None
    """The starts of the paths, if not all have the same: `start` is then that of path 0."""

    @classmethod
    def of(
        cls,
        equation: Equation,
        x0: ArrayLike | Callable[..., Any],
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
        check_integer(seed, "seed", 0)
        h, origin = check_one(check_positive, step, "step"), check_one(_check_finite, t0, "t0")
        given, p = Starts.of(equation, x0, seed), check_parameters(parameters)
        start = equation.check_start(cast("ArrayLike", x0)) if given is None else given.of_paths(0, 1)[0]
        instants, steps = check_times(times, h, origin)
        equation.probe(start, origin, p)
        task = cls(equation, start, instants, steps, h, origin, seed, p, RequestedStatistics.of(statistics), given)
        for name in set(task.statistics.functionals) & set(equation.component_names):
            raise InputError("statistics", f"a functional {name!r}", "another name: a component has this one")
        for name, function in task.functions().items():
            if equation.batched:
                continue  # its shape is checked wherever it is called
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
        return self.equation.evaluate(name, function, self.start, self.t0, self.parameters)

    def starts(self, first: int, n: int) -> Array:
        """The starts of paths first, ..., first + n - 1, (dim, n)."""
        if self.given is None:
            return np.repeat(self.start[:, None], n, axis=1)
        return self.given.of_paths(first, n).T

    def event_at_start(self, first: int, n: int) -> Array:
        """The event of these paths at t0, -inf where it has no value, (n,)."""
        assert self.statistics.event is not None
        at = self.starts(first, n if self.given else 1).T
        found = [self.equation.evaluate("event", self.statistics.event, x, self.t0, self.parameters) for x in at]
        return np.broadcast_to(np.array([-np.inf if value is None else value for value in found]), (n,)).copy()


def _check_finite(value: ArrayLike, argument: str) -> Array:
    return check(argument, value, lambda x: np.full(x.shape, True), "a finite number")
