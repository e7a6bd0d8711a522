"""Settings of the search for a universal curve: number of runs, precision, grid and length of the simulations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...core.arguments import by_annotations
from ...core.errors import check_integer, check_positive


@by_annotations
@dataclass(frozen=True)
class CurveSettings:
    """Settings by which `universal_curve` chooses the D to simulate, the number of runs and their length.

    D = (1 - beta) / (c lr^2)^(1/3); the best D has the shortest time; the cliff is the D below which the target is met much
    later or never. A course is the mean of the metric against time at one D.

    Attributes:
        n_seeds: initial number of runs at each D; None: as many as have `n_modes` modes together, between 4 and 64
        precision: relative standard error at which no more runs are made, > 0, of the shortest time and of the recommended D's
            time over it
        seed: of the noise
        n_modes: initial number of modes, over all runs at one D
        many_modes: number of modes of a problem from which four initial runs are enough
        growth: largest number of runs at one D, over max(n_seeds, n_modes / P)
        n_groups: largest number of groups of runs whose agreement says how precise the recommendation is
        spread: number of standard errors of the mean within which the target may be met by chance
        ratio: of neighbouring D in the first grid
        finest_ratio: of the best D to the next smaller one, at which the search for the cliff ends
        most_parts: largest number of parts, at once, of the gap between these two
        above: the largest D is so slow, in shortest times
        slower: a time above so many shortest times lies past the cliff
        near: a time below so many shortest times may turn out to be the shortest
        gain: expected relative gain in time at which no smaller D is tried
        branch: the slope of the time above the cliff is measured up to this many times the best D
        max_points: largest number of D; max_points_above: of D before those below the best are tried
        n_records: number of records of a course
        n_steps: number of steps within the expected time: the time is right to 0.5 % (docs/theory.md)
        largest_step: in s = delta k, in which energies relax in 1
        steps_at_finite_lr, largest_at_finite_lr: in their place at finite lr
        overshoot: least length of a course, over its first crossing of the target: by then an overshoot has peaked
        horizon: length of a course, in shortest times, or in expected times of its own until a time is known
        guess_horizon: least length of a course, in expected times of its own, once a time is known
        prolongations: largest number of times that a course is simulated anew, longer
    """

    n_seeds: int | None = None
    precision: float = 0.015
    seed: int = 0
    n_modes: int = 640
    many_modes: int = 100
    growth: int = 8
    n_groups: int = 8
    spread: float = 2.0
    ratio: float = 1.35
    finest_ratio: float = 1.02
    most_parts: int = 3
    above: float = 1.25
    slower: float = 1.3
    near: float = 1.06
    gain: float = 0.01
    branch: float = 1.5
    max_points: int = 32
    max_points_above: int = 24
    n_records: int = 44
    n_steps: int = 16
    largest_step: float = 0.25
    steps_at_finite_lr: int = 60
    largest_at_finite_lr: float = 0.1
    overshoot: float = 2.5
    horizon: float = 2.7
    guess_horizon: float = 1.4
    prolongations: int = 6

    def __post_init__(self) -> None:
        if self.n_seeds is not None:
            check_integer(self.n_seeds, "n_seeds", 2)
        check_integer(self.seed, "seed", 0)
        check_positive(self.precision, "precision")

    def first_runs(self, n_outputs: int) -> int:
        """Initial number of runs at each D, for a problem of P = `n_outputs` modes."""
        if self.n_seeds is not None:
            return self.n_seeds
        return int(np.clip(self.n_modes // n_outputs, 4, 64)) if n_outputs < self.many_modes else 4

    def most_runs(self, n_outputs: int) -> int:
        """Largest number of runs at one D."""
        return self.growth * max(self.first_runs(n_outputs), self.n_modes // n_outputs)

    def least_at_best(self, n_outputs: int) -> int:
        """Least number of runs at the best D, and at new ones next to the cliff: fewer may agree by chance."""
        return int(np.clip(2 * self.n_modes // n_outputs, self.first_runs(n_outputs), 16))

    def key(self, n_outputs: int) -> dict[str, Any]:
        """The settings as the key of a stored curve: the first three, and the others where they differ from the default."""
        changed = {name: value for name, value in asdict(self).items() if value != getattr(CurveSettings, name)}
        return changed | {"n_seeds": self.first_runs(n_outputs), "precision": self.precision, "seed": self.seed}
