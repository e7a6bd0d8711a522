"""Multilevel Monte Carlo: an expectation to a wanted error, most of it from coarse steps (Giles 2008, Oper. Res. 56).

E[P_L] = E[P_0] + sum_{l=1}^{L} E[P_l - P_{l-1}], P_l = f(X_T) with the step 2^-l of the coarsest. Both paths of a difference
follow one Brownian path, so that its variance falls with l, and with it the number of fine paths that are needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from .. import __version__
from ..core import random
from ..core.errors import InputError, check_integer, check_one, check_positive
from ..core.progress import track
from ..core.random import MULTILEVEL
from ..core.simd import cache
from ..core.threads import in_order
from .ensemble import check_common
from .equation import Coefficient, Equation, call
from .kernel import Kernel, compiled
from .methods import METHODS, Method
from .methods.base import describe
from .noise import path_words

_BIAS_SHARE = 0.25
"""Part of error^2 that the bias may take: little, as halving it costs one more level, of few paths (Giles 2015, sec. 2)."""
_PILOT = 1024
"""Paths of a level before anything is decided from their variance."""
_WORK = 1 << 15
"""Component-steps that make a chunk worth its overhead."""
_PATHS = 16384
"""Paths of a chunk, at most."""

Array = NDArray[np.float64]

_TEXT = '''"""Pairs of paths on one Brownian path; `advance` and `look` of an equation are there before this is executed."""

import numpy as np
from numba import boolean, float64, int64, njit, typeof, types
from sde_momentum.core.random import fill_normal

P = typeof((0.0,) * {n_parameters})
V, A, B = (types.Array(float64, n, "C") for n in (1, 3, 4))


@njit(types.void(B, types.Array(types.uint64, 3, "C"), A, boolean, int64, float64, float64, P, V, V, B),
      cache=CACHE, nogil=True, error_model="numpy", fastmath={{"contract"}})
def pairs(x, states, extra, paired, n_steps, t0, h, p, c_fine, c_coarse, out):
    """x (2, blocks, dim, lanes): fine paths, n_steps steps of h, and, if `paired`, coarse ones, half as many of 2 h."""
    z, sums = np.empty(({buffer} * {numbers}, {lanes})), np.empty(({buffer} // 2 * {numbers}, {lanes}))
    for block in range(x.shape[1]):
        for k in range(0, n_steps, {buffer}):
            n = min({buffer}, n_steps - k)
            fill_normal(states[block], z[: n * {numbers}])
            advance(x[0, block], z, extra[0], 0, n, k, t0, h, p, c_fine)
            if paired:
                for j in range(n // 2):
                    for i in range({numbers}):
                        for m in range({lanes}):
                            both = z[2 * j * {numbers} + i, m] + z[(2 * j + 1) * {numbers} + i, m]
                            sums[j * {numbers} + i, m] = 0.70710678118654752 * both  # of variance 1, as advance expects
                advance(x[1, block], sums, extra[1], 0, n // 2, k // 2, t0, 2.0 * h, p, c_coarse)
        for which in range(x.shape[0]):
            look(x[which, block], out[which, block], t0 + n_steps * h, p)
'''


@lru_cache(maxsize=64)
def _pairs(kernel: Kernel) -> Any:
    """The compiled text for an equation, a method and a functional."""
    module = kernel.module
    numbers = kernel.layout.numbers
    text = _TEXT.format(
        n_parameters=kernel.n_parameters, lanes=kernel.lanes, numbers=numbers, buffer=max(2, 16 // numbers // 2 * 2)
    )
    identity = module.__name__ if module.CACHE else None
    return cache.load(text, {"advance": module.advance, "look": module.look}, identity, uses=(random,)).pairs


@dataclass
class _Level:
    """What is known of P_l - P_{l-1}: the pairs so far, the mean, the sum of squares about it."""

    index: int
    n_steps: int
    chunk: int
    n_paths: int = 0
    count: int = 0
    mean: float = math.nan
    squares: float = math.nan
    exits: float = 0.0

    @property
    def cost(self) -> float:
        """Steps of a pair."""
        return self.n_steps * (1.5 if self.index else 1.0)

    @property
    def variance(self) -> float:
        return self.squares / (self.count - 1) if self.count > 1 else math.nan

    def add(self, count: int, mean: float, squares: float, exits: float) -> None:
        """One more chunk (Chan, Golub, LeVeque 1983, Am. Stat. 37)."""
        self.n_paths += self.chunk
        self.exits += exits
        if count == 0:
            return
        if self.count == 0:
            self.count, self.mean, self.squares = count, mean, squares
            return
        total, d = self.count + count, mean - self.mean
        self.squares += squares + d * d * self.count * count / total
        self.mean += d * count / total
        self.count = total


@dataclass(frozen=True, eq=False)
class _Problem:
    """What all levels have in common, checked."""

    kernel: Kernel
    start: Array
    seed: int
    h: float
    t0: float
    n_steps: int
    parameters: tuple[float, ...]

    def level(self, index: int) -> _Level:
        n_steps, lanes = self.n_steps << index, self.kernel.lanes
        worth = 1 << (_WORK // (n_steps * len(self.start))).bit_length()
        return _Level(index, n_steps, min(max(worth, lanes), _PATHS))

    def differences(self, level: int, n_steps: int, first: int, n_paths: int) -> tuple[Array, Array]:
        """Rows (components, then f) at the end of paths first, ...: (fine, coarse) x (rows, n_paths); and the exits."""
        kernel, lanes, p = self.kernel, self.kernel.lanes, self.parameters
        blocks, which, h = n_paths // lanes, 2 if level else 1, math.ldexp(self.h, -level)
        states = random.streams(path_words(self.seed, first, n_paths, (level,)), MULTILEVEL)
        x = np.empty((which, blocks, len(self.start), lanes))
        x[:] = self.start[:, None]
        extra = np.zeros((which, max(1, kernel.extras.rows), lanes))
        out = np.empty((which, blocks, kernel.rows, lanes))
        states = np.ascontiguousarray(states.reshape(4, blocks, lanes).transpose(1, 0, 2))
        constants = kernel.constants(h), kernel.constants(2.0 * h)
        _pairs(kernel)(x, states, extra, level > 0, n_steps, self.t0, h, p, *constants, out)
        return out.transpose(0, 2, 1, 3).reshape(which, kernel.rows, n_paths), extra

    def chunk(self, level: int, n_steps: int, first: int, n_paths: int) -> tuple[int, int, float, float, float]:
        """One chunk: level, pairs that are finite, mean and sum of squares of their differences, exits of the fine paths."""
        ends, extra = self.differences(level, n_steps, first, n_paths)
        good = np.isfinite(ends).all(axis=(0, 1))
        f = ends[:, -1, good]
        y = f[0] - f[1] if level else f[0]
        with np.errstate(over="ignore"):  # squares that overflow end the run, without a result
            mean = float(y.mean()) if y.size else math.nan
            squares = float(((y - mean) ** 2).sum())
        exits = 0.0 if self.kernel.extras.exits is None else float(extra[0, self.kernel.extras.exits].sum())
        return level, y.size, mean, squares, exits


def multilevel(
    sde: Equation,
    x0: ArrayLike,
    time: float,
    functional: Coefficient,
    *,
    error: float,
    step: float,
    method: str = "milstein",
    seed: int = 0,
    parameters: Sequence[float] = (),
    t0: float = 0.0,
    max_level: int = 12,
    workers: int = -1,
    progress: bool | None = None,
) -> xr.Dataset:
    """E[f(X_T)] to a root-mean-square error of `error`, bias and chance together, at a cost near error^-2.

    mean = sum_l <P_l - P_{l-1}>, P_{-1} = 0, P_l = f(X_T) with the step h_l = step / 2^l. With V_l the variance of a
    difference and C_l its steps, level l gets N_l = sqrt(V_l / C_l) sum_k sqrt(V_k C_k) / (3/4 error^2) paths, so that
    mean_se^2 = sum_l V_l / N_l <= 3/4 error^2; levels are added until the bias |E[P_L] - E[P]| is at most error / 2, as
    estimated from the last two means: max(|m_L|, |m_{L-1}| / 2^a) / (2^a - 1), a the method's weak order.

    Args:
        sde: an `SDE` of any noise that the method accepts
        x0: a number in dim 1, else (dim,)
        time: T, in the equation's own t, a whole number of `step`s (same unit) after `t0`
        functional: f(x, t, p) -> float, plain scalar Python as the equation's functions; in the units of the result.
            For f without a kink or a jump V_l falls as h^2 with "milstein" (h with "euler-maruyama", unless the noise is
            additive); with a jump it falls slower. Decisions start from 1024 paths a level: an f that is 0 on nearly all
            paths may look constant to them
        error: wanted error, absolute, in units of f
        step: the coarsest step, small enough for the method to be stable
        method: one that follows paths with one draw a step: "euler-maruyama", "milstein", "heun"
        seed: path i of level l draws from the stream (seed, l, i)
        parameters: p of the equation's functions and of f
        max_level: levels 0 .. max_level at most, >= 2
        workers: threads, -1 for all cores
        progress: a bar with the time left of the paths that are wanted so far, as for `solve`

    Returns:
        Dataset: `mean`, `mean_se`, `bias` (an estimate of its size) with `bias_se`, `rms_error` = sqrt(mean_se^2 + bias^2),
        `reached`, whether the bias fits with max_level. Over `level`: `step`, `n_paths` (whole chunks), `level_mean` and
        `level_variance` (of one difference), `cost` (steps of a pair, fine and coarse), `faulty` (pairs of which a path is
        not finite at T or has left a domain whose rule is "fault": they are left out, and the result is then conditional
        on survival), `exits` (steps of fine paths out of the domain). attrs: `path_steps`, the whole cost.

    Numbers depend on (seed, level, path) alone, not on `workers`; every decision is made on whole chunks in a fixed order.
    Raises InputError.

    >>> from sde_momentum.sde.equation import SDE
    >>> gbm = SDE(lambda x, t, p: p[0] * x, lambda x, t, p: p[1] * x)
    >>> call = multilevel(gbm, 1.0, 1.0, lambda x, t, p: max(x - 1.0, 0.0), error=1e-3, step=0.25, parameters=(0.05, 0.2))
    >>> bool(abs(call["mean"] - 0.109864) < 4 * call["rms_error"])  # Black, Scholes 1973, before discounting
    True
    """
    h, origin, start, p = check_common(sde, x0, step, t0, parameters)
    scheme = _check_method(sde, method)
    n_steps = _check_time(time, h, origin)
    check_integer(seed, "seed", 0)
    goal, top = check_one(check_positive, error, "error"), check_integer(max_level, "max_level", 2)
    sde.probe(start, origin, p)
    _check_functional(functional, start, origin, p)
    problem = _Problem(compiled(sde, scheme, len(p), {"functional": functional}), start, seed, h, origin, n_steps, p)
    _pairs(problem.kernel)  # compiled before the threads ask for it
    order, rate = 2.0**scheme.weak_order, 2.0 ** (2.0 * float(scheme.strong_order or 0.5))
    levels = [problem.level(i) for i in range(3)]
    wanted = [float(_PILOT)] * 3
    reached = False
    while True:
        missing = [max(0, math.ceil((n - level.count) / level.chunk)) for level, n in zip(levels, wanted, strict=True)]
        cost = [level.chunk * level.cost for level in levels]
        with track("path-steps", sum(n * c for n, c in zip(missing, cost, strict=True)), progress) as advance:
            for index, *part in in_order(_jobs(problem, levels, missing), workers):
                levels[index].add(*part)
                advance(cost[index])
        if any(level.count < 2 or not math.isfinite(level.variance) for level in levels):
            break  # none survive, or their squares overflow: nothing can be decided
        wanted = _optimal(levels, rate, (1.0 - _BIAS_SHARE) * goal**2)
        if any(n > level.count for level, n in zip(levels, wanted, strict=True)):
            continue
        reached = _bias(levels, order)[0] <= math.sqrt(_BIAS_SHARE) * goal
        if reached or len(levels) > top:
            break
        levels.append(problem.level(len(levels)))
        wanted.append(float(_PILOT))
    return _dataset(problem, scheme, levels, order).assign(reached=reached).assign_attrs(error=goal)


def _jobs(problem: _Problem, levels: list[_Level], missing: list[int]) -> Iterator[Callable[[], Any]]:
    for level, n in zip(levels, missing, strict=True):
        first = level.n_paths  # it grows while results come in
        for i in range(n):
            yield partial(problem.chunk, level.index, level.n_steps, first + i * level.chunk, level.chunk)


def _optimal(levels: list[_Level], rate: float, variance: float) -> list[float]:
    """Numbers of paths of the least cost with sum_l V_l / N_l = variance."""
    v = [level.variance for level in levels]
    for i in range(2, len(v)):  # few paths may see no variance where there is some: it cannot fall much faster than expected
        v[i] = max(v[i], 0.5 * v[i - 1] / rate)
    total = sum(math.sqrt(vi * level.cost) for vi, level in zip(v, levels, strict=True))
    return [math.ceil(math.sqrt(vi / level.cost) * total / variance) for vi, level in zip(v, levels, strict=True)]


def _bias(levels: list[_Level], order: float) -> tuple[float, float]:
    """Size of E[P_L] - E[P] and its standard error."""
    before, last = levels[-2:]
    sizes = [(abs(last.mean), last, 1.0), (abs(before.mean) / order, before, order)]
    size, level, divisor = max(sizes, key=lambda s: s[0])
    return size / (order - 1.0), math.sqrt(level.variance / max(level.count, 1)) / divisor / (order - 1.0)


def _dataset(problem: _Problem, scheme: type[Method], levels: list[_Level], order: float) -> xr.Dataset:
    clock, equation = "the equation's own t", problem.kernel.equation
    se = math.sqrt(sum(level.variance / max(level.count, 1) for level in levels))
    bias, bias_se = _bias(levels, order)
    units = {"units": "of the functional"}
    columns: dict[str, tuple[list[Any], str]] = {
        "step": ([math.ldexp(problem.h, -level.index) for level in levels], clock),
        "n_paths": ([level.n_paths for level in levels], "paths"),
        "level_mean": ([level.mean for level in levels], "of the functional"),
        "level_variance": ([level.variance for level in levels], "of the functional, squared"),
        "cost": ([level.cost for level in levels], "steps a path"),
        "faulty": ([level.n_paths - level.count for level in levels], "paths"),
        "exits": ([int(level.exits) for level in levels], "steps"),
    }
    return xr.Dataset(
        {
            "mean": ((), sum(level.mean for level in levels), units),
            "mean_se": ((), se, units),
            "bias": ((), bias, units),
            "bias_se": ((), bias_se, units),
            "rms_error": ((), math.hypot(se, bias), units),
        }
        | {name: ("level", values, {"units": unit}) for name, (values, unit) in columns.items()},
        coords={"level": np.arange(len(levels))},
        attrs={
            "clock": clock,
            "time": problem.t0 + problem.n_steps * problem.h,
            "equation": type(equation).__name__,
            "method": scheme.name,
            "interpretation": equation.interpretation,
            "weak_order": scheme.weak_order,
            "strong_order": scheme.strong_order,
            "t0": problem.t0,
            "x0": problem.start,
            "parameters": np.array(problem.parameters),
            "seed": problem.seed,
            "version": __version__,
            "faults": "a pair of paths one of which is not finite at the time is left out",
            "outside": equation.outside if equation.domain is not None else "no domain",
            "path_steps": sum(level.n_paths * level.cost for level in levels),
        },
    )


def _check_method(sde: Equation, name: str) -> type[Method]:
    able = [m for m in METHODS.values() if m.strong_order is not None and m.draws == 1]
    fitting = [m.name for m in able if m.fits(sde)]
    if name in fitting:
        return METHODS[name]
    if not fitting:
        raise InputError("sde", describe(sde), f"an SDE that one of {', '.join(m.name for m in able)} accepts")
    raise InputError("method", name, f"{', '.join(fitting)} (following paths with one draw a step, for {describe(sde)})")


def _check_time(time: float, h: float, t0: float) -> int:
    """Steps of h from t0 to time."""
    allowed = f"one time > t0 = {t0:g}, a whole number of steps of {h:g} after it"
    try:
        steps = (float(time) - t0) / h
    except (TypeError, ValueError):
        raise InputError("time", time, allowed) from None
    # rounding is far less, and a real mismatch far more, than a millionth of a step
    if not math.isfinite(steps) or round(steps) < 1 or abs(steps - round(steps)) > 1e-6:
        raise InputError("time", time, allowed)
    return round(steps)


def _check_functional(functional: Coefficient, start: Array, t: float, p: tuple[float, ...]) -> None:
    allowed = "a function f(x, t, p) that returns a float"
    if not callable(functional):
        raise InputError("functional", functional, allowed)
    value = call("functional", functional, float(start[0]) if len(start) == 1 else tuple(map(float, start)), t, p)
    if value is not None and (not np.isscalar(value) or isinstance(value, str)):
        raise InputError("functional", f"a function that returns {value!r}", allowed)
