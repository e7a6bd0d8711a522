"""The trials of `find_momentum`: which momenta are tried, how their losses are compared, and what is recommended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import linregress
from scipy.stats import t as student
from torch import nn

from ...core.errors import InputError
from ...core.progress import note
from ...predictors.momentum_rule import MomentumRule
from .lengths import FACTORS, least_one_minus_beta
from .result import FoundMomentum
from .settings import LEAST, FinderSettings
from .snapshot import Snapshot
from .trial import Training, same_batch

Floats = NDArray[np.float64]

_FIRST = (1.0, 0.32, 0.1, 0.032, 0.01)
"""1 - beta of the trials where the present momentum is lost."""
_NEAR = 0.4
"""Share of a factor, in logarithms, within which a momentum counts as tried."""
_BLOCKS = 16
"""Blocks of neighbouring batches, whose mean differences give the error of a comparison."""
_AS_GOOD = 0.975
"""Probability of the one-sided t test by which a momentum counts as worse than the best."""
_BEHIND = 5.0
"""Standard errors by which a trial is clearly behind."""
_FALLS = 2.0
"""Standard errors by which a loss falls."""


class Search:
    """The trials made so far.

    Attributes:
        runs: 1 - beta -> losses of each seed, and the metric of each seed
        dropped: 1 - beta of trials that were stopped, being clearly behind one with more momentum
        steps: number of steps of all trials
        tick: called with each share of a trial that is done
    """

    def __init__(self, model: nn.Module, snapshot: Snapshot, training: Training, settings: FinderSettings) -> None:
        self._model, self._snapshot, self._training, self._settings = model, snapshot, training, settings
        self._present = float(training.optimizer.param_groups[0]["momentum"])
        self._least = least_one_minus_beta(training.n_steps)
        self._first: dict[int, Any] = {}
        self.runs: dict[float, tuple[list[Floats], list[float]]] = {}
        self.dropped: set[float] = set()
        self.steps = 0
        self.tick: Callable[[float], object] = lambda amount: None

    # -- trials ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Make all trials."""
        if self._settings.given is not None:
            self._try(self._settings.given)
        else:
            self._try([float(np.clip(1 - self._present, self._least, 1.0))])
            if not np.isfinite(self._best()[1]):
                self._try([delta for delta in _FIRST if delta >= self._least])
            for factor in FACTORS:
                while self._affordable() and (new := self._between(factor)):
                    self._try(new[:1])  # one at a time: the next may be compared with it
        if not np.isfinite(self._best()[1]):
            self._refuse()

    def _refuse(self) -> None:
        """Raise InputError where every trial was lost: at once, which no lr changes, or on the way."""
        courses = [course for losses, _ in self.runs.values() for course in losses]
        if not all(np.isfinite(course[0]) for course in courses):
            raise InputError("loader", f"a first batch whose loss is {courses[0][0]}, before any update", "data of finite loss")
        ends = {len(course) for course in courses if not np.isfinite(course[-1])}
        same = f", each at step {ends.pop()}, whose batch may be one without a finite loss" if len(ends) == 1 else ""
        allowed = f"a smaller learning rate: every trial was lost, also without momentum{same}"
        raise InputError("lr", self._training.lr, allowed)

    def _affordable(self) -> bool:
        """Whether one more trial is of use, and all take no more steps than the training itself."""
        more = self._training.n_all * self._settings.seeds
        return bool(np.isfinite(self._best()[1])) and self.steps + more <= self._settings.most(self._training.n_steps)

    def _between(self, factor: float) -> list[float]:
        """1 - beta on either side of the best, at most `factor` away, that are not tried yet; more momentum first."""
        best, wide = self._best()[0], np.log(factor)
        new = []
        for side in (-1, 1):
            delta = float(np.clip(best * factor**side, self._least, 1.0))
            gaps = [side * np.log(d / best) for d in self.runs if side * (d - best) > 0]
            if min(gaps, default=np.inf) > (1 + _NEAR) * wide and side * np.log(delta / best) > _NEAR * wide:
                new.append(delta)
        return new

    def _try(self, deltas: Sequence[float]) -> None:
        for delta in deltas:
            if delta in self.runs:
                continue
            note(f"1 - beta {delta:.3g}, {self._training.n_steps} steps")
            losses, values = [], []
            for seed in range(self._settings.seeds):
                self._snapshot.restore()
                if seed:
                    self._snapshot.reseed(seed)
                course, batch = self._training.run(
                    1 - delta,
                    lambda amount: self.tick(amount / self._training.n_all),
                    partial(self._is_behind, delta, seed),
                )
                self._compare_batches(seed, batch)
                losses.append(course)
                self.steps += len(course)
                whole = self._is_whole(course)
                metric = self._settings.metric
                values.append(float(metric(self._model)) if whole and metric is not None else float("inf"))
                if delta in self.dropped:
                    break
            self.runs[delta] = losses, values

    def _is_behind(self, delta: float, seed: int, course: Floats) -> bool:
        """Whether a trial whose lr will fall is clearly behind one with more momentum.

        At constant lr none is: less momentum begins later and ends with less noise.
        """
        best = self._best()[0] if self.runs else delta
        free = self._training.anneal and self._settings.given is None and self._settings.metric is None
        if not free or not best < delta or best in self.dropped:
            return False
        other = self.runs[best][0][seed][: len(course)]
        if len(other) < len(course):
            return False
        width = max(10, self._training.n_steps // 8)
        gaps = course[-width:] - other[-width:]
        if not gaps.mean() > _BEHIND * gaps.std(ddof=1) / np.sqrt(len(gaps)):
            return False
        self.dropped.add(delta)
        return True

    def _compare_batches(self, seed: int, batch: Any) -> None:
        if not same_batch(self._first.setdefault(seed, batch), batch):
            allowed = "one that repeats its batches when torch's generators are put back"
            raise InputError("loader", "other batches each time", allowed)

    # -- comparison --------------------------------------------------------------------------------------

    def _is_whole(self, course: Floats) -> bool:
        return len(course) == self._training.n_all and bool(np.isfinite(course).all())

    def _whole(self, delta: float) -> bool:
        return delta not in self.dropped and all(self._is_whole(course) for course in self.runs[delta][0])

    def _scores(self) -> dict[float, float]:
        """1 - beta -> mean over seeds of what is compared; inf for a lost trial, NaN for a dropped one."""
        found = {}
        for delta, (losses, values) in self.runs.items():
            if delta in self.dropped:
                found[delta] = float("nan")
            elif not self._whole(delta):
                found[delta] = float("inf")
            elif self._settings.metric is not None:
                found[delta] = float(np.mean(values))
            else:
                found[delta] = float(np.mean([course[-self._training.n_measured :].mean() for course in losses]))
        return found

    def _best(self) -> tuple[float, float]:
        """1 - beta and score of the best trial."""
        scores = self._scores()
        best = min(scores, key=lambda delta: np.nan_to_num(scores[delta], nan=np.inf, posinf=np.inf))
        return best, scores[best]

    def _excess(self, delta: float, best: float) -> tuple[float, float, float]:
        """ln of the score over that of the best, its standard error and degrees of freedom, from pairs of seeds or of blocks.

        Logarithms, for losses fall exponentially; where a score is not positive it is the difference.
        """
        if not self._whole(delta):
            return float("inf"), float("nan"), 1.0
        mine, theirs = self._parts(delta), self._parts(best)
        positive = min(mine.min(), theirs.min()) > 0
        pairs = np.log(mine / theirs) if positive else mine - theirs
        error = float(pairs.std(ddof=1) / np.sqrt(len(pairs))) if len(pairs) > 1 else float("nan")
        return float(pairs.mean()), error, len(pairs) - 1.0

    def _fall(self, best: float) -> float:
        """By how much the logarithm of the best trial's loss falls in a trial at constant lr, by a line through its last half.

        0 if that is within two standard errors, where lr falls or a metric is compared, and for losses that are not positive.
        """
        n = self._training.n_steps
        if self._training.anneal or self._settings.metric is not None:
            return 0.0
        courses = np.array([course[n // 2 :] for course in self.runs[best][0]])
        if not courses.min() > 0:
            return 0.0
        blocks = np.array([part.mean() for part in np.array_split(courses.mean(0), min(_BLOCKS, courses.shape[1]))])
        line = linregress(np.linspace(0, courses.shape[1] / n, len(blocks)), np.log(blocks))
        return float(-line.slope) if -line.slope > _FALLS * line.stderr else 0.0

    def _parts(self, delta: float) -> Floats:
        """What is compared: one number for each seed, or for one seed the loss of each block of neighbouring batches."""
        losses, values = self.runs[delta]
        if self._settings.metric is not None:
            return np.array(values)
        ends = [course[-self._training.n_measured :] for course in losses]
        if self._settings.seeds > 1:
            return np.array([end.mean() for end in ends])
        return np.array([block.mean() for block in np.array_split(ends[0], min(_BLOCKS, len(ends[0])))])

    def result(self, seconds: float) -> FoundMomentum:
        """The recommendation from all trials."""
        scores, training = self._scores(), self._training
        tried = np.array(sorted(scores))
        best = self._best()[0]
        excess, errors, freedom = np.array([self._excess(delta, best) for delta in tried]).T
        errors_of = np.nan_to_num(errors)
        at = int(np.flatnonzero(tried == best)[0])
        _, chosen = _around(at, excess <= errors_of)  # within one standard error of the best
        low, high = _around(at, excess <= student.ppf(_AS_GOOD, np.maximum(freedom, 1.0)) * errors_of)
        value = float(tried[chosen])
        lost = [float(delta) for delta in tried if scores[delta] == np.inf and delta < value]
        losses = np.full((len(tried), self._settings.seeds, training.n_all), np.nan)
        for i, delta in enumerate(tried):
            for j, course in enumerate(self.runs[float(delta)][0]):
                losses[i, j, : len(course)] = course
        where = "after the cool-down" if training.anneal else "at the end"
        measure = "metric" if self._settings.metric is not None else f"loss over {training.n_measured} batches {where}"
        nesterov = bool(training.optimizer.param_groups[0].get("nesterov", False))
        return FoundMomentum(
            lr=training.lr,
            one_minus_beta=value,
            low=float(tried[low]),
            high=float(tried[high]),
            tried=tried,
            score=np.array([scores[delta] for delta in tried]),
            excess=excess,
            excess_se=errors,
            losses=losses,
            fall=self._fall(best),
            cliff=max(lost, default=None),
            present=self._present,
            n_steps=training.n_steps,
            n_usual=self._settings.usual(training),
            n_training=self._settings.told(min(training.n_steps, LEAST)),
            anneal=training.anneal,
            measure=measure,
            seconds=seconds,
            rule=MomentumRule.from_reference(training.lr, 1 - value, nesterov=nesterov),
        )


def _around(at: int, good: NDArray[np.bool_]) -> tuple[int, int]:
    """First and last index of the unbroken run of good ones that contains `at`."""
    bad = np.flatnonzero(~good)
    return int(bad[bad < at].max(initial=-1)) + 1, int(bad[bad > at].min(initial=len(good))) - 1
