"""Runs of the critical limit in blocks, each stepped in machine code by one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..core.simd.matrix import WIDTH
from ..geometry.lanes.manifold import Gamma, gamma_of
from ..problems.callbacks import kernels_in_python
from ..problems.compiled import Kernels
from ..problems.measures import UNCOMPILED, Model, model
from ..problems.metrics import Metric
from ..problems.problem import Array, Problem
from .critical_steps import begin, block, record
from .update import measure_in_numpy

_LANES, _NUMBERS = 64, 2**15
"""Most lanes of a block, and most entries of its Jacobians beyond the least lanes."""
_RECORDS = 8
"""Records of one call, between which progress is told."""


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Runs from one point of Gamma, stepped in blocks.

    Attributes:
        problem: the training problem
        kernels: its own, or those of `problems.callbacks`
        point: (N,)
        times: of the records, in s, (n_time,)
        n_steps: number of steps before each record, from the one before, (n_time,)
        steps: their size, (n_time,)
        metrics: to record
        tolerance: |f(w) - y| <= tolerance (1 + |y|) after each move
    """

    problem: Problem
    kernels: Kernels
    point: Array
    times: Array
    n_steps: NDArray[np.int64]
    steps: Array
    metrics: Sequence[Metric]
    tolerance: float

    def lanes(self, most: int) -> int:
        """Number of runs in a block, a multiple of WIDTH: at most `most` where that is not less."""
        numbers = self.problem.n_outputs * self.problem.n_parameters
        wanted = np.clip(_NUMBERS // numbers, WIDTH, _LANES) if self._compiled else self.problem.lanes
        return int(max(min(wanted, most) // WIDTH, 1)) * WIDTH

    @cached_property
    def _compiled(self) -> bool:
        own = self.problem.kernels
        return own is not None and own.outputs is self.kernels.outputs

    @cached_property
    def _vectors(self) -> Array:
        """Eigenvectors of J J^T at the start, (P, P), a row each."""
        jacobian = self.problem.jacobian(self.point)
        return np.ascontiguousarray(np.linalg.eigh(jacobian @ jacobian.T)[1].T)

    @cached_property
    def _models(self) -> tuple[Gamma, Model]:
        compiled = [self.problem.compiled_metric(metric) if self._compiled else None for metric in self.metrics]
        targets = self.problem.targets
        return gamma_of(self.kernels, targets, self.tolerance), model(self.kernels, targets, compiled)

    def run(self, kappa: Array, seeds: NDArray[np.uint64], advance: Callable[[float], None]) -> tuple[Array, Array]:
        """Metrics of the runs (kappa, seed), (n_runs,) each: (metric, run, time), and the s at which they diverged, (run,).

        `advance` is called with the share of the time that has passed, times the number of runs.
        """
        n_runs, n_times = len(kappa), len(self.times)
        lanes = -(-n_runs // WIDTH) * WIDTH
        fill = np.minimum(np.arange(lanes), n_runs - 1)  # lanes that are left over repeat the last run
        gamma, measures = self._models
        place, runs = block(self.point, self._vectors, kappa[fill], seeds[fill], self.kernels.scratch_rows)
        begin(gamma, place, runs)
        in_numpy = [i for i, kind in enumerate(measures.kinds) if kind == UNCOMPILED]
        out, clock = np.zeros((len(self.metrics), n_runs, n_times)), np.zeros(2)
        for first in range(0, n_times, _RECORDS):
            cut = slice(first, min(first + _RECORDS, n_times))
            n_steps, steps = self.n_steps[cut].copy(), self.steps[cut].copy()
            values = np.zeros((len(self.metrics), len(steps), lanes))
            points = np.empty((len(steps) if in_numpy else 0, n_runs, len(self.point)))
            before = clock[0]
            record(gamma, measures, place, runs, n_steps, steps, clock, values, points)
            values = values[:, :, :n_runs]
            for i in in_numpy:
                values[i] += measure_in_numpy(self.problem, self.metrics[i], points)
            out[:, :, cut] = np.swapaxes(values, 1, 2)
            advance(n_runs * (clock[0] - before) / (self.times[-1] or 1.0))
        return out, runs.diverged[:n_runs]


@contextmanager
def kernels_on_gamma(problem: Problem) -> Iterator[Kernels]:
    """The problem's own kernels, or its functions in Python as such, where some are missing."""
    kernels = problem.kernels
    if kernels is not None and kernels.jacobian is not None and kernels.contract_hessians is not None:
        yield kernels
    else:
        with kernels_in_python(problem) as calls:
            yield calls
