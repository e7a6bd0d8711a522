"""Steps of one size, taken by a compiled kernel, many paths at once in the lanes of vector registers."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ...core.arguments import by_annotations
from ...core.random import WIENER, seed_streams
from ..checks import unstable
from ..methods import Method, method_for
from ..noise import path_words, unseen_at_start
from ..observers import Extras
from ..paths import Paths
from ..task import Array, Task
from .base import PathStepping
from .batched import BatchedPaths

_LEAST, _MOST = 1024, 16384
"""Least and greatest number of paths of a chunk."""
_WORK = {"normal": 1 << 20, "rademacher": 1 << 22}
"""Component-steps of a chunk, enough to be worth its overhead, for each law of the increments: about a millisecond."""
_SLAB = 1 << 20
"""Recorded numbers held at a time for a chunk (8 MiB): the record times are cut into slabs of this size."""

Advance = Callable[[int, NDArray[np.int64], Array, Array, Array], None]
"""(k, steps, x, extra, out): x (blocks, dim, lanes) from step k to the last of `steps`, recorded rows to out."""


@by_annotations
@dataclass(frozen=True, eq=False)
class Fixed(PathStepping):
    """Steps of one size.

    `method`: the name of one of `METHODS` that fits the equation, or a `Method` of your own; None: "euler-maruyama" (Ito),
    "heun" (Stratonovich), "exact" (Ornstein-Uhlenbeck), "obabo" (Langevin). A path's noise depends on (seed, path, step)
    alone. Raises InputError.

    >>> Fixed(0.01, "milstein")
    Fixed(step=0.01, method='milstein')
    """

    step: float
    method: str | type[Method] | None = None

    def paths(self, task: Task) -> Paths:
        return (BatchedPaths if task.equation.batched else FixedPaths)(task, method_for(task.equation, self.method))


class KernelPaths(Paths):
    """Paths stepped in blocks of lanes, in steps of one size; subclasses supply the increments."""

    offers: ClassVar[frozenset[str]] = frozenset({"exits", "passages"})

    @abstractmethod
    def stepper(self, first: int, blocks: int) -> Advance:
        """The function that steps the paths from number `first` on, in blocks of lanes."""

    @cached_property
    def constants(self) -> Array:
        """The method's constants for this step."""
        return self.kernel.constants(self.task.step)

    @cached_property
    def chunk_size(self) -> int:
        """Number of paths of a chunk, a power of two."""
        worth = _WORK[self.kernel.layout.law] // (int(self.task.steps[-1]) * self.task.equation.dim + 1)
        return min(max(self.kernel.lanes if self.small else _LEAST, 1 << worth.bit_length()), _MOST)

    def doubts(self, result: xr.Dataset) -> list[str]:
        task = self.task
        points = [(task.start, task.t0)]
        if np.all(np.isfinite(end := np.atleast_1d(result["mean"].values[-1]))):
            points.append((end, float(task.times[-1])))
        return [*super().doubts(result), *unstable(task, self.method, points)]

    def chunk(self, first: int, n_active: int, see: Callable[[int, Array], None]) -> Extras:
        kernel, task, lanes = self.kernel, self.task, self.kernel.lanes
        blocks = -(-n_active // lanes)
        x = np.ascontiguousarray(task.starts(first, blocks * lanes).reshape(-1, blocks, lanes).transpose(1, 0, 2))
        extra = np.zeros((blocks, max(1, kernel.extras.rows), lanes))
        if kernel.extras.value is not None and kernel.extras.passage is not None and kernel.extras.unseen is not None:
            assert task.statistics.event is not None
            event = task.event_at_start(first, blocks * lanes).reshape(blocks, lanes)
            extra[:, kernel.extras.value] = event
            extra[:, kernel.extras.passage] = np.where(event >= 0, task.t0, np.inf)
            extra[:, kernel.extras.unseen] = unseen_at_start(task.seed, first, blocks * lanes).reshape(blocks, lanes)
        advance, k = self.stepper(first, blocks), 0
        slab = max(1, _SLAB // (kernel.rows * blocks * lanes))
        for t in range(0, len(task.steps), slab):
            steps = task.steps[t : t + slab]
            out = _space("recorded", blocks * len(steps) * kernel.rows * lanes).reshape(blocks, len(steps), kernel.rows, lanes)
            advance(k, steps, x, extra, out)
            k = int(steps[-1])
            see(t, out)
        exits = np.zeros(n_active) if kernel.extras.exits is None else extra[:, kernel.extras.exits].reshape(-1)[:n_active]
        found = {"exits": exits}
        return found if kernel.extras.passage is None else found | {"passages": extra[:, kernel.extras.passage].copy()}


class FixedPaths(KernelPaths):
    """Paths on random increments: path i draws from the stream (seed, i)."""

    def prepare(self) -> None:
        self.kernel.run  # noqa: B018  it is compiled when first used

    def stepper(self, first: int, blocks: int) -> Advance:
        kernel, task, lanes = self.kernel, self.task, self.kernel.lanes
        states, words = np.empty((blocks, 4, lanes), np.uint64), path_words(task.seed, first, blocks * lanes)
        for block in range(blocks):
            seed_streams(words[block * lanes : (block + 1) * lanes], WIENER, states[block])
        z = _space("increments", blocks * kernel.layout.rows * lanes).reshape(blocks, kernel.layout.rows, lanes)

        def advance(k: int, steps: NDArray[np.int64], x: Array, extra: Array, out: Array) -> None:
            kernel.run(x, states, z, extra, k, steps, task.t0, task.step, task.parameters, self.constants, out)

        return advance


_SPACES = threading.local()


def _space(name: str, size: int) -> Array:
    """A buffer of `size` numbers of this thread, reused: new memory pages would cost as much as filling them."""
    room: Array = getattr(_SPACES, name, np.empty(0))
    if len(room) < size:
        room = np.empty(size)
        setattr(_SPACES, name, room)
    return room[:size]
