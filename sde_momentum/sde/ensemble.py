"""The ensemble: many paths of one equation from one start; what is asked of them at chosen times is streamed, no path stored.

Paths are stepped in chunks, each on its own; the chunks' sums are merged in their order. A chunk's size follows from the
equation and the number of steps. So nothing depends on how the chunks are spread over threads, on how many of them there
are, or on where a run was interrupted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import InputError, check, check_integer, check_positive
from ..core.random import WIENER, seed_streams
from .equation import Coefficient, Equation, call, check_parameters
from .kernel import Kernel, compiled
from .methods import Method, method_for
from .noise import path_words

_PATHS, _WORK = (1024, 16384), {"normal": 1 << 20, "rademacher": 1 << 22}
"""Paths stepped and summed together, at least and at most; component-steps that make a chunk worth its overhead: about a
millisecond's."""
_SLAB = 1 << 20
"""Numbers of record held at a time for a chunk (8 MiB): the times are cut into slabs of so many."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Run:
    """What every path of an ensemble has in common: equation, method, start, step, times and parameters, all checked."""

    equation: Equation
    method: type[Method]
    kernel: Kernel
    start: Array
    seed: int
    h: float
    t0: float
    parameters: tuple[float, ...]
    instants: Array
    steps: NDArray[np.int64]
    event_at_start: float

    @classmethod
    def of(
        cls,
        equation: Equation,
        x0: ArrayLike,
        times: ArrayLike,
        step: float,
        method: str | None,
        seed: int,
        parameters: Sequence[float],
        t0: float,
        observe: dict[str, Coefficient] | None = None,
        event: Coefficient | None = None,
    ) -> Run:
        """Everything checked; InputError says what cannot be used."""
        h, origin, start, p = check_common(equation, x0, step, t0, parameters)
        instants, steps = check_times(times, h, origin)
        scheme = method_for(equation, method)
        check_integer(seed, "seed", 0)
        equation.probe(start, origin, p)
        x = float(start[0]) if equation.dim == 1 else tuple(map(float, start))
        for name, function in ((observe or {}) | ({"event": event} if event is not None else {})).items():
            value = call(name, function, x, origin, p)
            if value is not None and (not np.isscalar(value) or isinstance(value, str)):
                raise InputError(name, f"a function that returns {value!r}", "a function f(x, t, p) that returns a float")
        at_start = call("event", event, x, origin, p) if event is not None else None
        kernel = compiled(equation, scheme, len(p), observe, event)
        return cls(
            equation, scheme, kernel, start, seed, h, origin, p, instants, steps, -np.inf if at_start is None else at_start
        )

    @cached_property
    def constants(self) -> Array:
        """The method's numbers for this step."""
        return self.kernel.constants(self.h)

    @cached_property
    def chunk_size(self) -> int:
        """Paths of a chunk, a power of two."""
        worth = _WORK[self.kernel.layout.law] // (int(self.steps[-1]) * self.equation.dim + 1)
        return min(max(_PATHS[0], 1 << worth.bit_length()), _PATHS[1])

    def chunk(self, first: int, n_active: int, see: Callable[[int, Array], None]) -> Array:
        """Step paths first .. first + n_active - 1 (at most a chunk); `see(t, values)` gets values (blocks, times, rows, lanes)
        of the record times from number t on. Returns what the kernel kept of each lane beside, (blocks, extras, lanes)."""
        kernel, lanes = self.kernel, self.kernel.lanes
        blocks = -(-n_active // lanes)
        states, words = np.empty((blocks, 4, lanes), np.uint64), path_words(self.seed, first, blocks * lanes)
        for block in range(blocks):
            seed_streams(words[block * lanes : (block + 1) * lanes], WIENER, states[block])
        x = np.empty((blocks, len(self.start), lanes))
        x[:] = self.start[:, None]
        z = np.empty((blocks, kernel.layout.rows, lanes))
        extra = np.zeros((blocks, max(1, kernel.extras.rows), lanes))
        if kernel.extras.value is not None and kernel.extras.passage is not None:
            extra[:, kernel.extras.value] = self.event_at_start
            extra[:, kernel.extras.passage] = self.t0 if self.event_at_start >= 0 else np.inf
        c, k = self.constants, 0
        slab = max(1, _SLAB // (kernel.rows * blocks * lanes))
        for t in range(0, len(self.steps), slab):
            steps = self.steps[t : t + slab]
            out = _space(blocks * len(steps) * kernel.rows * lanes).reshape(blocks, len(steps), kernel.rows, lanes)
            kernel.run(x, states, z, extra, k, steps, self.t0, self.h, self.parameters, c, out)
            k = int(steps[-1])
            see(t, out)
        return extra


_SPACES = threading.local()


def _space(size: int) -> Array:
    """Room for so many numbers, of this thread, used again and again: fresh pages would cost as much as filling them."""
    room: Array = getattr(_SPACES, "room", np.empty(0))
    if len(room) < size:
        room = _SPACES.room = np.empty(size)
    return room[:size]


def check_common(
    equation: Equation, x0: ArrayLike, step: float, t0: float, parameters: Sequence[float]
) -> tuple[float, float, Array, tuple[float, ...]]:
    """step, t0, start (dim,) and parameters, checked."""
    if not isinstance(equation, Equation):
        raise InputError("sde", equation, "an SDE, OrnsteinUhlenbeck or Langevin")
    h = check_positive(step, "step")
    origin = check("t0", t0, lambda t: np.full(t.shape, True), "a finite number")
    for name, value in (("step", h), ("t0", origin)):
        if value.ndim:
            raise InputError(name, f"shape {value.shape}", "one number")
    return float(h), float(origin), equation.check_start(x0), check_parameters(parameters)


def check_times(times: ArrayLike, h: float, t0: float) -> tuple[Array, NDArray[np.int64]]:
    """times and their numbers of steps from t0."""
    allowed = f"increasing times >= t0 = {t0:g}, each a whole number of steps of {h:g} after it"
    instants = np.atleast_1d(check("times", times, lambda t: t >= t0, allowed))
    if instants.ndim != 1 or instants.size == 0 or np.any(np.diff(instants) <= 0):
        raise InputError("times", times, allowed)
    ratio = (instants - t0) / h
    steps = np.rint(ratio)
    # times such as 0.1 * 3 are off by rounding; a real mismatch is far larger than a millionth of a step
    if np.any(np.abs(ratio - steps) > 1e-6) or np.any(np.diff(steps) <= 0):
        raise InputError("times", times, allowed)
    return instants, steps.astype(np.int64)
