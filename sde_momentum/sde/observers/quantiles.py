"""Quantiles at each time, from counts in bins that are narrow at the centre of the distribution and widen away from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.arguments import by_annotations
from ...core.compile import njit
from ...core.errors import InputError, check, check_integer
from ...core.intervals import quantile_ranks
from ...core.moments import good_lanes
from .base import Observer, State, Variables

_SAMPLE = 32  # paths that give a chunk's centre and scale: enough for both, and their sorting costs little
_LEVELS = 64  # a chunk's bins double up to this often: 2^63 times the scale
_NONE = -1100  # level of an empty state, below all others
_LOWEST = -1000  # 2^-level is still a number
_DIGITS = 46  # centre / width < 2^46: indices and edges of bins are exact


@by_annotations
@dataclass(frozen=True)
class Quantiles(Observer):
    """Quantiles at each time of components and functionals, with standard errors.

    x_p with P(X <= x_p) = p, for `probabilities` p in (0, 1), over the n paths that are not faulty.

    Values are counted in dyadic bins [j 2^l, (j + 1) 2^l). A chunk takes as its centre c and scale s the median and
    interquartile range of its first 32 paths that are not faulty (if s = 0: their range, then the chunk's); near c the bins are
    at most s / resolution wide, at a distance d at most d / resolution. When chunks are merged, the coarser of their
    bins is taken everywhere: dyadic bins nest, so this only adds whole numbers, and the result depends on the
    set of chunks only, not on order or grouping.

    Guarantee: `quantile` is in the same bin as the exact quantile (the smallest value with at least p n values at or
    below it), so the two differ by less than the bin's width, which is given as `quantile_resolution`. It is at most
    max(s, d) / resolution, s the largest scale of the chunks, d the distance to the farthest of their centres, or
    2^-45 |c| if that is more. As s and d scale with the spread, a mean far from 0 and heavy
    tails do no harm. Inside its bin a quantile is interpolated, so the error is mostly far smaller. A chunk of a few paths
    may have its centre in a tail: d counts it. A quantile beyond a value that is further than 2^63 s from the centre of
    its chunk is infinite, and so is its resolution.

    `quantile_se`: half the distance between the quantiles at p +- sqrt(p (1 - p) / n) (Woodruff 1952, J. Am. Stat.
    Assoc. 47, 635), which needs no density; NaN where one of them is beyond 0 or 1. `quantile_low`, `quantile_high`: a 95 %
    interval between ordered values, exact for any distribution but for interpolation (`core.intervals.quantile_ranks`);
    infinite where there are too few paths for an end. Variables (time, probability, row), all in the unit of the row. Memory:
    16 (resolution + 1) bytes per level, time and row; levels are 2 to 4 without heavy tails, log2(range / s) with them, at most
    64 in a chunk. For fewer than 2^32 paths. Raises InputError.
    """

    probabilities: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95)
    resolution: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "probabilities", check_probabilities(self.probabilities))
        check_integer(self.resolution, "resolution", 4)

    def start(self, times: NDArray[np.float64], names: tuple[str, ...], chunk: int) -> State:
        shape = len(times), len(names)
        return {
            "centre": np.full((*shape, 2), [np.inf, -np.inf]),  # least and greatest centre of the chunks
            "level": np.full(shape, _NONE),  # of the narrowest bins
            "extremes": np.full((*shape, 2), [np.inf, -np.inf]),  # of the values in bins
            "far": np.zeros((*shape, 2), np.int64),  # paths below and above all bins of their chunk
            "nearest": np.full((*shape, 2), [-np.inf, np.inf]),  # of those: greatest below, least above
            "counts": np.zeros((*shape, 1, 2 * self._half), np.uint32),
        }

    @property
    def _half(self) -> int:
        """Bins of one level on either side of the centre: even, so that a level begins where bins of the next do."""
        return 2 * self.resolution + 2

    def add(self, state: State, first_time: int, values: NDArray[np.float64], n_active: int) -> None:
        slab = slice(first_time, first_time + values.shape[1])
        centre, level, extremes = (state[name][slab] for name in ("centre", "level", "extremes"))
        _survey(values, n_active, self.resolution, self._half, centre, level, extremes)
        self._grow(state, _levels_needed(centre, level, extremes, self._half))
        _count(values, n_active, centre, level, extremes, state["counts"][slab], state["far"][slab], state["nearest"][slab])

    def _grow(self, state: State, levels: int) -> None:
        counts = state["counts"]
        if levels > counts.shape[2]:
            state["counts"] = np.zeros((*counts.shape[:2], levels, counts.shape[3]), np.uint32)
            state["counts"][:, :, : counts.shape[2]] = counts

    def merge(self, state: State, other: State) -> None:
        def outer(name: str, ends: tuple[Any, Any]) -> NDArray[np.float64]:
            return np.stack([end(state[name][..., k], other[name][..., k]) for k, end in enumerate(ends)], axis=-1)

        centre, extremes = (outer(name, (np.minimum, np.maximum)) for name in ("centre", "extremes"))
        nearest, far = outer("nearest", (np.maximum, np.minimum)), state["far"] + other["far"]
        level = np.maximum(state["level"], other["level"])
        levels = _levels_needed(centre, level, extremes, self._half)
        counts = np.zeros((*level.shape, levels, 2 * self._half), np.uint32)
        for part in (state, other):
            _rebin(part["centre"], part["level"], part["counts"], centre, level, counts)
        state.update(centre=centre, level=level, extremes=extremes, counts=counts, far=far, nearest=nearest)

    def variables(self, state: State, times: NDArray[np.float64], names: tuple[str, ...]) -> Variables:
        p = np.array(self.probabilities)
        n_times, rows = state["level"].shape
        found = np.empty((5, n_times, len(p), rows))
        for t in range(n_times):
            for i in range(rows):
                n = int(state["counts"][t, i].sum(dtype=np.int64) + state["far"][t, i].sum())
                found[:, t, :, i] = with_errors(state, t, i, p, n)
        dims, unit = ("time", "probability", "row"), {"units": "unit of row"}
        bound = f"at most 1/{self.resolution} of the larger of the scale and the distance from the centre"
        return {
            "row": (("row",), np.array(names), {}),
            "probability": (("probability",), p, {"units": "1"}),
            "quantile": (dims, found[0], unit),
            "quantile_se": (dims, found[1], unit),
            "quantile_low": (dims, found[3], unit),
            "quantile_high": (dims, found[4], unit),
            "quantile_resolution": (dims, found[2], unit | {"long_name": "bound on the error of counting", "bound": bound}),
        }


def check_probabilities(probabilities: Sequence[float]) -> tuple[float, ...]:
    """Increasing numbers in (0, 1), one at least."""
    allowed = "increasing numbers in (0, 1), one at least"
    p = np.atleast_1d(check("probabilities", probabilities, lambda a: (a > 0) & (a < 1), allowed))
    if p.ndim != 1 or p.size == 0 or np.any(np.diff(p) <= 0):
        raise InputError("probabilities", probabilities, allowed)
    return tuple(p.tolist())


def with_errors(state: State, t: int, i: int, p: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Quantile, standard error, width of the bin, and the ends of the interval (5, len(p)), of n paths.

    Those not counted lie above all others.
    """
    if n == 0:
        return np.full((5, len(p)), np.nan)
    reach = np.sqrt(p * (1 - p) / n)
    rank = np.array([quantile_ranks(one, n) for one in p.tolist()]).T
    whole = np.floor(rank)
    ordered = (np.concatenate([whole, whole + 1]) - 0.5) / n  # the middles of the values' own shares
    values, widths = _inverse(state, t, i, np.concatenate([[p, p - reach, p + reach], ordered]), n)
    value, low, high = values[:3]
    with np.errstate(invalid="ignore"):  # inf - inf
        error = np.where((p - reach >= 0) & (p + reach <= 1), (high - low) / 2, np.nan)
        ends = values[3:5] + (rank - whole) * (values[5:7] - values[3:5])
    ends = np.where(rank < 1, -np.inf, np.where((rank > n) | np.isnan(ends), np.inf, ends))
    return np.stack([value, error, widths[0], *ends])


def _inverse(state: State, t: int, i: int, p: NDArray[np.float64], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The values below which p n of the n paths lie, interpolated in the bin, and the bin's width."""
    counts, level, (first, last) = state["counts"][t, i], int(state["level"][t, i]), state["centre"][t, i]
    low = np.array([_window(first, last, level + k, counts.shape[1] // 2)[0] for k in range(len(counts))])
    k, slot = np.nonzero(counts)
    left = np.ldexp((low[k] + slot).astype(float), level + k)
    order = np.argsort(left)
    smallest, largest = state["extremes"][t, i]
    right = np.minimum(left + np.ldexp(1.0, level + k), largest)[order]
    left, inside = np.maximum(left, smallest)[order], counts[k, slot][order].astype(float)
    below, above = state["nearest"][t, i]  # bins that they might be in are no longer known to be in order
    left, right = np.where(left < below, -np.inf, left), np.where(right > above, np.inf, right)
    edges = np.concatenate([[-np.inf], left, [np.inf]]), np.concatenate([[-np.inf], right, [np.inf]])
    upto = state["far"][t, i, 0] + np.concatenate([[0.0], np.cumsum(inside)])
    bin_ = np.searchsorted(upto, np.maximum(p * n, 0.5))  # the first with so many paths up to its end
    with np.errstate(invalid="ignore"):
        width = np.where((bin_ > 0) & (bin_ < len(upto)), edges[1][bin_] - edges[0][bin_], np.inf)
        infinite = np.where(np.isinf(edges[0][bin_]), edges[0][bin_], edges[1][bin_])
        share = (p * n - upto[np.maximum(bin_ - 1, 0)]) / np.concatenate([[1.0], inside, [1.0]])[bin_]
        return np.where(np.isfinite(width), edges[0][bin_] + np.clip(share, 0, 1) * width, infinite), width


@njit(cache=True, nogil=True, error_model="numpy")
def _index(x: float, level: int) -> int:
    """floor(x / 2^level), cut to 62 bits."""
    scaled = min(max(math.ldexp(x, -level), -(2.0**62)), 2.0**62)
    return -1 if scaled == 0.0 and x < 0.0 else math.floor(scaled)  # a tiny x < 0 must not become 0


@njit(cache=True, nogil=True, error_model="numpy")
def _window(first_centre: float, last_centre: float, level: int, half: int) -> tuple[int, int]:
    """Indices [low, high) of the bins of this level, unless a narrower level has them; perhaps empty.

    The intersection of the windows of `half` bins on either side of each centre. Both ends are even, thus ends of
    bins of the next level, and the windows of wider levels hold those of narrower ones.
    """
    return 2 * _index(last_centre, level + 1) - half, 2 * _index(first_centre, level + 1) + half


@njit(cache=True, nogil=True, error_model="numpy")
def _survey(values: Any, n_active: int, resolution: int, half: int, centre: Any, level: Any, extremes: Any) -> None:
    """Centre, level and extremes of the values of a chunk, at each time and row of a slab."""
    blocks, slab, rows, lanes = values.shape
    good = np.empty(lanes)
    lows, highs = np.empty((rows, lanes)), np.empty((rows, lanes))
    sample = np.empty((rows, _SAMPLE))
    for t in range(slab):
        lows[:], highs[:] = np.inf, -np.inf
        n = 0
        for b in range(blocks):
            good_lanes(values[b, t], n_active - b * lanes, good)
            for i in range(rows):
                for k in range(lanes):
                    x = values[b, t, i, k]
                    low = x if good[k] > 0.0 else np.inf
                    high = x if good[k] > 0.0 else -np.inf
                    lows[i, k] = low if low < lows[i, k] else lows[i, k]
                    highs[i, k] = high if high > highs[i, k] else highs[i, k]
            for k in range(lanes):
                if n == _SAMPLE:
                    break
                if good[k] > 0.0:
                    for i in range(rows):
                        sample[i, n] = values[b, t, i, k]
                    n += 1
        if n == 0:
            continue
        for i in range(rows):
            low, high = np.inf, -np.inf
            for k in range(lanes):
                low, high = min(low, lows[i, k]), max(high, highs[i, k])
            s = sample[i]
            for a in range(1, n):  # insertion: few numbers
                v, b = s[a], a
                while b > 0 and s[b - 1] > v:
                    s[b] = s[b - 1]
                    b -= 1
                s[b] = v
            scale = s[3 * n // 4] - s[n // 4]
            if scale == 0.0:
                scale = s[n - 1] - s[0]
            if scale == 0.0:
                scale = high - low
            c = s[n // 2]
            least = _LOWEST if c == 0.0 else max(_LOWEST, math.frexp(c)[1] - _DIGITS)
            finest = math.frexp(min(scale, 1e308) / resolution)[1] - 1 if scale > 0.0 else least
            level[t, i] = max(least, finest)
            centre[t, i] = c
            first, last = _window(c, c, level[t, i] + _LEVELS - 1, half)
            first_edge = math.ldexp(float(first), level[t, i] + _LEVELS - 1)
            last_edge = math.ldexp(float(last), level[t, i] + _LEVELS - 1)
            if low < first_edge or high >= last_edge:  # some are beyond all bins
                low, high = np.inf, -np.inf
                for b in range(blocks):
                    good_lanes(values[b, t], n_active - b * lanes, good)
                    for k in range(lanes):
                        x = values[b, t, i, k]
                        if good[k] > 0.0 and first_edge <= x < last_edge:
                            low, high = min(low, x), max(high, x)
            extremes[t, i, 0], extremes[t, i, 1] = low, high


@njit(cache=True, nogil=True, error_model="numpy")
def _levels_needed(centre: Any, level: Any, extremes: Any, half: int) -> int:
    """Levels from the narrowest on until all values have a bin, the most of any time and row."""
    most = 1
    for t in range(level.shape[0]):
        for i in range(level.shape[1]):
            if extremes[t, i, 0] <= extremes[t, i, 1]:
                k = most - 1
                while True:
                    first, last = _window(centre[t, i, 0], centre[t, i, 1], level[t, i] + k, half)
                    low, high = _index(extremes[t, i, 0], level[t, i] + k), _index(extremes[t, i, 1], level[t, i] + k)
                    if first <= low and high < last:
                        break
                    k += 1
                most = max(most, k + 1)
    return most


@njit(cache=True, nogil=True, error_model="numpy")
def _count(values: Any, n_active: int, centre: Any, level: Any, extremes: Any, counts: Any, far: Any, nearest: Any) -> None:
    """counts (slab, rows, levels, 2 half), far and nearest (slab, rows, 2) of a chunk, at each time and row of a slab."""
    blocks, slab, rows, lanes = values.shape
    levels, half = counts.shape[2], counts.shape[3] // 2
    good = np.empty((blocks, lanes))
    first = np.empty(levels, np.int64)
    low, high, inverse = np.empty(levels), np.empty(levels), np.empty(levels)
    x, inside, at = np.empty(lanes), np.empty(lanes), np.empty(lanes, np.int64)
    for t in range(slab):
        n = 0.0
        for b in range(blocks):
            n += good_lanes(values[b, t], n_active - b * lanes, good[b])
        if n == 0.0:
            continue
        for i in range(rows):
            for m in range(levels):
                first[m], last = _window(centre[t, i, 0], centre[t, i, 1], level[t, i] + m, half)
                low[m] = math.ldexp(float(first[m]), level[t, i] + m)
                high[m] = math.ldexp(float(last), level[t, i] + m)
                inverse[m] = math.ldexp(1.0, -(level[t, i] + m))
            smallest, largest, below, above = extremes[t, i, 0], extremes[t, i, 1], 0, 0
            for b in range(blocks):
                # a value's level is the number of windows that it is outside of: no branches, which are unpredictable
                for k in range(lanes):
                    v = values[b, t, i, k] if good[b, k] > 0.0 else smallest
                    x[k] = min(max(v, smallest), largest)
                    inside[k] = good[b, k] if v == x[k] else 0.0
                    below += int(v < smallest)
                    above += int(v > largest)
                    at[k] = 0
                for m in range(levels - 1):
                    outside = 0
                    for k in range(lanes):
                        out = int(x[k] < low[m]) | int(x[k] >= high[m])
                        at[k] += out
                        outside += out
                    if outside == 0:
                        break
                for k in range(lanes):
                    own = np.uint64(at[k])  # unsigned: an index from the end would cost a test
                    scaled = x[k] * inverse[own]
                    j = math.floor(scaled) - (int(scaled == 0.0) & int(x[k] < 0.0))
                    counts[t, i, own, np.uint64(j - first[own])] += np.uint32(inside[k])
            far[t, i, 0], far[t, i, 1] = below, above
            if below + above > 0:
                for b in range(blocks):
                    for k in range(lanes):
                        v = values[b, t, i, k]
                        if good[b, k] > 0.0 and v < smallest:
                            nearest[t, i, 0] = max(nearest[t, i, 0], v)
                        if good[b, k] > 0.0 and v > largest:
                            nearest[t, i, 1] = min(nearest[t, i, 1], v)


@njit(cache=True, nogil=True, error_model="numpy")
def _rebin(centre: Any, level: Any, counts: Any, new_centre: Any, new_level: Any, new_counts: Any) -> None:
    """new_counts += counts, sent to the wider bins of the new centres and level."""
    half = counts.shape[3] // 2
    levels, new_levels = counts.shape[2], new_counts.shape[2]
    first, last = np.empty(new_levels, np.int64), np.empty(new_levels, np.int64)
    for t in range(level.shape[0]):
        for i in range(level.shape[1]):
            if level[t, i] == _NONE:
                continue
            same = centre[t, i, 0] == new_centre[t, i, 0] and centre[t, i, 1] == new_centre[t, i, 1]
            if same and level[t, i] == new_level[t, i]:
                for k in range(min(levels, new_levels)):  # any further levels are empty here
                    for slot in range(2 * half):
                        new_counts[t, i, k, slot] += counts[t, i, k, slot]
                continue
            for m in range(new_levels):
                first[m], last[m] = _window(new_centre[t, i, 0], new_centre[t, i, 1], new_level[t, i] + m, half)
            for k in range(levels):
                own = level[t, i] + k
                start = _window(centre[t, i, 0], centre[t, i, 1], own, half)[0]
                for slot in range(2 * half):
                    if counts[t, i, k, slot] > 0:
                        m = max(own - new_level[t, i], 0)
                        j = (start + slot) >> min(new_level[t, i] + m - own, 62)  # all is shifted out before 62
                        while j < first[m] or j >= last[m]:
                            j >>= 1
                            m += 1
                        new_counts[t, i, m, j - first[m]] += counts[t, i, k, slot]
