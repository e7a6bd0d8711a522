"""Transfer of a tuned momentum to another learning rate [theory: Ways to predict, eq. 11.1]."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...core.errors import InputError
from ...problems.problem import Problem
from ..momentum_rule import MomentumRule
from .base import Answer, Extras, Question, Way


class Transfer(Way):
    """Predicts from a tuned (lr, momentum), by 1 - beta ~ lr^(2/3)."""

    name: ClassVar[str] = "transfer"
    cost: ClassVar[str] = "nothing"
    uses: ClassVar[frozenset[str]] = frozenset({"reference"})

    def refusal(self, problem: Problem, extras: Extras) -> InputError | None:
        given = extras.reference is not None
        return None if given else InputError("reference", None, "a tuned (lr, momentum), for the method 'transfer'")

    def answer(self, question: Question) -> Answer:
        assert question.extras.reference is not None
        rule = MomentumRule.from_reference(*question.extras.reference)
        value = float(rule.one_minus_beta(question.lr))
        return Answer(value, None, None, None, 0.0, np.empty(0), np.empty(0), rule.source)
