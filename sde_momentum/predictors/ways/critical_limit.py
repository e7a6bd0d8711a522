"""The critical limit: from a universal curve, simulated once for all lr and noises [theory: Critical limit]."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from ...core.errors import InputError
from ...problems.problem import Problem
from ..curve.simulate import universal_curve
from ..curve.universal_curve import TOLERANCE, UniversalCurve
from .base import Answer, Extras, Question, Way, from_times


class ByCriticalLimit(Way):
    """From simulation in the limit lr -> 0 at fixed lr^2 c / (1 - beta)^3, energies of the modes fluctuating."""

    name: ClassVar[str] = "critical limit"
    cost: ClassVar[str] = "a universal curve: seconds to minutes, nothing where it is stored"
    uses: ClassVar[frozenset[str]] = frozenset({"curve", "store"})

    def refusal(self, problem: Problem, extras: Extras) -> InputError | None:
        allowed = "another for Nesterov: its modes relax faster than the critical limit's"
        return InputError("methods", self.name, allowed) if extras.nesterov else None

    def answer(self, question: Question) -> Answer:
        return from_curve(question, question.extras.curve or simulated(question, None))


def simulated(question: Question, scaled_lr: float | None) -> UniversalCurve:
    """The universal curve of the question, at this c^2 eta (None: in the limit)."""
    path, extras = question.path, question.extras
    return universal_curve(
        path.problem,
        path.start,
        (path.metric, path.fraction),
        scaled_lr=scaled_lr,
        store=extras.store,
        workers=extras.workers,
        progress=extras.progress,
    )


def from_curve(question: Question, curve: UniversalCurve) -> Answer:
    """What a universal curve says, with its edge."""
    lr, noise = question.lr, question.noise
    found = curve.recommend(lr, noise)
    error = float(curve.scaled_time_se[curve.best] / curve.scaled_time[curve.best]) * found.time
    basis = "simulation of the critical limit"
    answer = from_times(question, found.tried, found.times, TOLERANCE, basis, error)
    shift = answer.one_minus_beta / found.one_minus_beta
    edge = curve.one_minus_beta(lr, float(np.sqrt(np.prod(curve.edge))), noise) if curve.edge[0] else None
    return replace(answer, low=found.low * shift, high=found.high * shift, edge=edge)
