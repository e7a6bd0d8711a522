"""Multilevel Monte Carlo: an expectation to a given error, mostly from coarse paths (Giles 2008, Oper. Res. 56).

E[P_L] = E[P_0] + sum_{l=1}^{L} E[P_l - P_{l-1}], P_l = f(X_T) with the step 2^-l of the coarsest. Both paths of a difference
follow one Brownian path, so that its variance falls with l, and with it the number of fine paths that are needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import xarray as xr

from ...core import random
from ...core.arguments import by_annotations
from ...core.errors import InputError, check_integer, check_one, check_positive
from ...core.progress import track
from ...core.random import MULTILEVEL
from ...core.simd import cache
from ...core.threads import in_order
from ..checks import lost, told, unstable
from ..collect import Execution
from ..kernel import Kernel, compiled
from ..methods import METHODS, Method, describe, follows_paths
from ..noise import path_words
from ..result import CLOCK, attributes
from ..task import Array, Task
from ..until import UntilError
from .base import Stepping, check_alike

_BIAS_SHARE = 0.25
"""Share of error^2 for the bias: small, as one more level, of few paths, halves the bias (Giles 2015, sec. 2)."""
_PILOT = 1024
"""Paths of a level before its variance is used."""
_WORK = 1 << 15
"""Component-steps of a chunk, enough to be worth its overhead."""
_SEEN = 32
"""Differences that are not 0, before their variance is trusted."""
_SEARCH = 1 << 20
"""Cost of a search for them, in paths of level 0."""
_PATHS = 16384
"""Paths of a chunk, at most."""


@by_annotations
@dataclass(frozen=True, eq=False)
class Multilevel(Stepping):
    """E[f(X_T)] at one time T to a root-mean-square error (bias and sampling error), at a cost near error^-2.

    Needs `n_paths=UntilError(absolute=error)` and `statistics=[Functional(name, f)]` (without one, in dim 1, f(X) = X).
    mean = sum_l <P_l - P_{l-1}>, P_{-1} = 0, P_l = f(X_T) with the step h_l = step / 2^l. With V_l the variance of a
    difference and C_l its steps, level l gets N_l = sqrt(V_l / C_l) sum_k sqrt(V_k C_k) / (3/4 error^2) paths, so that
    mean_se^2 = sum_l V_l / N_l <= 3/4 error^2; levels are added until the bias |E[P_L] - E[P]| is at most error / 2, as
    estimated from the last two means: max(|m_L|, |m_{L-1}| / 2^a) / (2^a - 1), a the method's weak order.

    For f without a kink or a jump V_l falls as h^2 with "milstein" (h with "euler-maruyama", unless the noise is additive);
    with a jump it falls slower. Variances are first estimated from 1024 paths per level, or as many more (up to a million coarse
    paths' cost) as show 32 that are not 0: so an f that is 0 on nearly all paths does not look constant. Where fewer show,
    the variance counts three more of the greatest size seen there or a level before.

    Args:
        step: the coarsest step, small enough for the method to be stable
        method: one that follows paths with one draw a step: "euler-maruyama", "milstein", "heun", or a `Method` of your own
        max_level: levels 0 .. max_level at most, >= 2
        max_cost: steps of all paths, at most, beyond the first 1024 paths of three levels: where more are needed the result is
            what they give so far, with `reached` False

    The result: `mean`, `mean_se`, `bias` (an estimate of its size) with `bias_se`, `rms_error` = sqrt(mean_se^2 + bias^2),
    `reached`, whether the bias is small enough with max_level. Over `level`: `step`, `n_paths` (whole chunks), `level_mean` and
    `level_variance` (of one difference), `cost` (steps of a pair, fine and coarse), `faulty` (pairs of which a path is
    not finite at T or has left a domain whose rule is "fault": they are left out, and the result is then conditional
    on survival), `exits` (steps of fine paths out of the domain). attrs: `path_steps`, the total cost in steps.

    Path i of level l draws from the stream (seed, l, i); the numbers of paths are decided on whole chunks in a fixed order.
    Raises InputError.

    >>> from sde_momentum import sde
    >>> gbm = sde.SDE(lambda x, t, p: p[0] * x, lambda x, t, p: p[1] * x)
    >>> payoff = sde.Functional("payoff", lambda x, t, p: max(x - 1.0, 0.0))
    >>> how = dict(n_paths=sde.UntilError(absolute=1e-3), parameters=(0.05, 0.2), statistics=[payoff])
    >>> call = sde.solve(gbm, 1.0, [1.0], step=Multilevel(0.25), **how)
    >>> bool(abs(call["mean"] - 0.109864) < 4 * call["rms_error"])  # Black, Scholes 1973, before discounting
    True
    """

    step: float
    method: str | type[Method] = "milstein"
    max_level: int = 12
    max_cost: float = 1e12

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer(self.max_level, "max_level", 2)
        object.__setattr__(self, "max_cost", check_one(check_positive, self.max_cost, "max_cost"))

    def run(self, task: Task, n_paths: int | UntilError, how: Execution) -> xr.Dataset:
        check_alike(task, "Multilevel")
        method = self._method(task)
        error = _check_request(task, n_paths, how)
        kernel = compiled(task.equation, method, len(task.parameters), task.statistics.functionals)
        compiled_pairs(kernel)  # compiled before threads use it
        pairs = Pairs(task, kernel)
        levels, reached = self._estimate(pairs, error, how)
        result = _dataset(pairs, levels).assign(reached=reached).assign_attrs(error=error)
        doubts = lost(sum(level.n_paths - level.count for level in levels), sum(level.n_paths for level in levels), "pairs")
        if not any(level.size for level in levels) and levels[0].count:
            doubts.append(
                f"the functional is 0 on all of the {levels[0].count} coarsest paths: its mean may come from rarer ones"
            )
        return told(result, [*doubts, *unstable(task, method, [(task.start, task.t0)])])

    def _method(self, task: Task) -> type[Method]:
        able = [m for m in METHODS.values() if couples(m)]
        fitting = [m.name for m in able if m.fits(task.equation)]
        given = METHODS.get(self.method) if isinstance(self.method, str) else self.method
        if given is not None and couples(given) and given.fits(task.equation):
            return given
        kind = describe(task.equation)
        if not fitting:
            raise InputError("equation", kind, f"an SDE that one of {', '.join(m.name for m in able)} accepts")
        raise InputError("method", self.method, f"{', '.join(fitting)} (following paths with one draw a step, for {kind})")

    def _estimate(self, pairs: Pairs, error: float, how: Execution) -> tuple[list[Level], bool]:
        """The levels with as many paths as they need, and whether the bias is small enough."""
        method = pairs.kernel.method
        order, rate = 2.0**method.weak_order, 2.0 ** (2.0 * float(method.strong_order or 0.5))
        levels, wanted = [pairs.level(i) for i in range(3)], [float(_PILOT)] * 3
        while True:
            missing = [max(0, math.ceil((n - level.count) / level.chunk)) for level, n in zip(levels, wanted, strict=True)]
            cost = [level.chunk * level.cost for level in levels]
            with track("path-steps", sum(n * c for n, c in zip(missing, cost, strict=True)), how.progress) as advance:
                for index, *part in in_order(_jobs(pairs, levels, missing), how.workers):
                    levels[index].add(*part)
                    advance(cost[index])
            if any(level.count < 2 or not math.isfinite(level.variance) for level in levels):
                return levels, False  # none survive, or their squares overflow: nothing can be decided
            wanted = _optimal(levels, rate, (1.0 - _BIAS_SHARE) * error**2)
            wanted = [max(n, float(level.least)) for n, level in zip(wanted, levels, strict=True)]
            needed = sum(max(n - level.count, 0.0) * level.cost for n, level in zip(wanted, levels, strict=True))
            if needed and needed + sum(level.n_paths * level.cost for level in levels) > self.max_cost:
                return levels, False
            if any(n > level.count for level, n in zip(levels, wanted, strict=True)):
                continue
            reached = _bias(levels, order)[0] <= math.sqrt(_BIAS_SHARE) * error
            if reached or len(levels) > self.max_level:
                return levels, reached
            levels.append(pairs.level(len(levels)))
            wanted.append(float(_PILOT))


def couples(method: Any) -> bool:
    """Whether a coarse and a fine path of the method can follow one Brownian path, with one draw a step."""
    if not (isinstance(method, type) and issubclass(method, Method)):
        return False
    return follows_paths(method) and method.draws == 1 and not method.levy_areas


def _check_request(task: Task, n_paths: int | UntilError, how: Execution) -> float:
    """The target error; InputError for a request that a multilevel estimate cannot meet."""
    requested, until = task.statistics, n_paths
    if not isinstance(until, UntilError) or until != UntilError(absolute=until.absolute or 1.0):
        raise InputError("n_paths", until, "UntilError(absolute=...) alone, the root-mean-square error, with Multilevel steps")
    if len(task.times) > 1 or task.steps[0] == 0:
        raise InputError("times", task.times, f"one time > t0 = {task.t0:g} with Multilevel steps")
    n, others = len(requested.functionals), len(requested.observers) + bool(requested.kept)
    if others or n > 1 or (n == 0 and task.equation.dim > 1):
        raise InputError("statistics", f"{n} functionals and {others} others", "one Functional alone with Multilevel steps")
    if how.checkpoint is not None:
        raise InputError("checkpoint", how.checkpoint, "none with Multilevel steps")
    assert until.absolute is not None
    return until.absolute


_TEXT = '''"""Pairs of paths on one Brownian path; `advance` and `look` of an equation are there before this is executed."""

import numpy as np
from numba import boolean, float64, int64, typeof, types
from sde_momentum.core.compile import njit
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
def compiled_pairs(kernel: Kernel) -> Any:
    """The compiled function that steps pairs, for an equation, a method and a functional."""
    module = kernel.module
    numbers = kernel.layout.numbers
    text = _TEXT.format(
        n_parameters=kernel.n_parameters, lanes=kernel.lanes, numbers=numbers, buffer=max(2, 16 // numbers // 2 * 2)
    )
    identity = module.__name__ if module.CACHE else None
    return cache.load(text, {"advance": module.advance, "look": module.look}, identity, uses=(random,)).pairs


@dataclass
class Level:
    """Estimate of E[P_l - P_{l-1}] so far: numbers of pairs and of finite ones, mean, sum of squares about it, exits."""

    index: int
    n_steps: int
    chunk: int
    first_cost: float
    """Steps of a path of level 0."""
    n_paths: int = 0
    count: int = 0
    mean: float = math.nan
    squares: float = math.nan
    exits: float = 0.0
    others: int = 0
    """Pairs whose difference is not 0."""
    size: float = 0.0
    """The greatest difference, in absolute value."""

    @property
    def least(self) -> int:
        """Paths that must be there for their variance to be used: twice as many while too few differ from 0."""
        few = self.others < _SEEN and self.n_paths * self.cost < _SEARCH * self.first_cost
        return 2 * self.count if few else 0

    @property
    def cost(self) -> float:
        """Steps of a pair."""
        return self.n_steps * (1.5 if self.index else 1.0)

    @property
    def variance(self) -> float:
        """Of a difference, as sampled."""
        return self.squares / (self.count - 1) if self.count > 1 else math.nan

    def add(self, count: int, mean: float, squares: float, exits: float, others: int, size: float) -> None:
        """One more chunk (Chan, Golub, LeVeque 1983, Am. Stat. 37)."""
        self.n_paths += self.chunk
        self.exits += exits
        self.others += others
        self.size = max(self.size, size)
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
class Pairs:
    """Pairs of paths of a task, a fine and a coarse one on the same Brownian path."""

    task: Task
    kernel: Kernel

    def level(self, index: int) -> Level:
        """Level number `index`, without any paths yet."""
        n_steps, lanes = int(self.task.steps[0]) << index, self.kernel.lanes
        worth = 1 << (_WORK // (n_steps * self.task.equation.dim)).bit_length()
        return Level(index, n_steps, min(max(worth, lanes), _PATHS), float(self.task.steps[0]))

    def differences(self, level: int, n_steps: int, first: int, n_paths: int) -> tuple[Array, Array]:
        """Rows (components, then f) at the end of paths first, ...: (fine, coarse) x (rows, n_paths); and the exits."""
        kernel, task, lanes = self.kernel, self.task, self.kernel.lanes
        blocks, which, h = n_paths // lanes, 2 if level else 1, math.ldexp(task.step, -level)
        states = random.streams(path_words(task.seed, first, n_paths, (level,)), MULTILEVEL)
        x = np.empty((which, blocks, len(task.start), lanes))
        x[:] = task.start[:, None]
        extra = np.zeros((which, max(1, kernel.extras.rows), lanes))
        out = np.empty((which, blocks, kernel.rows, lanes))
        states = np.ascontiguousarray(states.reshape(4, blocks, lanes).transpose(1, 0, 2))
        constants = kernel.constants(h), kernel.constants(2.0 * h)
        compiled_pairs(kernel)(x, states, extra, level > 0, n_steps, task.t0, h, task.parameters, *constants, out)
        return out.transpose(0, 2, 1, 3).reshape(which, kernel.rows, n_paths), extra

    def chunk(self, level: int, n_steps: int, first: int, n_paths: int) -> tuple[Any, ...]:
        """One chunk: level, then the arguments of `Level.add`: exits are those of the fine paths."""
        ends, extra = self.differences(level, n_steps, first, n_paths)
        good = np.isfinite(ends).all(axis=(0, 1))
        f = ends[:, -1, good]
        y = f[0] - f[1] if level else f[0]
        with np.errstate(over="ignore"):  # squares that overflow end the run, without a result
            mean = float(y.mean()) if y.size else math.nan
            squares = float(((y - mean) ** 2).sum())
        exits = 0.0 if self.kernel.extras.exits is None else float(extra[0, self.kernel.extras.exits].sum())
        return level, y.size, mean, squares, exits, int(np.count_nonzero(y)), float(np.abs(y).max(initial=0.0))


def _jobs(pairs: Pairs, levels: list[Level], missing: list[int]) -> Iterator[Callable[[], Any]]:
    for level, n in zip(levels, missing, strict=True):
        first = level.n_paths  # it grows while results come in
        for i in range(n):
            yield partial(pairs.chunk, level.index, level.n_steps, first + i * level.chunk, level.chunk)


def _variances(levels: list[Level]) -> list[float]:
    """Variances of the differences; where few are not 0, with three more of the greatest size there or a level before."""
    sizes = [max(level.size for level in levels[max(i - 1, 0) :]) for i in range(len(levels))]
    few = [3.0 * size**2 / max(level.count, 1) * (level.others < _SEEN) for level, size in zip(levels, sizes, strict=True)]
    return [level.variance + more for level, more in zip(levels, few, strict=True)]


def _optimal(levels: list[Level], rate: float, variance: float) -> list[float]:
    """Numbers of paths of the least cost with sum_l V_l / N_l = variance."""
    v = _variances(levels)
    for i in range(2, len(v)):  # few paths may underestimate the variance: it cannot fall much faster than expected
        v[i] = max(v[i], 0.5 * v[i - 1] / rate)
    total = sum(math.sqrt(vi * level.cost) for vi, level in zip(v, levels, strict=True))
    return [math.ceil(math.sqrt(vi / level.cost) * total / variance) for vi, level in zip(v, levels, strict=True)]


def _bias(levels: list[Level], order: float) -> tuple[float, float]:
    """Estimated size of the bias E[P_L] - E[P], and its standard error."""
    before, last = levels[-2:]
    sizes = [(abs(last.mean), last, 1.0), (abs(before.mean) / order, before, order)]
    size, level, divisor = max(sizes, key=lambda s: s[0])
    return size / (order - 1.0), math.sqrt(level.variance / max(level.count, 1)) / divisor / (order - 1.0)


def _dataset(pairs: Pairs, levels: list[Level]) -> xr.Dataset:
    task, method = pairs.task, pairs.kernel.method
    se = math.sqrt(sum(v / max(level.count, 1) for v, level in zip(_variances(levels), levels, strict=True)))
    bias, bias_se = _bias(levels, 2.0**method.weak_order)
    mean = sum(level.mean for level in levels)
    numbers = {"mean": mean, "mean_se": se, "bias": bias, "bias_se": bias_se, "rms_error": math.hypot(se, bias)}
    columns: dict[str, tuple[list[Any], str]] = {
        "step": ([math.ldexp(task.step, -level.index) for level in levels], CLOCK),
        "n_paths": ([level.n_paths for level in levels], "paths"),
        "level_mean": ([level.mean for level in levels], "of the functional"),
        "level_variance": ([level.variance for level in levels], "of the functional, squared"),
        "cost": ([level.cost for level in levels], "steps a path"),
        "faulty": ([level.n_paths - level.count for level in levels], "paths"),
        "exits": ([int(level.exits) for level in levels], "steps"),
    }
    return xr.Dataset(
        {name: ((), value, {"units": "of the functional"}) for name, value in numbers.items()}
        | {name: ("level", values, {"units": unit}) for name, (values, unit) in columns.items()},
        coords={"level": np.arange(len(levels))},
        attrs=attributes(task)
        | {
            "time": float(task.times[0]),
            "method": method.name,
            "weak_order": method.weak_order,
            "strong_order": method.strong_order,
            "faults": "a pair of paths one of which is not finite at the time is left out",
            "path_steps": sum(level.n_paths * level.cost for level in levels),
        },
    )
