"""The result of `predict`: the answer of each way, checks of the theory's assumptions, a verdict [theory: Ways to predict]."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.extras import require
from .checks import Check, verdict
from .prediction_picture import draw_prediction
from .prediction_text import as_dict, describe
from .target import Target
from .trials.result import Trials
from .ways.base import Answer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_AGREES = 1.1
"""A way agrees with the trials if its momentum takes at most this factor longer than the recommended one."""
_GOAL, _WIDE = 1.06, 1.6
"""Regret bound, and ratio of the ends of a carried range, above which an answer is doubtful."""
_APART = 1.5
"""Factor between two expected numbers of steps from which on they are said to differ."""
_NEAR = 1.25
"""... or, where its time was not tried, if its 1 - beta lies within this factor of the range of the trials."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The best momentum for a learning rate with its uncertainty and checks; made by `predict`.

    Attributes:
        lr, noise, target: as given to `predict`
        ways: name of each way -> its answer, from the cheapest to the most faithful
        method: name of the recommended way, the most faithful of them
        checks: of the theory's assumptions
        silent: name of a way that gives no answer here -> why
    """

    lr: float
    noise: float
    target: Target
    ways: dict[str, Answer]
    method: str
    checks: tuple[Check, ...]
    silent: dict[str, str]
    theory_doubts: tuple[str, ...] = ()

    @property
    def best(self) -> Answer:
        """The answer of the recommended way."""
        return self.ways[self.method]

    @property
    def one_minus_beta(self) -> float:
        """The recommended 1 - beta."""
        return self.best.one_minus_beta

    @property
    def momentum(self) -> float:
        """The recommended momentum."""
        return 1 - self.one_minus_beta

    @property
    def low(self) -> float | None:
        """Least 1 - beta that may be as fast; None where the way gives no range."""
        return self.best.low

    @property
    def high(self) -> float | None:
        """Largest 1 - beta that may be as fast; None where the way gives no range."""
        return self.best.high

    @property
    def time(self) -> float | None:
        """Predicted steps to the target at the recommended momentum."""
        return self.best.time

    @property
    def time_se(self) -> float:
        """Standard error of `time`."""
        return self.best.time_se

    @property
    def cliff(self) -> float | None:
        """1 - beta below which the target is met much later or never, by the recommended way; None if that shows none."""
        return self.best.cliff

    @property
    def trials(self) -> Trials | None:
        """What was simulated; None without trials."""
        return self.best.trials

    @cached_property
    def agreement(self) -> dict[str, str]:
        """For each other way whether it agrees with the recommended one, in words.

        Momenta are compared: a way agrees if its own would take at most 1.1 times as long, by the times tried, or where its
        1 - beta was not tried lies within a factor of 1.25 of the range. Steps are named where the two differ by more than 1.5.
        """
        words = {name: _word(self.best, way) for name, way in self.ways.items() if name != self.method}
        return words | {name: f"does not apply: {why}" for name, why in self.silent.items()}

    @cached_property
    def doubts(self) -> tuple[str, ...]:
        """What makes the answer doubtful, in words; none where it is safe."""
        return self.theory_doubts if self.trials is None else tuple(_doubts(self.trials, self.best))

    @property
    def safe(self) -> bool:
        """Whether nothing makes the answer doubtful."""
        return not self.doubts

    @cached_property
    def verdict(self) -> str:
        """How far the ways agree, in one line."""
        if self.trials is None:
            return verdict(self.ways, self.method, self.checks)
        if not self.agreement:
            return "trials alone: no theory was asked"
        return "; ".join(f"{name} {_sentence(word)}" for name, word in self.agreement.items())

    def __str__(self) -> str:
        return describe(self)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers, strings and lists; None for an infinite time."""
        return as_dict(self)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw trials, theory's times, recommendation and cliff over 1 - beta; needs matplotlib."""
        require("Prediction.plot", "matplotlib")
        return draw_prediction(self, axes)


def _word(best: Answer, way: Answer) -> str:
    """Whether another way's momentum is as good as the recommended one, too much, or too little."""
    if _as_fast(best, way.one_minus_beta):
        apart = way.time and best.time and not 1 / _APART <= way.time / best.time <= _APART
        return f"agrees, but expects {way.time:.3g} steps" if apart else "agrees"
    return "too much momentum" if way.one_minus_beta < best.one_minus_beta else "too little momentum"


def _as_fast(best: Answer, one_minus_beta: float) -> bool:
    """Whether a momentum takes hardly longer than the recommended one, by the times tried, or else by the range.

    More momentum than the recommended must have been tried itself: its mean may come back above the level late.
    """
    trials, low, high = best.trials, best.low or best.one_minus_beta, best.high or best.one_minus_beta
    if trials is None or trials.carried or not best.time:
        return low / _NEAR <= one_minus_beta <= high * _NEAR
    at = trials.at[0]
    if one_minus_beta < best.one_minus_beta:
        i = int(np.argmin(np.abs(np.log(at.one_minus_beta / one_minus_beta))))
        return bool(np.isclose(at.one_minus_beta[i], one_minus_beta) and at.stays[i] and at.time[i] <= _AGREES * best.time)
    met = np.isfinite(at.time)
    tried, times = at.one_minus_beta[met], at.time[met]
    if one_minus_beta <= tried[-1]:
        return bool(np.exp(np.interp(np.log(one_minus_beta), np.log(tried), np.log(times))) <= _AGREES * best.time)
    return one_minus_beta <= high * _NEAR


def _sentence(word: str) -> str:
    return word if word.startswith(("does not apply", "agrees")) else f"asks for {word}"


def _doubts(trials: Trials, best: Answer) -> Iterator[str]:
    """What the trials leave open."""
    if trials.regret > _GOAL:
        lost, budget = "more than can be said", "a larger budget"
        if np.isfinite(trials.regret):
            lost = f"up to {100 * (trials.regret - 1):.0f} %"
            # errors fall as the root of the number of runs
            budget = f"a budget of about {trials.budget * ((trials.regret - 1) / (_GOAL - 1)) ** 2:.0f} s"
        yield f"the trials were too few: the time may exceed the shortest by {lost}; {budget} should decide"
    if trials.carried and len(trials.at) == 1:
        yield "carried from one learning rate alone: its correction is a guess"
    if trials.carried and best.low and best.high and best.high > _WIDE * best.low:
        yield f"carried over a long way: 1 - beta may be {best.low:.3g} to {best.high:.3g}"
    n_lost = sum(int(at.lost[np.argmin(np.abs(at.one_minus_beta - at.best))]) for at in trials.at)
    if n_lost:
        yield f"{n_lost} runs diverged at the recommended momentum"
