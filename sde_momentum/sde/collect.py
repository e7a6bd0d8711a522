"""An ensemble's chunks, run by threads and merged in their order: with progress, and a checkpoint to go on from."""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..core.errors import InputError
from ..core.progress import track
from ..core.threads import in_order
from .ensemble import Array, Run
from .fingerprint import fingerprint
from .observers import Observer, State

_SAVE_EVERY = 30.0  # seconds


@dataclass
class Collected:
    """What there is of the first `n_paths` paths: one state for each observer, the chosen paths, the faults and the exits."""

    states: list[State]
    chosen: Array
    """(chosen paths, times, rows)."""
    fault_path: NDArray[np.int64]
    fault_time: Array
    exits: Array
    """Steps that left the domain, paths that did."""
    n_paths: int

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it, by name."""
        states = {f"{i}.{name}": value for i, state in enumerate(self.states) for name, value in state.items()}
        return states | {name: np.asarray(getattr(self, name)) for name in _OWN}

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]]) -> Collected:
        """From `arrays`."""
        states: dict[int, State] = {}
        for key in arrays:
            if "." in key:
                i, name = key.split(".", 1)
                states.setdefault(int(i), {})[name] = arrays[key]
        chosen, fault_path, fault_time, exits, n_paths = (arrays[name] for name in _OWN)
        return cls([states[i] for i in sorted(states)], chosen, fault_path, fault_time, exits, int(n_paths))


_OWN = ("chosen", "fault_path", "fault_time", "exits", "n_paths")


@dataclass(frozen=True)
class Collection:
    """What is asked of an ensemble: the observers and the numbers of the paths that are kept whole, increasing."""

    run: Run
    observers: Sequence[Observer]
    chosen: NDArray[np.int64]

    def chunk(self, first: int, n_active: int) -> Collected:
        """One chunk alone."""
        run, kernel = self.run, self.run.kernel
        here = self.chosen[(self.chosen >= first) & (self.chosen < first + n_active)] - first
        chosen = np.empty((len(here), len(run.steps), kernel.rows))
        states = [o.start(run.instants, kernel.row_names, first // run.chunk_size) for o in self.observers]
        fault = np.full(n_active, np.inf)

        def see(t: int, values: Array) -> None:
            for observer, state in zip(self.observers, states, strict=True):
                observer.add(state, t, values, n_active)
            if len(here):
                chosen[:, t : t + values.shape[1]] = values[here // kernel.lanes, :, :, here % kernel.lanes]
            # a path that is not finite stays so: the last time tells whether there is any
            if not np.isfinite(values[:, -1].sum()):
                bad = ~np.all(np.isfinite(values), axis=2).transpose(0, 2, 1).reshape(-1, values.shape[1])[:n_active]
                np.minimum(fault, np.where(bad.any(axis=1), run.instants[t + bad.argmax(axis=1)], np.inf), out=fault)

        extra = run.chunk(first, n_active, see)
        if kernel.extras.passage is not None:
            passage = extra[:, kernel.extras.passage].reshape(-1).copy()
            late = np.isfinite(fault) & ~(passage[:n_active] <= fault)
            passage[:n_active][late] = np.nan
            for observer, state in zip(self.observers, states, strict=True):
                if observer.needs_passages:
                    observer.add_passages(state, passage.reshape(-1, kernel.lanes), n_active)
        exits = extra[:, kernel.extras.exits].reshape(-1)[:n_active] if kernel.extras.exits is not None else np.zeros(1)
        faulty = np.flatnonzero(np.isfinite(fault))
        return Collected(
            states, chosen, first + faulty, fault[faulty], np.array([exits.sum(), np.count_nonzero(exits)]), n_active
        )

    def merge(self, total: Collected | None, part: Collected) -> Collected:
        """The paths so far and the next chunk's."""
        if total is None:
            return part
        for observer, state, other in zip(self.observers, total.states, part.states, strict=True):
            observer.merge(state, other)
        for name in ("chosen", "fault_path", "fault_time"):
            if len(getattr(part, name)):
                setattr(total, name, np.concatenate([getattr(total, name), getattr(part, name)]))
        total.exits = total.exits + part.exits
        total.n_paths += part.n_paths
        return total

    def gather(
        self,
        n_paths: int,
        *,
        workers: int,
        progress: bool | None,
        checkpoint: str | os.PathLike[str] | None,
        enough: Callable[[Collected], bool] | None = None,
    ) -> Collected:
        """The first n_paths paths; `enough` is asked after 4, 8, 16, ... chunks whether they will do already."""
        size = self.run.chunk_size
        file = None if checkpoint is None else _Checkpoint(Path(checkpoint), self)
        total = None if file is None else file.read()
        begin = 0 if total is None else total.n_paths
        if begin > n_paths or (begin % size and begin < n_paths):
            raise InputError(
                "checkpoint", f"{checkpoint} of {begin} paths", f"one of an ensemble of at most {n_paths}, in whole chunks"
            )

        def jobs() -> Iterator[Callable[[], Collected]]:
            for first in range(begin, n_paths, size):
                yield partial(self.chunk, first, min(size, n_paths - first))

        self.run.kernel.run  # noqa: B018  compiled before the threads ask for it
        saved = time.monotonic()
        try:
            with track("paths", n_paths, progress) as advance:
                advance(begin)
                for part in in_order(jobs(), workers):
                    total = self.merge(total, part)
                    advance(part.n_paths)
                    chunks = -(-total.n_paths // size)
                    if enough is not None and chunks >= 4 and chunks & (chunks - 1) == 0 and enough(total):
                        break
                    if file is not None and time.monotonic() - saved > _SAVE_EVERY:
                        file.write(total)
                        saved = time.monotonic()
        finally:  # whoever stops the run keeps what is done
            if file is not None and total is not None and total.n_paths > begin:
                file.write(total)
        assert total is not None
        return total


class _Checkpoint:
    """The sums so far, in an .npz file without pickles; it fits one ensemble alone."""

    def __init__(self, path: Path, collection: Collection) -> None:
        self.path, self.identity = path, _identity(collection)
        if self.identity is None:
            raise InputError("checkpoint", str(path), "none where a coefficient refers to objects whose value cannot be told")
        if not path.parent.is_dir():
            raise InputError("checkpoint", str(path), "a file in a folder that exists")

    def read(self) -> Collected | None:
        """What the file holds, if there is one."""
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InputError("checkpoint", f"{self.path} ({error})", "a checkpoint of this ensemble, or no file yet") from None
        if str(arrays.get("identity")) != self.identity:
            raise InputError("checkpoint", f"{self.path} of another ensemble", "one of the same equation and arguments")
        return Collected.of(arrays)

    def write(self, total: Collected) -> None:
        """All or nothing."""
        temporary = self.path.with_name(self.path.name + ".tmp")
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, identity=np.array(self.identity), **total.arrays())
        os.replace(temporary, self.path)


def _identity(collection: Collection) -> str | None:
    """What must be the same for a run to go on: everything but the number of paths."""
    run = collection.run
    functions = fingerprint(run.kernel.functions())
    if functions is None:
        return None
    values = (run.start, run.instants, run.steps, run.kernel.constants(run.h), collection.chosen)
    parts = [functions, run.kernel.text, __version__, repr((run.seed, run.h, run.t0, run.parameters, collection.observers))]
    parts += [hashlib.sha256(value.tobytes()).hexdigest() for value in values]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
