"""The critical limit, by a universal curve, which serves every lr and noise strength [theory: Critical limit, eq. 7.9]."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from ...core.errors import InputError
from ...problems.problem import Problem
from ..curve.settings import CurveSettings
from ..curve.simulate import curve_along, universal_curve_seconds
from ..curve.universal_curve import TOLERANCE, UniversalCurve
from .base import Answer, Extras, Question, Way, from_times


class ByCriticalLimit(Way):
    """Predicts from simulation in the limit lr -> 0 at fixed kappa, with the fluctuating energies of the modes."""

    name: ClassVar[str] = "critical limit"
    cost: ClassVar[str] = "a universal curve: seconds to minutes; none for a stored curve"
    uses: ClassVar[frozenset[str]] = frozenset({"curve", "store"})

    def refusal(self, problem: Problem, extras: Extras) -> InputError | None:
        allowed = "another for Nesterov momentum: its modes relax faster than the critical limit assumes"
        return InputError("methods", self.name, allowed) if extras.nesterov else None

    def seconds(self, question: Question) -> float:
        return 0.0 if question.extras.curve is not None else seconds_of_curve(question, None)

    def answer(self, question: Question) -> Answer:
        return from_curve(question, question.extras.curve or simulated(question, None))


def simulated(question: Question, scaled_lr: float | None) -> UniversalCurve:
    """The universal curve of the question, at c^2 eta = `scaled_lr` or in the limit (None)."""
    extras = question.extras
    return curve_along(question.path, scaled_lr, CurveSettings(), extras.store, extras.workers, extras.progress)


def seconds_of_curve(question: Question, scaled_lr: float | None) -> float:
    """Estimated computing time of `simulated`."""
    return universal_curve_seconds(question.path, scaled_lr, question.extras.workers)


def from_curve(question: Question, curve: UniversalCurve) -> Answer:
    """The answer read from a universal curve, with its cliff."""
    lr, noise = question.lr, question.noise
    found = curve.recommend(lr, noise)
    error = float(curve.scaled_time_se[curve.best] / curve.scaled_time[curve.best]) * found.time
    basis = "simulation of the critical limit"
    answer = from_times(question, found.tried, found.times, TOLERANCE, basis, error)
    shift = answer.one_minus_beta / found.one_minus_beta
    cliff = curve.one_minus_beta(lr, float(np.sqrt(np.prod(curve.cliff))), noise) if curve.cliff[0] else None
    return replace(answer, low=found.low * shift, high=found.high * shift, cliff=cliff)
