"""The choice among momenta whose runs have been compared: the least momentum that is fast enough and safe from the cliff."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .times import Course, resampling

Floats = NDArray[np.float64]

GOAL = 1.03
"""Upper 95 % bound on the recommendation's time over the shortest at which a search ends."""
_CAREFUL = np.sqrt(2)
"""Factor on the deviations of resamples when the momentum is chosen: the best of several has had luck, and just beyond the cliff
a little luck makes a momentum seem the fastest."""
CONTENDER = GOAL
"""Momenta whose time may be within this factor of the shortest are contenders: more runs of others change nothing."""
LATE = 1.3
"""A mean that is above the level at this multiple of the shortest time shows the cliff."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The momentum that the trials at one learning rate recommend.

    Attributes:
        one_minus_beta: delta of the recommendation
        low, high: least and largest 1 - beta tried whose time may be within 3 % of the shortest; with more momentum than
            recommended only where fluctuations have been seen to become stationary; where the trials were too few to tell, the
            next ones tried on either side
        time, time_se: steps to the target, and standard error
        regret: upper 95 % bound of the time over the shortest
        edge: largest 1 - beta below the recommendation that does not hold the target; None where none was seen
    """

    one_minus_beta: float
    low: float
    high: float
    time: float
    time_se: float
    regret: float
    edge: float | None


def choose(near: Sequence[Course], tried: Sequence[Course], seed: int, *, exact: bool = False) -> tuple[Choice, list[Course]]:
    """The recommendation, and the contenders.

    Args:
        near: momenta that have met the target, and are not much slower than the fastest, with equal numbers of runs
        tried: all momenta
        seed: of the resampling
        exact: count those among the fastest that may yet hold the target: more runs bring the choice to the cliff itself
    """
    weights = resampling(near[0].n_runs, seed, _CAREFUL)
    times = np.stack([course.resampled(weights) for course in near], axis=1)
    lasting = np.array([not course.comes_back for course in near])
    upper, lower = _bounds(times, lasting)
    upper = np.where([course.safe for course in near], upper, np.inf)
    deltas = np.array([course.one_minus_beta for course in near])
    if np.isfinite(upper).any():
        # the least momentum that is fast enough: time is flat on its side, and a cliff on the other
        enough = np.flatnonzero(upper <= max(GOAL, upper.min()))
        k = int(enough[np.argmax(deltas[enough])])
    else:
        k = int(np.argmin([course.surely() for course in near]))
    value, edge = float(deltas[k]), _edge(tried, float(deltas[k]), min(course.time() for course in near))
    shown = np.array([course.stays for course in near])
    good = deltas[(lower <= GOAL) & (deltas > (edge or 0.0)) & (shown | (deltas > value))]
    low, high = float(good.min(initial=value)), float(good.max(initial=value))
    if not upper[k] <= GOAL:  # undecided: those next to it may be as good
        every = np.array([course.one_minus_beta for course in tried])
        low, high = every[every < low].max(initial=edge or 0.0) or low, every[every > high].min(initial=1.0)
    regret, among = float(upper[k]), lasting
    if exact and np.isfinite(regret):
        among = lasting | np.array([not course.surely_comes_back for course in near])
        regret = float(_bounds(times, among)[0][k])
    choice = Choice(value, float(low), float(high), near[k].time(), near[k].time_se(seed), regret, edge)
    return choice, [course for j, course in enumerate(near) if (lower[j] <= CONTENDER and among[j]) or j == k]


def _bounds(times: Floats, among: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Upper and lower 95 % bounds of the time of each momentum over the shortest of some, from times (n_resample, n_momenta)."""
    with np.errstate(invalid="ignore"):
        regrets = times / (times[:, among] if among.any() else times).min(axis=1, keepdims=True)
    regrets = np.where(np.isfinite(regrets), regrets, np.inf)
    return np.quantile(regrets, 0.95, axis=0, method="higher"), np.quantile(regrets, 0.05, axis=0, method="lower")


def _edge(tried: Sequence[Course], one_minus_beta: float, best: float) -> float | None:
    """Largest 1 - beta below this one at which the mean is above the level long after the fastest meets it; None: none."""
    below = [course for course in tried if course.one_minus_beta < one_minus_beta and course.end > LATE * best]
    return max((course.one_minus_beta for course in below if course.time() > LATE * best), default=None)
