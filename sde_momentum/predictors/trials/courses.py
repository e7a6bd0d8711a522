"""Runs of the update at several momenta of one learning rate, advanced side by side, that go on from where they stand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from ...core.simd.matrix import aligned
from ...core.threads import in_order
from ...dynamics.label_noise_sgd import LabelNoiseSGD
from ...dynamics.update import Draws, Runs, record
from ...problems.metrics import Metric
from ...problems.problem import Array
from .times import Course

Steps = NDArray[np.int64]


@dataclass(frozen=True)
class Clock:
    """Steps at which the metric is recorded: a fixed number apart at first, later a fixed share of the steps made.

    Attributes:
        first: steps between the first records
        fine: records while the number of steps grows by a factor e
    """

    first: int = 1
    fine: int = 80

    def steps(self, until: float = 0, n: int = 1) -> Steps:
        """The steps from 0 on: at least n of them, the last at least `until`; more of them begin with fewer.

        >>> Clock(2, 4).steps(20).tolist()
        [0, 2, 4, 6, 8, 10, 12, 15, 18, 22]
        """
        steps = [0]
        while steps[-1] < until or len(steps) < n:
            steps.append(steps[-1] + max(self.first, steps[-1] // self.fine))
        return np.array(steps, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Training:
    """The training that is tried.

    Attributes:
        method: the update and its noise
        start: w_0, (N,)
        metric: that of the target
        level: below which the metric's mean must stay
        seed: of all noise
        workers: threads, -1 for all cores
    """

    method: LabelNoiseSGD
    start: Array
    metric: Metric
    level: float
    seed: int
    workers: int


@dataclass(eq=False)
class _Block:
    """Runs that are stepped together, one per lane."""

    runs: Runs
    draws: Draws
    owners: NDArray[np.int64]
    """Number of the course that each lane belongs to."""
    kept: list[Array] = field(default_factory=list)
    """Recorded metric, pieces (lanes, n)."""
    done: int = 0
    """Number of records made."""

    def __post_init__(self) -> None:
        self.members = frozenset(self.owners.tolist())

    def part(self, lanes: NDArray[np.bool_]) -> _Block:
        """The block of some of the lanes."""
        runs = Runs._make(np.ascontiguousarray(x[..., lanes]) for x in self.runs)
        draws = Draws._make(np.ascontiguousarray(x[..., lanes]) for x in self.draws)
        return _Block(runs, draws, self.owners[lanes], [piece[lanes] for piece in self.kept], self.done)


class Courses:
    """Runs at several momenta of one learning rate. Runs of equal number share their noise between momenta.

    Args:
        training: what is tried
        lr: eta > 0
        clock: when the metric is recorded
        tick: called with the seconds that each advance took

    Attributes:
        courses: one `Course` for each momentum, in the order in which they were added
        run_steps: number of updates of single runs made so far
        seconds: time that they took
    """

    def __init__(
        self, training: Training, lr: float, clock: Clock, tick: Callable[[float], object] = lambda seconds: None
    ) -> None:
        self.training, self.lr, self.clock, self._tick = training, lr, clock, tick
        self.courses: list[Course] = []
        self._blocks: list[_Block] = []
        self.run_steps, self.seconds = 0, 0.0

    def add(self, deltas: Iterable[float], n_seeds: int) -> None:
        """New momenta, given as 1 - beta, with runs 0 to n_seeds - 1."""
        first = len(self.courses)
        self.courses += [Course(float(delta), self.training.level) for delta in deltas]
        self._start([(i, number) for i in range(first, len(self.courses)) for number in range(n_seeds)])

    def more(self, which: Sequence[int], n_seeds: int) -> None:
        """More runs of the courses `which`, up to `n_seeds` each."""
        self._start([(i, number) for i in which for number in range(self.courses[i].n_runs, n_seeds)])

    def _start(self, lanes: Sequence[tuple[int, int]]) -> None:
        """Runs at rest at the start: pairs of course and number of the run, in the order of the courses."""
        for group in self._groups(np.array(lanes, dtype=np.int64).reshape(-1, 2)):
            self._blocks.append(self._at_rest(*group.T))
        for i, _ in lanes:
            self.courses[i].n_runs += 1

    def _groups(self, lanes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """The lanes of each block: compiled code one momentum, which may stop alone; a Python function many."""
        problem = self.training.method.problem
        if problem.kernels is None:
            return np.array_split(lanes, -(-len(lanes) // problem.lanes)) if len(lanes) else []
        alone = [lanes[lanes[:, 0] == i] for i in np.unique(lanes[:, 0])]
        return [one[at : at + problem.lanes] for one in alone for at in range(0, len(one), problem.lanes)]

    def _at_rest(self, owners: NDArray[np.int64], numbers: NDArray[np.int64]) -> _Block:
        problem, n = self.training.method.problem, len(owners)
        w, v = (aligned(problem.n_parameters, n) for _ in range(2))
        w[:], v[:] = self.training.start[:, None], 0.0
        momentum = np.array([1 - self.courses[i].one_minus_beta for i in owners])
        sigma = np.full(n, float(self.training.method.label_noise))
        runs = Runs(w, v, np.full(n, self.lr), momentum, sigma, np.full(n, -1, dtype=np.int64))
        words = (self.training.seed * 1_000_003 + numbers).astype(np.uint64)
        return _Block(runs, Draws.of(words, problem.n_outputs), owners.copy())

    def advance(self, goals: Mapping[int, float]) -> None:
        """Run courses, by their numbers, to at least so many steps; those that are further already stay where they are."""
        began, jobs = monotonic(), []
        self._split(goals)
        steps = self.clock.steps(max(goals.values()))
        counts = {i: int(np.searchsorted(steps, until)) + 1 for i, until in goals.items()}
        for block in self._blocks:
            goal = max((counts[i] for i in block.members if i in counts), default=0)
            if block.done < goal:
                jobs.append(partial(self._advance, block, steps[:goal]))
        for made in in_order(iter(jobs), self.training.workers):
            self.run_steps += made
        passed = monotonic() - began
        self.seconds += passed
        self._tick(passed)
        for i in goals:
            self._collect(i)

    def _split(self, which: Collection[int]) -> None:
        """Let the runs of other courses wait in blocks of their own."""
        blocks = []
        for block in self._blocks:
            if block.members.isdisjoint(which) or block.members.issubset(which):
                blocks.append(block)
            else:
                wanted = np.isin(block.owners, list(which))
                blocks += [block.part(wanted), block.part(~wanted)]
        self._blocks = blocks

    def _advance(self, block: _Block, steps: Steps) -> int:
        """Advance a block to the end of `steps`; the number of updates made."""
        method, first = self.training.method, int(steps[block.done - 1]) if block.done else 0
        wanted = steps[block.done :]
        found = record(method.problem, block.runs, block.draws, method.rule(), first, wanted, [self.training.metric])
        block.kept.append(found[0])
        block.done = len(steps)
        return int(steps[-1] - first) * len(block.owners)

    def _collect(self, i: int) -> None:
        """Bring the values of course i together from its blocks."""
        mine = [block for block in self._blocks if i in block.members]
        done = min(block.done for block in mine)
        rows = []
        for block in mine:
            if len(block.kept) > 1:
                block.kept = [np.concatenate(block.kept, axis=1)]
            rows.append(block.kept[0][block.owners == i, :done])
        self.courses[i].go_on(self.clock.steps(n=done), np.concatenate(rows))

    @property
    def seconds_per_run_step(self) -> float:
        """Measured cost of one update of one run, all threads together; NaN before the first."""
        return self.seconds / self.run_steps if self.run_steps else float("nan")
