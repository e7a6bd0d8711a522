"""The result of `predict`: the answer of each way, checks of the theory's assumptions, a verdict [theory: Ways to predict]."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.files import json_value
from .checks import Check, verdict
from .target import Target
from .trials.result import Trials
from .ways.base import Answer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_AGREES = 1.1
"""A way agrees with the trials if its momentum takes at most this factor longer than the recommended one."""
_GOAL, _WIDE = 1.06, 1.6
"""Regret bound, and ratio of the ends of a carried range, above which an answer is doubtful."""
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
        """For each other way whether it agrees with the recommended one, in words."""
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
        lines = [
            f"lr = {self.lr:.4g}: momentum {self.momentum:.6g} (1 - beta = {self.one_minus_beta:.4g}), by {self.method}",
            f"target: {self.target.metric} below {self.target.fraction:.3g} of its start",
            f"  {'way':15} {'1 - beta':>10}  {'from':>9} {'to':>9} {'steps':>16}",
        ]
        for name, way in self.ways.items():
            span = f"{'':>9} {'':>9}" if way.low is None or way.high is None else f"{way.low:9.4g} {way.high:9.4g}"
            steps = "" if way.time is None else f"{way.time:.4g}" + (f" ± {way.time_se:.2g}" if way.time_se else "")
            lines.append(f"  {name:15} {way.one_minus_beta:10.4g}  {span} {steps:>16}")
        if self.cliff is not None:
            lines.append(f"  cliff: below 1 - beta = {self.cliff:.4g} the target is met much later or never")
        lines += [f"  {'holds' if check.holds else 'FAILS':5}  {check.name}: {check.found}" for check in self.checks]
        return "\n".join([*lines, self.verdict])

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers, strings and lists; None for an infinite time."""
        return {
            "lr": self.lr,
            "noise": self.noise,
            "target": {"metric": str(self.target.metric), "fraction": self.target.fraction},
            "momentum": self.momentum,
            "one_minus_beta": self.one_minus_beta,
            "time": json_value(self.time),
            "method": self.method,
            "cliff": self.cliff,
            "ways": {name: {key: json_value(value) for key, value in vars(way).items()} for name, way in self.ways.items()},
            "checks": [asdict(check) for check in self.checks],
            "verdict": self.verdict,
        }

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw time against 1 - beta by each way that predicts it, recommendations and cliff; needs matplotlib."""
        from matplotlib.figure import Figure

        from ..figures.time_against_momentum import draw

        if axes is None:
            axes = Figure(figsize=(6.4, 4.2), layout="constrained").add_subplot()
        curves = {
            name: (way.tried[np.isfinite(way.times)], way.times[np.isfinite(way.times)], None)
            for name, way in self.ways.items()
            if np.isfinite(way.times).any()
        }
        draw(axes, curves, {name: way.one_minus_beta for name, way in self.ways.items()}, self.cliff)
        axes.legend(fontsize=8)
        return axes


def _word(best: Answer, way: Answer) -> str:
    """Whether another way's momentum is as good as the recommended one, too much, or too little."""
    if _as_fast(best, way.one_minus_beta):
        return "agrees"
    return "too much momentum" if way.one_minus_beta < best.one_minus_beta else "too little momentum"


def _as_fast(best: Answer, one_minus_beta: float) -> bool:
    """Whether a momentum takes hardly longer than the recommended one, by the times tried, or else by the range."""
    met = np.isfinite(best.times)
    tried, times = best.tried[met], best.times[met]
    if len(tried) > 1 and tried[0] <= one_minus_beta <= tried[-1] and best.time:
        time = np.exp(np.interp(np.log(one_minus_beta), np.log(tried), np.log(times)))
        return bool(time <= _AGREES * best.time)
    low, high = best.low or best.one_minus_beta, best.high or best.one_minus_beta
    return low / _NEAR <= one_minus_beta <= high * _NEAR


def _sentence(word: str) -> str:
    return word if word.startswith("does not apply") or word == "agrees" else f"asks for {word}"


def _doubts(trials: Trials, best: Answer) -> Iterator[str]:
    """What the trials leave open."""
    if trials.regret > _GOAL:
        lost = f"up to {100 * (trials.regret - 1):.0f} %" if np.isfinite(trials.regret) else "more than can be said"
        yield f"the trials were too few: the time may exceed the shortest by {lost}; a larger budget decides"
    if trials.carried and len(trials.at) == 1:
        yield "carried from one learning rate alone: its correction is a guess"
    if trials.carried and best.low and best.high and best.high > _WIDE * best.low:
        yield f"carried over a long way: 1 - beta may be {best.low:.3g} to {best.high:.3g}"
    n_lost = sum(int(at.lost[np.argmin(np.abs(at.one_minus_beta - at.best))]) for at in trials.at)
    if n_lost:
        yield f"{n_lost} runs diverged at the recommended momentum"
