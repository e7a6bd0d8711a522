"""What `find_momentum` is asked for: the length of a trial, momenta, repetitions, a metric, a limit of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import numpy as np
from torch import nn

from ...core.errors import InputError, check_integer, check_momentum, check_one, check_positive
from .lengths import TRIALS
from .snapshot import Snapshot
from .trial import Training

LEAST, _USUAL, _MOST = 150, 300, 1000
"""Least steps of a trial, least where the length of the training is unknown, and most: 150 leave momenta up to 0.96."""
_SHARE = 0.1
"""Length of a trial, in trainings."""
_FIFTHS = 5
"""Length of a training, in trials, where nothing tells it."""
_ENCLOSING = 3
"""Least number of trials that enclose the best."""
_PILOT = 5
"""Steps whose speed is measured for a budget."""


@dataclass(frozen=True)
class FinderSettings:
    """The options of `find_momentum` that say which trials are made.

    Attributes:
        steps: length of a trial; None: a tenth of the training where the schedule tells its length, else a pass through the data
        momenta: to try; None: found by search
        seeds: repetitions of each
        metric: a function of the trained model, smaller is better; None: the loss at the end
        budget: seconds for all trials; None: no limit
        schedule: the learning rate scheduler of the training, if any

    Raises:
        InputError: for a value out of range.
    """

    steps: int | None = None
    momenta: Sequence[float] | None = None
    seeds: int = 1
    metric: Callable[[nn.Module], float] | None = None
    budget: float | None = None
    schedule: Any = None

    def __post_init__(self) -> None:
        if self.steps is not None:
            check_integer(self.steps, "steps", 10, 10**8)
        if self.momenta is not None:
            given = check_momentum(self.momenta, "momenta")
            if given.ndim > 1 or not given.size:
                raise InputError("momenta", f"shape {given.shape}", "one or more numbers, or None")
        check_integer(self.seeds, "seeds", 1, 10**4)
        if self.metric is not None and not callable(self.metric):
            raise InputError("metric", self.metric, "a function of the model, or None")
        if self.budget is not None:
            check_one(check_positive, self.budget, "budget")

    @property
    def given(self) -> list[float] | None:
        """1 - beta of the given momenta, increasing; None: to be found."""
        if self.momenta is None:
            return None
        return sorted({1 - float(x) for x in np.atleast_1d(check_momentum(self.momenta, "momenta"))})

    def most(self, n_steps: int) -> int:
        """Steps that all trials of n steps may take: those of the training, for each seed.

        Where no scheduler tells them, five trials.
        """
        return (self.told(n_steps) or _FIFTHS * n_steps) * self.seeds

    def told(self, n_steps: int) -> int | None:
        """Steps of the training, where the scheduler tells them; if no more than three trials of n steps, they may be epochs."""
        known = _told(self.schedule)
        return known if known is not None and known > _ENCLOSING * n_steps else None

    def usual(self, training: Training) -> int:
        """Steps of a trial of `training` without a budget."""
        if self.steps is not None:
            return int(self.steps)
        known = _told(self.schedule)
        if known is not None:
            return int(np.clip(_SHARE * known, LEAST, _MOST))
        return int(np.clip(len(training.loader) if isinstance(training.loader, Sized) else 0, _USUAL, _MOST))

    def n_steps(self, training: Training, snapshot: Snapshot) -> int:
        """Steps of a trial of `training`; a budget is divided by the speed of a few steps, after which all is put back."""
        wanted = self.usual(training)
        if self.steps is not None or self.budget is None:
            return wanted
        try:
            replace(training, n_steps=1).run(0.0)  # the first step may take longer
            began = monotonic()
            replace(training, n_steps=_PILOT).run(0.0)
            seconds = (monotonic() - began) / _PILOT
        finally:
            snapshot.restore()
        trials = self.seeds * (TRIALS if self.given is None else len(self.given))
        return max(10, min(wanted, int(self.budget / (seconds * trials))))


def _told(schedule: Any) -> int | None:
    """Length of the training by its scheduler, such as T_max of a cosine; one in epochs is shorter than the least trial."""
    for name in ("total_steps", "T_max", "total_iters"):
        value = getattr(schedule, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None
