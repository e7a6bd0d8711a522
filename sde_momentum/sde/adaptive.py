"""Steps as small as each path needs: step doubling on a dyadic Brownian tree (Gaines, Lyons 1997, SIAM J. Appl. Math. 57).

The increment over a root interval of length H is drawn first; the increments over the halves of any interval are
(dW ± sqrt(h) Z) / 2, Z standard normal (Lévy's construction). Z is a hash of seed, path, root and place in the tree, so that the
Brownian path is there before it is looked at: how far one interval is refined changes nothing elsewhere.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import xarray as xr
from numba import njit, types
from numba.core.errors import NumbaError
from numpy.typing import ArrayLike, NDArray

from .. import __version__
from ..core import random
from ..core.errors import InputError, check_integer, check_non_negative, check_one
from ..core.progress import track
from ..core.random import ADAPTIVE, mix
from ..core.simd import cache
from ..core.threads import in_order
from .ensemble import check_common, check_times
from .equation import SDE, Equation, call
from .kernel import Kernel, injected
from .methods import METHODS, Method
from .methods.base import describe
from .noise import path_words
from .observers.base import State
from .observers.moments import Moments
from .solve import check_paths
from .source import KernelText

"""The purpose of these streams, beside those of `dynamics.random`."""
_WORK, _PATHS = 1 << 15, (64, 4096)
"""Root intervals that make a chunk worth its overhead; paths of a chunk, at least and at most."""
_RECORD = 1 << 21
"""Numbers of record held for a chunk."""

Array = NDArray[np.float64]
_U64 = types.uint64
_COLUMNS = types.Array(types.float64, 2, "C")
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@njit(
    types.void(types.uint64, types.uint64, types.int64, types.int64, _COLUMNS),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def node_normals(key: Any, other: Any, root: int, node: int, out: Any) -> None:
    """out (n, 1) <- standard normals, |z| < 6.8, a function of the path's two keys, the root interval and the node alone.

    Node 0: the increment over the root interval; node 2^l + i: the midpoint of part i of its 2^l parts. Box-Muller on two
    32-bit numbers, two normals from a word.
    """
    base = mix(key + _U64(root + 1) * _GOLDEN)
    n = out.shape[0]
    words = (n + 1) // 2
    for j in range(words):
        w = mix(mix(base + _U64(node * words + j + 1) * _GOLDEN) ^ other)
        radius = math.sqrt(-2.0 * math.log((float(w >> _U64(32)) + 0.5) / 4294967296.0))
        angle = (float(w & _U64(0xFFFFFFFF)) + 0.5) * (2.0 * math.pi / 4294967296.0)
        out[2 * j, 0] = radius * math.cos(angle)
        if 2 * j + 1 < n:
            out[2 * j + 1, 0] = radius * math.sin(angle)


@njit(types.void(_COLUMNS, _COLUMNS), cache=True, nogil=True)
def copy(source: Any, target: Any) -> None:
    """target <- source; compiled once, unlike an assignment of arrays."""
    for i in range(source.shape[0]):
        target[i, 0] = source[i, 0]


_TEXT = '''"""Paths on dyadic trees; `advance`, the step of an equation and a method, is there before this is executed."""

import math

import numpy as np
from numba import float64, int64, njit, typeof, types
from sde_momentum.sde.adaptive import copy, node_normals

P = typeof((0.0,) * {n_parameters})
V, M, A = (types.Array(float64, n, "C") for n in (1, 2, 3))


@njit(types.void(types.Array(types.uint64, 2, "C"), V, types.Array(int64, 1, "C"), float64, float64, P, float64, float64,
                 int64, A, A), cache=CACHE, nogil=True, error_model="numpy", fastmath={{"contract"}})
def trees(keys, start, roots, t0, step, p, rtol, atol, depth, out, counts):
    """out (times, dim, paths): X after so many roots; counts (times, 4, paths): steps, steps tried, forced, exits until then.

    A node at `level` is a part h = step / 2^level of a root interval, its numbers z are its increments / sqrt(h).
    """
    x, whole, middle, end = np.empty(({dim}, 1)), np.empty(({dim}, 1)), np.empty(({dim}, 1)), np.empty(({dim}, 1))
    z, right = np.empty((depth, {numbers}, 1)), np.empty((depth, {numbers}, 1))
    first, second, bridge = np.empty(({numbers}, 1)), np.empty(({numbers}, 1)), np.empty(({numbers}, 1))
    extra, none = np.zeros((1, 1)), np.zeros(1)
    for path in range(keys.shape[1]):
        key, other = keys[0, path], keys[1, path]
        for i in range({dim}):
            x[i, 0] = start[i]
        taken, tried, forced, exits, alive, k = 0, 0, 0, 0.0, True, 0
        for m in range(roots.shape[0]):
            while alive and k < roots[m]:
                node_normals(key, other, k, 0, z[0])
                level, node, known = 0, 1, False
                while True:
                    parts = 1 << level
                    h = step / parts
                    t = t0 + (k + (node - parts) / parts) * step
                    node_normals(key, other, k, node, bridge)
                    for i in range({numbers}):  # of variance 1 each, and independent: a rotation
                        first[i, 0] = 0.70710678118654752 * (z[level, i, 0] + bridge[i, 0])
                        second[i, 0] = 0.70710678118654752 * (z[level, i, 0] - bridge[i, 0])
                    if not known:
                        copy(x, whole)
                        advance(whole, z[level], extra, 0, 1, 0, t, h, p, none)
                        tried += 1
                    extra[0, 0] = 0.0
                    copy(x, middle)
                    advance(middle, first, extra, 0, 1, 0, t, 0.5 * h, p, none)
                    copy(middle, end)
                    advance(end, second, extra, 0, 1, 0, t + 0.5 * h, 0.5 * h, p, none)
                    tried += 2
                    close = True
                    for i in range({dim}):
                        allowed = atol + rtol * max(abs(x[i, 0]), abs(end[i, 0]))
                        # NaN and inf are not close to anything
                        if not (abs(end[i, 0] - whole[i, 0]) <= allowed and abs(end[i, 0]) < np.inf):
                            close = False
                    if not close and level < depth - 1:
                        level += 1
                        node *= 2
                        copy(first, z[level])
                        copy(second, right[level])
                        copy(middle, whole)
                        known = True
                        continue
                    taken += 2
                    exits += extra[0, 0]
                    copy(end, x)
                    for i in range({dim}):
                        if not abs(x[i, 0]) < np.inf:
                            alive = False
                    if alive and not close:
                        forced += 1
                    while node > 1 and node & 1:
                        node >>= 1
                        level -= 1
                    if node == 1 or not alive:
                        break
                    node += 1
                    copy(right[level], z[level])
                    known = False
                k += 1
            for i in range({dim}):
                out[m, i, path] = x[i, 0] if alive else np.nan
            counts[m, 0, path], counts[m, 1, path], counts[m, 2, path], counts[m, 3, path] = taken, tried, forced, exits
'''


@lru_cache(maxsize=64)
def _trees(equation: SDE, n_parameters: int) -> Any:
    """The compiled text for an equation; InputError if numba refuses a function."""
    method = _method(equation)
    kernel = Kernel(equation, method, n_parameters)
    step = KernelText(equation, method, n_parameters, {}, None, lanes=1).write(kernel.layout, wide=False)
    step = step.partition("\n\n\n@njit(types.void(M, M, float64, P)")[0]  # only `advance`: the rest takes as long to compile
    names, identity = injected(kernel.functions())
    try:
        module = cache.load(step, names, identity, uses=(random,))
    except NumbaError as error:
        raise kernel.whose_fault(names, error) from error
    text = _TEXT.format(n_parameters=n_parameters, dim=equation.dim, numbers=kernel.layout.numbers)
    uses = (random, sys.modules[__name__])  # the normals
    return cache.load(text, {"advance": module.advance}, None if identity is None else module.__name__, uses).trees


def brownian_keys(seed: int, first: int, n_paths: int) -> NDArray[np.uint64]:
    """The two keys (2, n_paths) of paths first, first + 1, ...: a hash of the seed, plus the path."""
    return np.ascontiguousarray(random.streams(path_words(seed, first, n_paths), ADAPTIVE)[:2])


@dataclass(frozen=True, eq=False)
class _Problem:
    """What every path has in common, checked."""

    trees: Any
    start: Array
    seed: int
    step: float
    t0: float
    parameters: tuple[float, ...]
    instants: Array
    roots: NDArray[np.int64]
    rtol: float
    atol: float
    depth: int

    @property
    def moments(self) -> Moments:
        return Moments(len(self.start))

    @property
    def names(self) -> tuple[str, ...]:
        """The rows of record."""
        return tuple(f"x{i}" for i in range(len(self.start)))

    def chunk(self, first: int, n_paths: int, chosen: NDArray[np.int64]) -> _Sums:
        """Paths first .. first + n_paths - 1, `chosen` of which are kept."""
        n_times, dim = len(self.roots), len(self.start)
        out, counts = np.empty((n_times, dim, n_paths)), np.empty((n_times, 4, n_paths))
        keys = brownian_keys(self.seed, first, n_paths)
        settings = (self.t0, self.step, self.parameters, self.rtol, self.atol, self.depth)
        self.trees(keys, self.start, self.roots, *settings, out, counts)
        state = self.moments.start(self.instants, self.names, 0)
        self.moments.add(state, 0, out[None], n_paths)
        bad = np.isnan(out[:, 0])
        faulty = np.flatnonzero(bad[-1])
        return _Sums(
            state,
            np.stack([counts.sum(axis=2), (counts**2).sum(axis=2), (counts > 0).sum(axis=2)]),
            first + faulty,
            bad[:, faulty].argmax(axis=0),
            out[..., chosen - first].transpose(2, 0, 1),
            counts[..., chosen - first].transpose(2, 0, 1),
        )


@dataclass
class _Sums:
    """What there is of some paths; `counts` (sums, sums of squares, numbers above 0) x (times, 4)."""

    moments: State
    counts: Array
    fault_path: NDArray[np.int64]
    fault_at: NDArray[np.int64]
    values: Array
    path_counts: Array

    def merge(self, other: _Sums) -> None:
        """The counts and the chosen paths of the next chunk."""
        self.counts = self.counts + other.counts
        for name in ("fault_path", "fault_at", "values", "path_counts"):
            if len(getattr(other, name)):
                setattr(self, name, np.concatenate([getattr(self, name), getattr(other, name)]))


def solve_adaptive(
    sde: Equation,
    x0: ArrayLike,
    times: ArrayLike,
    *,
    rtol: float = 1e-3,
    atol: float = 1e-6,
    step: float,
    n_paths: int,
    seed: int = 0,
    parameters: Sequence[float] = (),
    t0: float = 0.0,
    max_depth: int = 12,
    paths: ArrayLike = (),
    workers: int = -1,
    progress: bool | None = None,
) -> xr.Dataset:
    """Mean and variance at `times` over n_paths paths, each with steps of its own size, in step / 2^1 .. step / 2^max_depth.

    Over an interval one step of the base method, to x_one, and two of half its length on the same Brownian path, to x_two;
    if |x_two - x_one| <= atol + rtol max(|x|, |x_two|) in every component, the path goes on from x_two, else each half is
    treated so in turn. The base method is of strong order 1: Milstein, or Euler where the noise is additive. The tolerance is
    one for each step, not for the path: the error at a fixed time falls as its power 0.6 or so, near 1 / steps. Where a path
    needs small steps for a short while, they are several times fewer than steps of one size would be; where it is equally
    rough everywhere they are hardly fewer, and for each one that is kept two or three are computed. A short force that no
    end or middle of a `step` meets is not seen: `step` must find it.

    A step's size is chosen by looking at the increment. That is safe, whatever the rule, where the base method has all terms
    of order dW dW: diagonal noise with b_i of x_i and t alone, scalar noise, or additive noise of any kind (the noise is
    then commutative; else such a rule may converge to another process, Gaines, Lyons 1997). Others are refused.

    Args:
        sde: an Ito `SDE` with diagonal, scalar or (`additive=True`) general noise; b_i is tried at x0 for other components
        x0: a number in dim 1, else (dim,)
        times: increasing, in the equation's own t, each a whole number of `step`s (same unit) after `t0`, (n_time,)
        rtol, atol: tolerance of a step, relative, and absolute in units of x; >= 0, not both 0
        step: the largest interval, the root of a tree
        n_paths, seed: path i has a Brownian path of its own, a function of (seed, i, step) alone: for other tolerances,
            depths, times or equations it is the same
        parameters: p of the equation's functions
        max_depth: the smallest step is step / 2^max_depth, 1 to 48; there the two halves are accepted, and counted (`forced`)
            if they differ, unless the path is faulty there
        paths: numbers of paths that are kept whole, (n_path,)
        workers: threads, -1 for all cores
        progress: a bar with the time left; None: if standard error is a terminal and it takes over two seconds

    Returns:
        Dataset as of `solve` over `time` (and `component`, in dim d > 1): `mean`, `variance` (unbiased), `mean_se`,
        `variance_se`, `faulty`, with `fault_path`, `fault_time`. A path is faulty from where it is not finite, or has left a
        domain whose rule is "fault", even in steps of the smallest size: it is left out from then on. Also, from t0
        until each time: `steps`, the mean number of steps of a path, with `steps_se`; `tried`, of all steps computed (its cost);
        `forced`, of intervals of all paths whose smallest steps missed the tolerance: it should be 0. attrs: `exits` and
        `paths_with_exits`, steps out of the domain, `paths_with_forced`. For `paths`: `path_value`, `path_steps`,
        `path_forced`.

    Results do not depend on `workers`. Raises InputError.

    >>> gbm = SDE(lambda x, t, p: p[0] * x, lambda x, t, p: p[1] * x)
    >>> result = solve_adaptive(gbm, 1.0, [1.0], rtol=1e-3, step=0.25, n_paths=4096, parameters=(0.5, 0.3))
    >>> bool(abs(result["mean"][0] - math.exp(0.5)) < 5 * result["mean_se"][0]), int(result["forced"][0])
    (True, 0)
    """
    method = _method(sde)
    assert isinstance(sde, SDE)
    h, origin, start, p = check_common(sde, x0, step, t0, parameters)
    instants, roots = check_times(times, h, origin)
    n = check_integer(n_paths, "n_paths", 1)
    check_integer(seed, "seed", 0)
    relative, absolute = (check_one(check_non_negative, value, name) for value, name in ((rtol, "rtol"), (atol, "atol")))
    if relative == 0.0 and absolute == 0.0:
        raise InputError("atol", atol, "a number > 0 where rtol is 0")
    if check_integer(max_depth, "max_depth", 1) > 48:
        raise InputError("max_depth", max_depth, "a whole number from 1 to 48")
    chosen = check_paths(paths, n)
    sde.probe(start, origin, p)
    _check_commutative(sde, start, origin, p)
    compiled = _trees(sde, len(p))
    problem = _Problem(compiled, start, seed, h, origin, p, instants, roots, relative, absolute, max_depth)
    size = min(max(_PATHS[0], 1 << (_WORK // (int(roots[-1]) + 1)).bit_length()), _PATHS[1])
    size = max(16, min(size, _RECORD // (len(roots) * (len(start) + 4))))

    def jobs() -> Iterator[Callable[[], _Sums]]:
        for first in range(0, n, size):
            last = min(first + size, n)
            yield partial(problem.chunk, first, last - first, chosen[(chosen >= first) & (chosen < last)])

    total: _Sums | None = None
    with track("paths", n, progress) as advance:
        for part in in_order(jobs(), workers):
            advance(min(size, n))
            if total is None:
                total = part
            else:
                problem.moments.merge(total.moments, part.moments)
                total.merge(part)
    assert total is not None
    return _dataset(sde, problem, method, chosen, n, total)


def _dataset(sde: SDE, problem: _Problem, method: type[Method], chosen: NDArray[np.int64], n: int, total: _Sums) -> xr.Dataset:
    clock, scalar = "the equation's own t", sde.dim == 1
    dims = ("time",) if scalar else ("time", "component")
    instants = problem.instants
    sums, squares, above = total.counts
    variance = np.maximum(squares[:, 0] - sums[:, 0] ** 2 / n, 0.0) / (n - 1) if n > 1 else np.full(len(sums), np.nan)
    variables: dict[str, Any] = dict(problem.moments.variables(total.moments, instants, problem.names))
    variables |= {
        "steps": ("time", sums[:, 0] / n, {"units": "steps a path"}),
        "steps_se": ("time", np.sqrt(variance / n), {"units": "steps a path"}),
        "tried": ("time", sums[:, 1] / n, {"units": "steps a path"}),
        "forced": ("time", sums[:, 2].astype(np.int64), {"units": "intervals of all paths"}),
        "fault_path": ("fault", total.fault_path),
        "fault_time": ("fault", instants[total.fault_at], {"units": clock}),
    }
    if len(chosen):
        values = total.values[..., 0] if scalar else total.values
        variables["path"] = ("path", chosen)
        variables["path_value"] = (("path", *dims), values)
        variables["path_steps"] = (("path", "time"), total.path_counts[..., 0].astype(np.int64), {"units": "steps"})
        variables["path_forced"] = (("path", "time"), total.path_counts[..., 2].astype(np.int64), {"units": "intervals"})
    coordinates: dict[str, Any] = {"time": ("time", instants, {"units": clock})}
    if not scalar:
        coordinates["component"] = np.arange(sde.dim)
    return xr.Dataset(
        variables,
        coords=coordinates,
        attrs={
            "clock": clock,
            "equation": type(sde).__name__,
            "method": f"adaptive {method.name}",
            "interpretation": sde.interpretation,
            "weak_order": method.weak_order,
            "strong_order": method.strong_order,
            "rtol": problem.rtol,
            "atol": problem.atol,
            "step": problem.step,
            "max_depth": problem.depth,
            "t0": problem.t0,
            "x0": problem.start,
            "parameters": np.array(problem.parameters),
            "n_paths": n,
            "seed": problem.seed,
            "version": __version__,
            "faults": "a path that is not finite at a time is left out from that time on",
            "outside": sde.outside if sde.domain is not None else "no domain",
            "exits": int(sums[-1, 3]),
            "paths_with_exits": int(above[-1, 3]),
            "paths_with_forced": int(above[-1, 2]),
        },
    )


def _method(sde: Equation) -> type[Method]:
    """The base method: it must have every term of order dW dW."""
    if isinstance(sde, SDE) and sde.interpretation == "ito":
        if sde.additive:
            return METHODS["euler-maruyama"]
        if sde.noise != "general":
            return METHODS["milstein"]
    given = describe(sde) if isinstance(sde, Equation) else sde
    raise InputError("sde", given, "an Ito SDE with diagonal, scalar or additive noise")


def _check_commutative(sde: SDE, start: Array, t: float, p: tuple[float, ...]) -> None:
    """Diagonal noise: b_i must depend on x_i and t alone; tried at the start."""
    if sde.noise != "diagonal" or sde.additive or sde.dim == 1:
        return
    driven = getattr(sde, "driven", None) or tuple(range(sde.dim))

    def value(x: Array) -> Any:
        b = call("diffusion", sde.diffusion, tuple(map(float, x)), t, p)
        return (b,) if np.isscalar(b) else b

    before = value(start)
    for j in range(sde.dim):
        for shift in (0.125, -0.125):
            after = value(start + shift * (np.arange(sde.dim) == j))
            if before is None or after is None:
                continue
            for i, one, two in zip(driven, before, after, strict=True):
                if i != j and one != two and (one == one or two == two):
                    given = f"b_{i} that depends on x_{j}: {one} and {two}"
                    raise InputError("diffusion", given, "b_i of x_i and t alone: steps that look at dW need commutative noise")
