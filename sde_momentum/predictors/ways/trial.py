"""Trials: the update itself, run at several momenta side by side; the answer that tests itself."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...problems.problem import Problem
from ..trials.plan import Plan
from .base import Answer, Extras, Question, Way


class ByTrial(Way):
    """Finds the fastest momentum by short runs of the training, at this learning rate or, carried by the law, at larger ones."""

    name: ClassVar[str] = "trial"
    cost: ClassVar[str] = "the budget, 20 seconds, at most; often less"
    uses: ClassVar[frozenset[str]] = frozenset({"nesterov", "weight_decay", "budget", "smallest_trial_lr", "seed"})

    def by_default(self, problem: Problem, extras: Extras) -> bool:
        return True

    def in_theory(self, problem: Problem, extras: Extras) -> bool:
        return False

    def answer(self, question: Question) -> Answer:
        found, trials, basis = Plan(question).answer()
        return Answer(
            found.one_minus_beta,
            found.low,
            found.high,
            found.time,
            found.time_se,
            trials.at[0].one_minus_beta if not trials.carried else np.empty(0),
            trials.at[0].time if not trials.carried else np.empty(0),
            basis,
            found.edge,
            trials,
        )
