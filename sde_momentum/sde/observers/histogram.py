"""Histograms: the density in bins of given edges at each time, with standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import intervals
from ...core.arguments import by_annotations
from ...core.compile import njit
from ...core.errors import InputError, check
from ...core.intervals import Estimate
from ...core.moments import good_lanes
from .base import Observer, State, Variables

_CELLS = 4  # cells of the lookup table to a bin: with even edges, a cell holds one edge at most


@by_annotations
@dataclass(frozen=True)
class Histogram(Observer):
    """Histogram at each time of components and functionals, with standard errors.

    The density is p_i / w_i in the bin edges[i] <= x < edges[i + 1] of width w_i, p_i the fraction there of the n good paths.

    `edges` (n_bins + 1,): finite, increasing, in the unit of the row. `row`: the name of one row, or None for every row.
    Standard errors and 95 % intervals are Wilson's (`core.intervals.probability`), also in an empty bin.

    Variables: `density` in 1 / (unit of row); `below` (x < edges[0]) and `above` (x >= edges[-1]), as fractions; each
    with `_se`, `_low` and `_high`; coordinates `bin` (centres), `bin_left`, `bin_right`. Dims (time, row, bin);
    for one row (time, bin), and all names begin with the name of the row: `x_density`, `x_bin`.
    Counts are whole numbers, so merging is exact. Memory: 8 (n_bins + 2) bytes per time and row.
    Raises InputError.
    """

    edges: Sequence[float]
    row: str | None = None

    def __post_init__(self) -> None:
        allowed = "two or more increasing finite numbers"
        edges = check("edges", self.edges, lambda e: np.full(e.shape, True), allowed)
        if edges.ndim != 1 or edges.size < 2 or np.any(np.diff(edges) <= 0):
            raise InputError("edges", self.edges, allowed)
        half = edges[-1] / 2 - edges[0] / 2
        if not 1e-300 < half < 1e300:  # the scale of the lookup table must be a number
            raise InputError("edges", f"half a span of {half:g}", "half a span between 1e-300 and 1e300")
        object.__setattr__(self, "edges", tuple(edges.tolist()))
        if self.row is not None and not isinstance(self.row, str):
            raise InputError("row", self.row, "the name of a row, or None for every row")

    def start(self, times: NDArray[np.float64], names: tuple[str, ...], chunk: int) -> State:
        if self.row is not None and self.row not in names:
            raise InputError("row", self.row, "one of " + ", ".join(names))
        first, rows = (0, len(names)) if self.row is None else (names.index(self.row), 1)
        counts = np.zeros((len(times), rows, len(self.edges) + 1), np.int64)
        return {"counts": counts, "first_row": np.array(first)}

    def add(self, state: State, first_time: int, values: NDArray[np.float64], n_active: int) -> None:
        edges = np.array(self.edges)
        scale = _CELLS * (len(edges) - 1) / (edges[-1] - edges[0])
        cells = ((edges - edges[0]) * scale).astype(np.int64)
        before = np.searchsorted(cells, np.arange(cells[-1] + 2))  # edges in the cells before each
        counts = state["counts"][first_time : first_time + values.shape[1]]
        _count(values, n_active, int(state["first_row"]), edges, scale, before, counts)

    def merge(self, state: State, other: State) -> None:
        state["counts"] = state["counts"] + other["counts"]

    def variables(self, state: State, times: NDArray[np.float64], names: tuple[str, ...]) -> Variables:
        counts, edges = state["counts"], np.array(self.edges)
        share = intervals.probability(counts, counts.sum(axis=-1, keepdims=True))
        prefix = "" if self.row is None else f"{self.row}_"
        dims: tuple[str, ...] = ("time", "row")
        if self.row is not None:
            share, dims = Estimate(*(part[:, 0] for part in share)), ("time",)
        axis, unit, fraction = f"{prefix}bin", {"units": "unit of row"}, {"units": "fraction of the paths"}
        width, per_unit = np.diff(edges), {"units": "1 / unit of row"}
        table: Variables = {
            axis: ((axis,), (edges[:-1] + edges[1:]) / 2, unit),
            f"{prefix}bin_left": ((axis,), edges[:-1], unit),
            f"{prefix}bin_right": ((axis,), edges[1:], unit),
        }
        for name, values in share.named("").items():
            table[f"{prefix}density{name}"] = ((*dims, axis), values[..., 1:-1] / width, per_unit)
            table[f"{prefix}below{name}"] = (dims, values[..., 0], fraction)
            table[f"{prefix}above{name}"] = (dims, values[..., -1], fraction)
        return table if self.row is not None else table | {"row": (("row",), np.array(names), {})}


@njit(cache=True, nogil=True, error_model="numpy")
def _count(values: Any, n_active: int, first_row: int, edges: Any, scale: float, before: Any, counts: Any) -> None:
    """counts (slab, rows, n_edges + 1) += number of paths by the number of edges at or below them, rows from first_row on.

    The same non-decreasing function sends x and the edges to cells: edges in a cell before
    that of x are below it, and only those in its own cell are compared, by bisection without branches, which
    a processor could not predict.
    """
    blocks, slab, _, lanes = values.shape
    good, x = np.empty(lanes), np.empty(lanes)
    below = np.empty(lanes, np.int64)
    most = float(before.shape[0] - 2)
    stride = 1
    while 2 * stride <= np.max(before[1:] - before[:-1]):
        stride *= 2
    padded = np.full(edges.shape[0] + 2 * stride, np.inf)
    padded[: edges.shape[0]] = edges
    for t in range(slab):
        for b in range(blocks):
            good_lanes(values[b, t], n_active - b * lanes, good)
            for i in range(counts.shape[1]):
                for k in range(lanes):
                    x[k] = values[b, t, first_row + i, k] if good[k] > 0.0 else edges[0]
                    below[k] = int(min(max((x[k] - edges[0]) * scale, 0.0), most))
                for k in range(lanes):
                    below[k] = before[np.uint64(below[k])]  # unsigned: an index from the end would cost a test
                step = stride
                while step > 0:
                    for k in range(lanes):
                        below[k] += step * int(padded[np.uint64(below[k] + step - 1)] <= x[k])
                    step >>= 1
                for k in range(lanes):
                    counts[t, i, np.uint64(below[k])] += int(good[k])
