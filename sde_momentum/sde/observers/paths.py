"""Chosen paths, kept at all record times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.arguments import by_annotations
from ...core.errors import InputError
from .base import Extras, Observer, State, Statistic, Variables


@by_annotations
@dataclass(frozen=True)
class KeepPaths(Statistic):
    """The paths of these numbers (from 0), kept at every record time: 8 bytes per path, time and row.

    Variables: `path_value` (path, time), in dim d > 1 (path, time, component), and `path_<name>` (path, time) of each
    `Functional`; with `PassageTimes` `path_passage_time` (path), inf where a path has not passed; with `Adaptive` steps also
    `path_steps` and `path_forced`, from t0 to each time. Raises InputError.

    >>> KeepPaths([7, 0]).numbers
    (0, 7)
    """

    numbers: Iterable[int]

    def __post_init__(self) -> None:
        allowed = "different whole numbers >= 0, one at least"
        if not isinstance(self.numbers, Iterable):
            raise InputError("numbers", self.numbers, allowed)
        given = np.atleast_1d(np.asarray(self.numbers if isinstance(self.numbers, np.ndarray) else list(self.numbers)))
        whole = given.ndim == 1 and given.size > 0 and np.issubdtype(given.dtype, np.integer)
        if not whole or np.any(given < 0) or len(np.unique(given)) < len(given):
            raise InputError("numbers", self.numbers, allowed)
        object.__setattr__(self, "numbers", tuple(sorted(map(int, given))))


@dataclass(frozen=True)
class KeptPaths(Observer):
    """Observer of `KeepPaths`: the first `n_components` rows are the state; a chunk begins at path chunk * chunk_size."""

    numbers: tuple[int, ...]
    n_components: int
    chunk_size: int
    counted: bool
    """Whether the stepping counts each path's steps."""
    passed: bool = False
    """Whether there is an event."""

    @cached_property
    def _sorted(self) -> NDArray[np.int64]:
        return np.array(self.numbers, np.int64)

    def start(self, times: NDArray[np.float64], names: tuple[str, ...], chunk: int) -> State:
        begin, end = np.searchsorted(self._sorted, (chunk * self.chunk_size, (chunk + 1) * self.chunk_size))
        here = self._sorted[begin:end]
        state: State = {"path": here, "values": np.empty((len(here), len(times), len(names)))}
        state |= {"passages": np.zeros(len(here))} if self.passed else {}
        return state | ({"counts": np.zeros((len(here), len(times), 4))} if self.counted else {})

    def add(self, state: State, first_time: int, values: NDArray[np.float64], n_active: int) -> None:
        block, lane = np.divmod(state["path"] % self.chunk_size, values.shape[3])
        state["values"][:, first_time : first_time + values.shape[1]] = values[block, :, :, lane]

    def add_extras(self, state: State, extras: Extras, n_active: int) -> None:
        if self.passed:
            state["passages"] = extras["passages"].reshape(-1)[state["path"] % self.chunk_size]
        if self.counted:
            state["counts"] = extras["step counts"][..., state["path"] % self.chunk_size].transpose(2, 0, 1)

    def merge(self, state: State, other: State) -> None:
        if len(other["path"]):
            state.update({name: np.concatenate([state[name], other[name]]) for name in state})

    def variables(self, state: State, times: NDArray[np.float64], names: tuple[str, ...]) -> Variables:
        dims, d, values = ("path", "time"), self.n_components, state["values"]
        found: Variables = {"path": (("path",), state["path"], {})}
        found["path_value"] = (dims, values[..., 0], {}) if d == 1 else ((*dims, "component"), values[..., :d], {})
        found |= {f"path_{name}": (dims, values[..., d + i], {}) for i, name in enumerate(names[d:])}
        if self.passed:
            clock = {"units": "the equation's own t", "long_name": "first passage time of the path"}
            found["path_passage_time"] = (("path",), state["passages"], clock)
        if self.counted:
            counts: NDArray[Any] = state["counts"].astype(np.int64)
            found["path_steps"] = (dims, counts[..., 0], {"units": "steps"})
            found["path_forced"] = (dims, counts[..., 2], {"units": "intervals"})
        return found
