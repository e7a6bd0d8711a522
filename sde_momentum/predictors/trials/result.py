"""What was simulated in trials, and what it says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LrTrials:
    """The trials at one learning rate, momenta in the order of increasing 1 - beta, (n,).

    Attributes:
        lr: eta
        one_minus_beta: 1 - beta of each momentum tried
        time, time_se: steps to the target and their standard error; inf where the target was not seen to be met
        n_seeds: number of runs
        n_steps: number of steps of each run
        lost: number of runs that diverged
        stays: whether the mean is sure to stay below the target until fluctuations are nearly stationary
        best: the recommended 1 - beta at this learning rate
    """

    lr: float
    one_minus_beta: Floats
    time: Floats
    time_se: Floats
    n_seeds: Whole
    n_steps: Whole
    lost: Whole
    stays: NDArray[np.bool_]
    best: float


@dataclass(frozen=True, eq=False)
class Trials:
    """Short runs of the training itself, from which a momentum was found.

    Attributes:
        at: the trials at each learning rate, the smallest first
        regret: upper 95 % bound of the time at the recommendation over the shortest; for a carried answer at the smallest
            learning rate tried
        carried: whether the answer is carried from larger learning rates by a law
        seconds, budget: time that was taken, and allowed
    """

    at: tuple[LrTrials, ...]
    regret: float
    carried: bool
    seconds: float
    budget: float
