"""Steps of one size on arrays: equations of any number of components, whose functions take a batch of paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from ...core.random import WIENER, streams
from ...core.threads import one_blas_thread
from ..arrays import array_function, array_step, confined
from ..checks import unstable
from ..equation import SDE, Coefficient
from ..langevin import Langevin
from ..noise import Layout, path_words, standard_numbers, unseen_at_start
from ..observers import Extras
from ..paths import Paths
from ..task import Array

_NUMBERS = 1 << 17
"""Components of the paths of a chunk: a few arrays of them fit in the second-level cache."""
_LEAST, _MOST = 64, 16384
"""Least and greatest number of paths of a chunk."""
_SLAB = 1 << 20
"""Recorded numbers held at a time."""


@dataclass(frozen=True, eq=False)
class BatchedPaths(Paths):
    """Paths of a `batched` equation, all paths of a chunk in one array; on given numbers z, or on those of the paths' streams."""

    offers: ClassVar[frozenset[str]] = frozenset({"exits", "passages"})
    z: Array | None = field(default=None, kw_only=True)
    """(n_steps, numbers, n_paths), of variance 1."""

    @cached_property
    def chunk_size(self) -> int:
        """Number of paths of a chunk, a power of two."""
        worth = 1 << (_NUMBERS // self.task.equation.dim).bit_length() - 1
        return min(max(_LEAST, worth // (16 if self.small else 1)), _MOST)

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.task.equation.component_names, *self.task.statistics.functionals)

    def functions(self) -> dict[str, Coefficient]:
        return self.task.equation.coefficients() | dict(self.task.functions())

    def identity(self) -> tuple[Any, ...]:
        constants = self.method.constants(self.task.equation, self.task.step)
        return (self.chunk_size, self.method.text(self.task.equation), *constants.values(), self.z if self.z is not None else "")

    def prepare(self) -> None:
        self._step  # noqa: B018
        # once an array of this size has been freed, glibc keeps the pages of smaller ones: new pages for the temporary arrays of
        # each step would cost as much as a network's gradient
        np.empty((1 << 22) - 1024)

    def doubts(self, result: xr.Dataset) -> list[str]:
        return [*super().doubts(result), *unstable(self.task, self.method, [(self.task.start, self.task.t0)])]

    @cached_property
    def _arrays(self) -> dict[str, Any]:
        return {name: array_function(name, f, self.task.equation) for name, f in self.functions().items()}

    @cached_property
    def _step(self) -> Callable[..., Array]:
        equation = self.task.equation
        return array_step(equation, self.method, self.task.step, {name: self._arrays[name] for name in equation.coefficients()})

    def _numbers(self, first: int, n: int) -> Iterator[Array]:
        """The numbers of each step, (numbers, n)."""
        if self.z is not None:
            return iter(self.z[:, :, first : first + n])
        layout = Layout(self.method.n_numbers(self.task.equation) * self.method.draws, self.method.increments)
        return standard_numbers(layout, streams(path_words(self.task.seed, first, n), WIENER))

    @one_blas_thread()
    def chunk(self, first: int, n_active: int, see: Callable[[int, Array], None]) -> Extras:
        task, equation, n = self.task, self.task.equation, n_active
        x, t0, h, p = task.starts(first, n), task.t0, task.step, task.parameters
        numbers, m = self._numbers(first, n), self.method.n_numbers(equation)
        exits, event = np.zeros(n), _Event(self, first, x) if task.statistics.event is not None else None
        slab, k = max(1, _SLAB // (len(self.names) * n)), 0
        for begin in range(0, len(task.steps), slab):
            steps = task.steps[begin : begin + slab]
            out = np.empty((1, len(steps), len(self.names), n))
            for i, at in enumerate(steps):
                while k < at:
                    z, t = next(numbers), t0 + k * h
                    new = self._step(x, z[:m], z[m:], t, p)
                    if event is not None and task.statistics.stop:
                        new = np.where(event.passage < np.inf, x, new)
                    new = self._kept(new, exits)
                    if event is not None:
                        new = event.add(x, new, t)
                    x, k = new, k + 1
                out[0, i, : equation.dim] = x
                for row, name in enumerate(task.statistics.functionals, equation.dim):
                    out[0, i, row] = self._arrays[name](x, t0 + k * h, p)
            see(begin, out)
        return {"exits": exits} | ({} if event is None else {"passages": event.passage[None]})

    def _kept(self, new: Array, exits: Array) -> Array:
        """The new state by the domain's rule; `exits` counts."""
        equation = self.task.equation
        if equation.domain is None:
            return new
        low, high = (bound[:, None] for bound in np.transpose(equation.domain))
        outside = (new < low) | (new > high)
        out = outside.any(axis=0)
        exits += out
        if not out.any():
            return new
        if equation.outside == "fault":
            return np.where(out, np.nan, new)
        if equation.outside == "reflect":
            with np.errstate(invalid="ignore"):  # inf - inf, where there is no bound
                new = np.where(new < low, np.minimum(2.0 * low - new, high), new)
                new = np.where(new > high, np.maximum(2.0 * high - new, low), new)
        return confined(equation, new)


class _Event:
    """First passages of a chunk: the same rule as `KernelText`'s, on arrays."""

    def __init__(self, paths: BatchedPaths, first: int, x: Array) -> None:
        self.paths, task = paths, paths.task
        self.event = paths._arrays["event"]
        self.value = self.event(x, task.t0, task.parameters)[0]
        self.passage = np.where(self.value >= 0, task.t0, np.inf)
        self.unseen = unseen_at_start(task.seed, first, x.shape[1])

    def add(self, x: Array, new: Array, t: float) -> Array:
        """The new state: of a path that stops now, where it passed."""
        task, stop = self.paths.task, self.paths.task.statistics.stop
        across, variance = np.zeros_like(x) if stop else None, np.zeros(x.shape[1])
        h, p = task.step, task.parameters
        now = self.event(new, t + h, p)[0]
        with np.errstate(all="ignore"):
            if self.paths.method.increments == "normal":
                for moved in self._moved(x, t):
                    slope = 1000.0 * (self.event(moved, t, p)[0] - self.value)
                    variance += slope * slope
                    if across is not None:
                        across += slope * (1000.0 * (moved - x))
                chance = np.exp(-2.0 * now * (self.value / variance))
                self.unseen = np.where(chance < 1.0, self.unseen * (1.0 - chance), self.unseen)
            when = np.fmin(self.passage, t + h / (1.0 + np.abs(now / self.value)))
        crossed = np.where(now < 0.0, np.where(self.unseen < 1.0, when, self.passage), when)
        before, begun = self.passage, self.value
        self.passage = np.where(self.value < 0.0, crossed, self.passage)
        self.value = now
        if across is None:
            return new
        with np.errstate(all="ignore"):
            share = 1.0 / (1.0 + np.abs(now / begun))
            lack = np.where((variance > 0.0) & (begun > -np.inf), -(begun + share * (now - begun)) / variance, 0.0)
            return np.where(self.passage < before, x + share * (new - x) + lack * across, new)

    def _moved(self, x: Array, t: float) -> Iterator[Array]:
        """The state, moved by a thousandth of the noise of a step of each Wiener process."""
        task, equation = self.paths.task, self.paths.task.equation
        size = 0.001 * np.sqrt(task.step)
        if isinstance(equation, SDE):
            b, shape = self.paths._arrays["diffusion"](x, t, task.parameters), equation.noise
            for k in range(equation.n_noise):
                moved = x.copy()
                if shape == "diagonal":
                    moved[equation.driven[k] if equation.driven else k] += size * b[k]
                else:
                    moved += size * (b if shape == "scalar" else b[:, k, None] if b.ndim == 2 else b[:, k])
                yield confined(equation, moved)
        else:
            assert isinstance(equation, Langevin)
            for column in equation.noise_matrix.T:
                moved = x.copy()
                moved[equation.n_coordinates :] += size * column[:, None]
                yield moved
