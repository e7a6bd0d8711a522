"""The closed form: damping along Gamma, bounded by the fluctuations [theory: Effective loss, eq. 5.8]."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...core.errors import InputError
from ...problems.problem import Problem
from .base import Answer, Extras, Question, Way

_ABOVE = np.geomspace(1, 8, 8)
"""1 - beta tried from a start off Gamma, over that of the drift along Gamma alone."""


class ByClosedForm(Way):
    """Predicts from c and the geometry of the drift path alone."""

    name: ClassVar[str] = "closed form"
    cost: ClassVar[str] = "the drift along Gamma, once: seconds"
    uses: ClassVar[frozenset[str]] = frozenset({"weight_decay"})

    def refusal(self, problem: Problem, extras: Extras) -> InputError | None:
        allowed = "heavy ball: of Nesterov momentum there is no closed form; 'effective loss' and trials describe it"
        return InputError("nesterov", True, allowed) if extras.nesterov else None

    def by_default(self, problem: Problem, extras: Extras) -> bool:
        return True

    def answer(self, question: Question) -> Answer:
        if (refusal := self.refusal(question.problem, question.extras)) is not None:
            raise refusal
        form, lr = question.closed_form, question.lr
        value = form.one_minus_beta(lr)
        low, high = form.uncertainty(lr)
        time = form.time(lr, value)
        if question.first_phase is not None:  # the descent to Gamma may want less momentum: the sum is made shortest
            tried = np.unique(np.minimum(value * _ABOVE, 1.0))
            total = np.array([form.time(lr, delta) for delta in tried]) + question.first_phase(tried)
            best = int(np.argmin(total))
            value, time = float(tried[best]), float(total[best])
            low, high = min(low, value), max(high, value)
        basis = f"c = {question.noise:.4g}, mu = {question.path.curvature:.4g}"
        return Answer(value, low, high, time, 0.0, np.empty(0), np.empty(0), basis)
