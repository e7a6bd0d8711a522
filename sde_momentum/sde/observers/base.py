"""The contract of a statistic that is computed while paths run: sums over chunks of paths, which are merged.

Results are the same bit for bit for any threads, slabs of time, and order or grouping of the merges: counts are
whole numbers, and floating-point sums of chunks are joined along a fixed binary tree (`merge_nodes`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

State = dict[str, NDArray[Any]]
"""A statistic's sums so far, as plain arrays that a checkpoint can store."""

Extras = dict[str, NDArray[Any]]
"""Numbers of a chunk's paths beside the recorded rows, known at the end of the chunk, by name:

"passages" (blocks, lanes): first-passage times of the event; inf: not passed by the end; NaN: faulty before
"exits" (n_active,): steps of each path that left the domain
"step counts" (n_times, 4, n_active): steps, steps computed, forced intervals, exits of each path from t0 to each time
"""

Variables = dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]]
"""name: (dims, values, attrs), for an xarray.Dataset; a name that is its own only dim is a coordinate."""


class Statistic:
    """A statistic of an ensemble: an entry of the list `statistics` of `solve`."""


class Observer(Statistic, ABC):
    """A statistic computed while the paths run: immutable, checked when it is made. Its numbers are in states.

    A row is a number recorded of every path: a component, or a functional. A chunk is a range of consecutive paths, which one
    thread runs; chunks are numbered from 0. A slab holds its rows at a few consecutive record times: `values` (blocks, n_slab,
    rows, lanes), float64, C-contiguous, path block * lanes + lane of the chunk, at the times first_time, first_time + 1, ...
    Only the first `n_active` paths are real, the others padding. Each time of a chunk is added once. A path with a row that is
    not finite at a time is faulty there and left out of all rows at that time.

    Threads may fill different states at the same time.
    """

    needs: ClassVar[str | None] = None
    """The name in `Extras` that it requires; None: none."""

    @abstractmethod
    def start(self, times: NDArray[np.float64], names: tuple[str, ...], chunk: int) -> State:
        """The empty state of chunk number `chunk`: record `times` (n_times,), `names` of the rows.

        Raises InputError if the observer asks for a row that is not there.
        """

    @abstractmethod
    def add(self, state: State, first_time: int, values: NDArray[np.float64], n_active: int) -> None:
        """Add a slab of the chunk to its state."""

    def add_extras(self, state: State, extras: Extras, n_active: int) -> None:
        """Add the chunk's `Extras`: once per chunk, after its last time."""

    @abstractmethod
    def merge(self, state: State, other: State) -> None:
        """state <- state with the chunks of `other`, which holds other chunks and stays as it is."""

    @abstractmethod
    def variables(self, state: State, times: NDArray[np.float64], names: tuple[str, ...]) -> Variables:
        """The statistics of all chunks merged, with their standard errors."""

    def attributes(self, state: State) -> dict[str, Any]:
        """Single numbers for the result's attrs."""
        return {}


def leaf(chunk: int, arrays: Mapping[str, NDArray[Any]]) -> State:
    """The state of one chunk for `merge_nodes`: each array with a first axis of one node."""
    return {"node": np.array([[0, chunk]])} | {name: array[None] for name, array in arrays.items()}


Join = Callable[[State, State], State]


def merge_nodes(state: State, other: State, join: Join) -> None:
    """Unite the nodes of two states, and join siblings until none are left.

    The node (level, index) holds the chunks from index * 2^level on, 2^level of them. Which nodes are left, and from
    which joins, follows from the set of the chunks alone: so rounding does not depend on the order or grouping of
    the merges, and it grows with the logarithm of their number (pairwise summation; Higham 2002, sec. 4.2). A prefix
    of n chunks has at most log2(n) + 1 nodes.
    """
    nodes = _nodes(state) | _nodes(other)
    pending = list(nodes)
    while pending:
        level, index = pending.pop()
        pair = (level, index & ~1), (level, index | 1)
        if pair[0] in nodes and pair[1] in nodes:
            nodes[level + 1, index >> 1] = join(nodes.pop(pair[0]), nodes.pop(pair[1]))
            pending.append((level + 1, index >> 1))
    order = sorted(nodes, key=lambda node: node[1] << node[0])
    state.update({name: np.stack([nodes[key][name] for key in order]) for name in state if name != "node"})
    state["node"] = np.array(order)


def total(state: State, join: Join) -> State:
    """All nodes joined, in the order of the chunks."""
    first, *rest = _nodes(state).values()
    for node in rest:
        first = join(first, node)
    return first


def _nodes(state: State) -> dict[tuple[int, int], State]:
    keys = [(int(level), int(index)) for level, index in state["node"]]
    return {key: {name: state[name][m] for name in state if name != "node"} for m, key in enumerate(keys)}
