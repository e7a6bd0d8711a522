"""Runs of the critical limit in blocks, each stepped in machine code by one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.simd.matrix import WIDTH
from ..geometry.lanes.manifold import Gamma, gamma_of
from ..problems.callbacks import kernels_in_python
from ..problems.compiled import Kernels
from ..problems.measures import UNCOMPILED, Model, model
from ..problems.metrics import Metric
from ..problems.problem import Array, Problem
from .critical_steps import begin, block, record, stepper
from .update import measure_in_numpy

_LANES, _NUMBERS = 64, 2**15
"""Most lanes of a block, and most entries of its Jacobians beyond the least lanes."""
_RECORDS = 8
"""Records of one call, between which progress is told."""


class Schedule(NamedTuple):
    """What all runs of an ensemble share."""

    problem: Problem
    point: Array
    """The start, on Gamma, (N,)."""
    times: Array
    """Of the records, (n_time,), in s over the run's pace."""
    n_steps: NDArray[np.int64]
    """Number of steps before each record, from the one before, (n_time,)."""
    steps: Array
    """Their size, (n_time,)."""
    metrics: Sequence[Metric]
    tolerance: float
    """|f(w) - y| <= tolerance (1 + |y|) after each move."""


def lanes_of(problem: Problem, kernels: Kernels, most: int) -> int:
    """Number of runs in a block, a multiple of WIDTH: at most `most` where that is not less."""
    numbers = problem.n_outputs * problem.n_parameters
    wanted = np.clip(_NUMBERS // numbers, WIDTH, _LANES) if _own(problem, kernels) else problem.lanes
    return int(max(min(wanted, most) // WIDTH, 1)) * WIDTH


def _own(problem: Problem, kernels: Kernels) -> bool:
    """Whether the kernels are the problem's own."""
    own = problem.kernels
    return own is not None and own.outputs is kernels.outputs


@dataclass(frozen=True, eq=False)
class Blocks:
    """Runs of the critical limit from one point of Gamma, which are stepped in blocks.

    Attributes:
        schedule: what they share
        kernels: the problem's own, or those of `problems.callbacks`
    """

    schedule: Schedule
    kernels: Kernels

    @cached_property
    def _vectors(self) -> Array:
        """Eigenvectors of J J^T at the start, (P, P), a row each."""
        jacobian = self.schedule.problem.jacobian(self.schedule.point)
        return np.ascontiguousarray(np.linalg.eigh(jacobian @ jacobian.T)[1].T)

    @cached_property
    def _models(self) -> tuple[Gamma, Model]:
        problem, kernels = self.schedule.problem, self.kernels
        own = _own(problem, kernels)
        compiled = [problem.compiled_metric(metric) if own else None for metric in self.schedule.metrics]
        return gamma_of(kernels, problem.targets, self.schedule.tolerance), model(kernels, problem.targets, compiled)

    def run(self, kappa: Array, pace: Array, seeds: NDArray[np.uint64], advance: Callable[[float], None]) -> tuple[Array, Array]:
        """Metrics of runs of a kappa, pace, seed each, (n_runs,): (metric, run, time), and the s at which they diverged, (run,).

        `advance` is called with the share of the time that has passed, times the number of runs.
        """
        problem, point, times, all_steps, sizes, metrics, _ = self.schedule
        n_runs, n_times = len(kappa), len(times)
        lanes = -(-n_runs // WIDTH) * WIDTH
        fill = np.minimum(np.arange(lanes), n_runs - 1)  # lanes that are left over repeat the last run
        gamma, measures = self._models
        place, runs = block(point, self._vectors, kappa[fill], pace[fill], seeds[fill], self.kernels.scratch_rows)
        begin(gamma, place, runs)
        in_numpy = [i for i, kind in enumerate(measures.kinds) if kind == UNCOMPILED]
        out, clock = np.zeros((len(metrics), n_runs, n_times)), np.zeros(2)
        for first in range(0, n_times, _RECORDS):
            cut = slice(first, min(first + _RECORDS, n_times))
            n_steps, steps = all_steps[cut].copy(), sizes[cut].copy()
            values = np.zeros((len(metrics), len(steps), lanes))
            points = np.empty((len(steps) if in_numpy else 0, n_runs, len(point)))
            before = clock[0]
            record(gamma, measures, stepper(), place, runs, n_steps, steps, clock, values, points)
            for i in in_numpy:
                values[i, :, :n_runs] += measure_in_numpy(problem, metrics[i], points)
            out[:, :, cut] = np.swapaxes(values[:, :, :n_runs], 1, 2)
            advance(n_runs * (clock[0] - before) / (times[-1] or 1.0))
        return out, runs.diverged[:n_runs] * pace


@contextmanager
def kernels_on_gamma(problem: Problem) -> Iterator[Kernels]:
    """The problem's own kernels, or its functions in Python as such, where some are missing."""
    kernels = problem.derivative_kernels
    if kernels is not None:
        yield kernels
    else:
        with kernels_in_python(problem) as calls:
            yield calls
