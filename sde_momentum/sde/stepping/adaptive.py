"""Adaptive steps for each path: step doubling on a dyadic Brownian tree (Gaines, Lyons 1997, SIAM J. Appl. Math. 57)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ...core.arguments import by_annotations
from ...core.errors import InputError, check_integer, check_non_negative, check_one
from ..equation import SDE, Equation
from ..methods import METHODS, Method, describe
from ..observers import Extras, Observer, StepCounts
from ..paths import Paths
from ..task import Array, Task
from .base import PathStepping, check_alike
from .brownian_tree import brownian_keys, compiled_trees

_WORK = 1 << 15
"""Root intervals of a chunk, enough to be worth its overhead."""
_LEAST, _MOST = 64, 4096
"""Least and greatest number of paths of a chunk."""
_RECORD = 1 << 21
"""Recorded numbers held for a chunk, at most."""


@by_annotations
@dataclass(frozen=True, eq=False)
class Adaptive(PathStepping):
    """Adaptive steps, for each path on its own, of sizes from step / 2 down to step / 2^max_depth.

    Over an interval one step of the base method, to x_one, and two of half its length on the same Brownian path, to x_two;
    if |x_two - x_one| <= atol + rtol max(|x|, |x_two|) in every component, the path goes on from x_two, else each half is
    treated so in turn. The base method is Milstein, of strong order 1, or SRA1, of order 1.5, where the noise is additive. The
    tolerance is for each step, not for the path: with Milstein the error at a fixed time falls about as its power 0.6, near
    1 / (number of steps).
    Where a path needs small steps for a short while, they are several times fewer than steps of one size would be; where it
    is equally rough everywhere they are hardly fewer, and for each one that is kept two or three are computed. A short force
    that no end or middle of a root interval meets is not seen: `step` must be small enough to find it.

    A step's size depends on its increment. The paths still converge to the right process, whatever the rule, where the base
    method has all terms of order dW dW: an Ito `SDE` with diagonal noise, b_i of x_i and t alone (tried at x0), scalar noise,
    or additive noise of any kind (the noise is then commutative; else the limit may be another process, Gaines, Lyons 1997).
    Others are refused, as are events.

    Args:
        step: the largest interval, the root of a tree; a path's Brownian path is a function of (seed, path, step) alone: for
            other tolerances, depths, times or equations (with additive noise: of such) it is the same
        rtol, atol: tolerance of a step, relative, and absolute in units of x; >= 0, not both 0
        max_depth: the smallest step is step / 2^max_depth, 1 to 48; there the two halves are accepted, and counted (`forced`,
            which should be 0) if they differ, unless the path is faulty there

    The result has the variables of `StepCounts` too. A path is faulty from where it is not finite, or has left a domain whose
    rule is "fault", even in steps of the smallest size. Raises InputError.

    >>> from sde_momentum import sde
    >>> gbm = sde.SDE(lambda x, t, p: 0.5 * x, lambda x, t, p: 0.3 * x)
    >>> result = sde.solve(gbm, 1.0, [1.0], step=Adaptive(0.25, rtol=1e-3), n_paths=4096)
    >>> bool(abs(result["mean"][0] - np.exp(0.5)) < 5 * result["mean_se"][0]), int(result["forced"][0])
    (True, 0)
    """

    step: float
    rtol: float = 1e-3
    atol: float = 1e-6
    max_depth: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rtol", "atol"):
            object.__setattr__(self, name, check_one(check_non_negative, getattr(self, name), name))
        if self.rtol == 0.0 and self.atol == 0.0:
            raise InputError("atol", self.atol, "a number > 0 where rtol is 0")
        if check_integer(self.max_depth, "max_depth", 1) > 48:
            raise InputError("max_depth", self.max_depth, "a whole number from 1 to 48")

    def paths(self, task: Task) -> Paths:
        check_alike(task, "Adaptive")
        method = _base_method(task.equation)
        _check_commutative(task)
        return AdaptivePaths(task, method, self)


@dataclass(frozen=True, eq=False)
class AdaptivePaths(Paths):
    """Paths on dyadic Brownian trees."""

    offers: ClassVar[frozenset[str]] = frozenset({"exits", "step counts"})
    stepping: Adaptive

    @cached_property
    def chunk_size(self) -> int:
        """Paths of a chunk."""
        n_times, roots = len(self.task.steps), int(self.task.steps[-1])
        size = min(max(_LEAST, 1 << (_WORK // (roots + 1)).bit_length()), _MOST)
        return max(16, min(size, _RECORD // (n_times * (len(self.names) + 4))))

    def prepare(self) -> None:
        compiled_trees(self.kernel)

    def chunk(self, first: int, n_active: int, see: Callable[[int, Array], None]) -> Extras:
        task, stepping, n_times = self.task, self.stepping, len(self.task.steps)
        out, counts = np.empty((n_times, len(self.names), n_active)), np.empty((n_times, 4, n_active))
        settings = (task.t0, task.step, task.parameters, stepping.rtol, stepping.atol, stepping.max_depth)
        keys = brownian_keys(task.seed, first, n_active)
        compiled_trees(self.kernel)(keys, task.start, task.steps, *settings, out, counts)
        see(0, out[None])
        return {"exits": counts[-1, 3], "step counts": counts}

    def observers(self) -> tuple[Observer, ...]:
        return (StepCounts(),)

    def attributes(self) -> dict[str, Any]:
        own = {"method": f"adaptive {self.method.name}", "strong_order": self.method.strong_order}
        return super().attributes() | own | asdict(self.stepping)

    def identity(self) -> tuple[Any, ...]:
        return (*super().identity(), *asdict(self.stepping).values())


def _base_method(equation: Equation) -> type[Method]:
    """The method whose step is doubled: it must have every term of order dW dW."""
    for name in ("sra1", "milstein"):
        if METHODS[name].fits(equation):
            return METHODS[name]
    raise InputError("equation", describe(equation), "an Ito SDE with diagonal, scalar or additive noise, with Adaptive steps")


def _check_commutative(task: Task) -> None:
    """Refuse diagonal noise whose b_i depends on other components than x_i, as tried about the start."""
    sde, start = task.equation, task.start
    assert isinstance(sde, SDE)
    if sde.noise != "diagonal" or sde.additive or sde.dim == 1:
        return
    driven = sde.driven or tuple(range(sde.dim))

    def value(x: Array) -> Any:
        b = sde.evaluate("diffusion", sde.diffusion, x, task.t0, task.parameters)
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
                    raise InputError("diffusion", given, "b_i of x_i and t alone: steps that depend on dW need commutative noise")
