"""How a universal curve is searched for: number of runs, precision, grid and length of the simulations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...core.errors import check_integer, check_positive


@dataclass(frozen=True)
class CurveSettings:
    """The numbers by which `universal_curve` decides where, how often and for how long to simulate.

    D = (1 - beta) / (c lr^2)^(1/3) is the scaled 1 - beta, tau the scaled time, and the best D is that of the shortest time.
    The cliff is the D below which the target is met much later, or never.

    Attributes:
        n_seeds: runs at each D to begin with; None: as many as have `n_modes` modes together, between 4 and 64
        precision: relative standard error of the shortest time to be reached, > 0
        seed: of the noise
        n_modes: modes of all runs at one D together that average out well enough to begin with
        many_modes: with as many modes in a single run, four runs are enough to begin with
        growth: the runs at one D are at most so many times max(n_seeds, n_modes / P)
        least_at_best: runs that the best D has at least: fewer may agree by chance
        spread: standard errors of the mean within which the target may be met by chance
        ratio: of neighbouring D in the first grid
        finest_ratio: of the best D to the next one below it, at which the search for the cliff ends
        slower: a time so many times the shortest lies past the cliff
        near: a time up to so many times the shortest may turn out to be it
        branch: up to this many times the best D the slope of the time above the cliff is measured
        max_points: number of D at most; max_points_above: of them before those below the best are tried
        n_records: of a course
        n_steps: steps of the simulation within the time that is expected; twice as many change it by less than its error
        largest_step: in units of the modes' relaxation time
        overshoot: a course is at least so many first crossings long: by then an overshoot has peaked
        horizon: length of a course, in shortest times, or in guesses of its own time until one is known
        guess_horizon: length of a course at least, in guesses of its own time, once a time is known
        prolongations: of a course whose length was guessed
    """

    n_seeds: int | None = None
    precision: float = 0.015
    seed: int = 0
    n_modes: int = 640
    many_modes: int = 100
    growth: int = 8
    least_at_best: int = 16
    spread: float = 2.0
    ratio: float = 1.25
    finest_ratio: float = 1.04
    slower: float = 1.3
    near: float = 1.15
    branch: float = 1.5
    max_points: int = 32
    max_points_above: int = 24
    n_records: int = 160
    n_steps: int = 60
    largest_step: float = 0.1
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
        """Runs at each D to begin with, of a problem of P = `n_outputs` modes."""
        if self.n_seeds is not None:
            return self.n_seeds
        return int(np.clip(self.n_modes // n_outputs, 4, 64)) if n_outputs < self.many_modes else 4

    def most_runs(self, n_outputs: int) -> int:
        """Runs at one D at most."""
        return self.growth * max(self.first_runs(n_outputs), self.n_modes // n_outputs)

    def key(self, n_outputs: int) -> dict[str, Any]:
        """What of the settings tells one curve from another: the first three, and the others where they are not the default."""
        changed = {name: value for name, value in asdict(self).items() if value != getattr(CurveSettings, name)}
        return changed | {"n_seeds": self.first_runs(n_outputs), "precision": self.precision, "seed": self.seed}
