"""Runs an ensemble in threads, chunk by chunk, and merges the chunks' statistics in their order; with a checkpoint."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .. import __version__
from ..core.errors import InputError
from ..core.files import read_arrays, remove_parts, write_arrays
from ..core.fingerprint import fingerprint
from ..core.progress import track
from ..core.threads import in_order
from .observers import KeptPaths, Moments, Observer, State
from .paths import Paths
from .result import CLOCK, attributes, coordinates, described
from .task import Array

_SAVE_EVERY = 30.0  # seconds
_SHORT = 1 << 21
"""Component-steps that are over before a bar could appear: the thread that would wait for it costs a tenth of a millisecond."""


class Execution(NamedTuple):
    """Options that change no result: threads, progress bar, checkpoint."""

    workers: int
    progress: bool | None
    checkpoint: str | os.PathLike[str] | None


@dataclass
class Collected:
    """Results of the first `n_paths` paths: the state of each observer, the faulty paths, the exits from the domain."""

    states: list[State]
    fault_path: NDArray[np.int64]
    fault_time: Array
    exits: Array
    """Number of steps that left the domain, and number of paths with such steps, (2,)."""
    n_paths: int

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it as arrays by name, for a file."""
        states = {f"{i}.{name}": value for i, state in enumerate(self.states) for name, value in state.items()}
        return states | {name: np.asarray(getattr(self, name)) for name in _OWN}

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]]) -> Collected:
        """The inverse of `arrays`."""
        states: dict[int, State] = {}
        for key in arrays:
            if "." in key:
                i, name = key.split(".", 1)
                states.setdefault(int(i), {})[name] = arrays[key]
        fault_path, fault_time, exits, n_paths = (arrays[name] for name in _OWN)
        return cls([states[i] for i in sorted(states)], fault_path, fault_time, exits, int(n_paths))


_OWN = ("fault_path", "fault_time", "exits", "n_paths")


@dataclass(frozen=True)
class Collection:
    """An ensemble to be run: the source of its paths, and all observers of them."""

    paths: Paths
    observers: Sequence[Observer]

    @classmethod
    def of(cls, paths: Paths) -> Collection:
        """With the requested statistics, moments and step counts; InputError for what these steps cannot give, or give twice."""
        task, requested, observers = paths.task, paths.task.statistics, list[Observer]()
        if requested.kept:
            counted = "step counts" in paths.offers
            observers.append(KeptPaths(requested.kept, task.equation.dim, paths.chunk_size, counted, requested.event is not None))
        observers += requested.observers
        for one in observers:
            if one.needs is not None and one.needs not in paths.offers:
                method = paths.attributes()["method"]
                raise InputError("statistics", one, f"no {one.needs} with {method} steps: Fixed steps give them")
        collection = cls(paths, (Moments(task.equation.dim), *observers, *paths.observers()))
        seen: dict[str, Observer] = {}
        for observer in collection.observers if len(collection.observers) > 1 else ():
            empty = observer.start(task.times, paths.names, 0)
            for name, (dims, _, _) in observer.variables(empty, task.times, paths.names).items():
                if name in seen and dims != (name,):
                    raise InputError("statistics", f"{seen[name]} and {observer}", f"one of them: both give {name!r}")
                seen[name] = observer
        return collection

    def chunk(self, first: int, n_active: int) -> Collected:
        """Run and observe one chunk."""
        paths, times = self.paths, self.paths.task.times
        states = [o.start(times, paths.names, first // paths.chunk_size) for o in self.observers]
        fault = np.full(n_active, np.inf)

        def see(t: int, values: Array) -> None:
            for observer, state in zip(self.observers, states, strict=True):
                observer.add(state, t, values, n_active)
            # a path that is not finite stays so: the last time tells whether there is one
            if not np.isfinite(values[:, -1].sum()):
                bad = ~np.all(np.isfinite(values), axis=2).transpose(0, 2, 1).reshape(-1, values.shape[1])[:n_active]
                np.minimum(fault, np.where(bad.any(axis=1), times[t + bad.argmax(axis=1)], np.inf), out=fault)

        extras = paths.chunk(first, n_active, see)
        if "passages" in extras:
            passages = extras["passages"].reshape(-1)
            late = np.isfinite(fault) & ~(passages[:n_active] <= fault)
            passages[:n_active][late] = np.nan
        for observer, state in zip(self.observers, states, strict=True):
            observer.add_extras(state, extras, n_active)
        exits, faulty = extras["exits"], np.flatnonzero(np.isfinite(fault))
        left = np.array([exits.sum(), np.count_nonzero(exits)])
        return Collected(states, first + faulty, fault[faulty], left, n_active)

    def merge(self, total: Collected | None, part: Collected) -> Collected:
        """Add the next chunk to the paths so far."""
        if total is None:
            return part
        for observer, state, other in zip(self.observers, total.states, part.states, strict=True):
            observer.merge(state, other)
        if len(part.fault_path):
            total.fault_path = np.concatenate([total.fault_path, part.fault_path])
            total.fault_time = np.concatenate([total.fault_time, part.fault_time])
        total.exits = total.exits + part.exits
        total.n_paths += part.n_paths
        return total

    def gather(self, n_paths: int, how: Execution, enough: Callable[[Collected], bool] | None = None) -> Collected:
        """The first n_paths paths, or the first 1, 2, 4, 8, ... chunks that satisfy `enough`."""
        size = self.paths.chunk_size
        file = None if how.checkpoint is None else _Checkpoint(Path(how.checkpoint), self)
        total = None if file is None else file.read()
        begin = 0 if total is None else total.n_paths
        if begin > n_paths or (begin % size and begin < n_paths):
            allowed = f"one of {n_paths} paths, or of fewer that are a multiple of {size}"
            raise InputError("checkpoint", f"{how.checkpoint} of {begin} paths", allowed)

        def done(total: Collected) -> bool:
            chunks = -(-total.n_paths // size)
            return enough is not None and chunks & (chunks - 1) == 0 and enough(total)

        if total is not None and done(total):
            return total

        def jobs() -> Iterator[Callable[[], Collected]]:
            for first in range(begin, n_paths, size):
                yield partial(self.chunk, first, min(size, n_paths - first))

        self.paths.prepare()
        task, saved = self.paths.task, time.monotonic()
        short = how.progress is None and n_paths * int(task.steps[-1]) * task.equation.dim <= _SHORT
        try:
            with track("paths", n_paths, False if short else how.progress) as advance:
                advance(begin)
                for part in in_order(jobs(), how.workers):
                    total = self.merge(total, part)
                    advance(part.n_paths)
                    if done(total):
                        break
                    if file is not None and time.monotonic() - saved > _SAVE_EVERY:
                        file.write(total)
                        saved = time.monotonic()
        finally:  # an interrupted run keeps its finished chunks
            if file is not None and total is not None and total.n_paths > begin:
                file.write(total)
        assert total is not None
        return total

    def result(self, total: Collected) -> xr.Dataset:
        """The labelled Dataset, with units and errors."""
        paths, task = self.paths, self.paths.task
        variables: dict[str, Any] = {}
        if len(total.fault_path):  # a dim of length 0 would leave no row of a table
            variables["fault_path"] = (("fault",), total.fault_path, {"units": "1", "long_name": "number of a lost path"})
            found = {"units": CLOCK, "long_name": "time at which it was found lost"}
            variables["fault_time"] = (("fault",), total.fault_time, found)
        attrs = attributes(task) | paths.attributes()
        attrs |= {"n_paths": total.n_paths, "faults": "a path that is not finite at a time is left out from that time on"}
        attrs |= {"exits": int(total.exits[0]), "paths_with_exits": int(total.exits[1])}
        for observer, state in zip(self.observers, total.states, strict=True):
            variables |= observer.variables(state, task.times, paths.names)
            attrs |= observer.attributes(state)
        return xr.Dataset(described(variables), coords=coordinates(task), attrs=attrs)


class _Checkpoint:
    """A file of an ensemble's paths so far, whose identity is a hash of what the ensemble depends on."""

    def __init__(self, path: Path, collection: Collection) -> None:
        self.path, self.identity = path, _identity(collection)
        if self.identity is None:
            raise InputError("checkpoint", str(path), "none where a coefficient refers to objects whose value cannot be hashed")
        if not path.parent.is_dir():
            raise InputError("checkpoint", str(path), "a file in a folder that exists")

    def read(self) -> Collected | None:
        """The paths in the file, None if there is none. InputError if it is damaged, or another ensemble's."""
        remove_parts(self.path)
        if not self.path.exists():
            return None
        found = read_arrays(self.path)
        if found is None:
            raise InputError("checkpoint", f"{self.path}, which is damaged", "a checkpoint of this ensemble, or no file yet")
        if found[0] != self.identity:
            raise InputError("checkpoint", f"{self.path} of another ensemble", "one of the same equation and arguments")
        return Collected.of(found[1])

    def write(self, total: Collected) -> None:
        """Replace the file atomically."""
        write_arrays(self.path, str(self.identity), total.arrays())


def _identity(collection: Collection) -> str | None:
    """Hash of all that an ensemble depends on but the number of paths; None if a value cannot be hashed."""
    paths, task = collection.paths, collection.paths.task
    given = task.given
    sampler = {} if given is None or given.sampler is None else {"x0": given.sampler}
    functions = fingerprint(paths.functions() | sampler, mutable=True)
    if functions is None:
        return None
    points = None if given is None else given.points
    numbers = (points, task.start, task.times, task.steps, task.seed, task.step, task.t0, task.parameters)
    parts = [functions, __version__, repr(collection.observers)]
    for value in (*numbers, *paths.identity()):
        parts.append(hashlib.sha256(value.tobytes()).hexdigest() if isinstance(value, np.ndarray) else repr(value))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
