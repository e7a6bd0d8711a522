"""The closed form: damping along Gamma, bounded by the fluctuations [theory: Effective loss, eq. 5.8]."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...problems.problem import Problem
from .base import Answer, Extras, Question, Way


class ByClosedForm(Way):
    """Predicts from c and the geometry of the drift path alone."""

    name: ClassVar[str] = "closed form"
    cost: ClassVar[str] = "the drift along Gamma, once: seconds"

    def by_default(self, problem: Problem, extras: Extras) -> bool:
        return True

    def answer(self, question: Question) -> Answer:
        form, lr = question.closed_form, question.lr
        value = form.one_minus_beta(lr)
        low, high = form.uncertainty(lr)
        basis = f"c = {question.noise:.4g}, mu = {question.path.curvature:.4g}"
        return Answer(value, low, high, form.time(lr, value), 0.0, np.empty(0), np.empty(0), basis)
