"""Noise-free heavy ball on the effective loss, the loss plus a regulariser [theory: Effective loss, eq. 5.1]."""

from __future__ import annotations

from typing import ClassVar

from ..effective_loss import TOLERANCE, EffectiveLossPredictor
from .base import Answer, Question, Way, from_times

_EVALUATIONS = 2500
"""Evaluations of the regulariser's gradient in a search, usually 1,000 to 3,000."""


class ByEffectiveLoss(Way):
    """Predicts from deterministic convergence times, which do not show the cliff."""

    name: ClassVar[str] = "effective loss"
    cost: ClassVar[str] = "some 20 noise-free runs: seconds"
    uses: ClassVar[frozenset[str]] = frozenset({"nesterov"})

    def seconds(self, question: Question) -> float:
        predictor = EffectiveLossPredictor.of_path(question.path, question.noise, nesterov=question.extras.nesterov)
        return _EVALUATIONS * predictor.seconds_for_evaluation(question.lr)

    def answer(self, question: Question) -> Answer:
        predictor = EffectiveLossPredictor.of_path(question.path, question.noise, nesterov=question.extras.nesterov)
        best = predictor.recommend(question.lr)
        return from_times(question, best.tried[::-1], best.times[::-1], TOLERANCE, "noise-free heavy ball on L_eff")
