"""The Gaussian moment closure, a recursion of mean and covariance of (w, v), at seven momenta [theory: Moment closure]."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...core.convergence import convergence_time
from ...core.errors import InputError
from ...dynamics.label_noise_sgd import LabelNoiseSGD
from ...dynamics.moment_closure import MomentClosure
from ...problems.problem import Problem
from ..curve.universal_curve import TOLERANCE
from .base import Answer, Extras, Question, Way, from_times

_SMALL = 30
"""Largest number of parameters at which the way is among those of methods="theory"."""
_GRID = np.geomspace(0.6, 2.4, 7)
"""1 - beta tried, over that of the closed form."""
_LENGTH, _RECORDS = 2.5, 200
"""Length of a run in expected convergence times, and number of records of the metric."""


class ByMomentClosure(Way):
    """Predicts from mean and covariance of (w, v), w taken as Gaussian: deterministic, at finite lr."""

    name: ClassVar[str] = "moment closure"
    cost: ClassVar[str] = "seven runs of a covariance matrix: seconds for few parameters"
    uses: ClassVar[frozenset[str]] = frozenset({"nesterov"})

    def in_theory(self, problem: Problem, extras: Extras) -> bool:
        return problem.n_parameters <= _SMALL

    def answer(self, question: Question) -> Answer:
        path, lr, noise, extras = question.path, question.lr, question.noise, question.extras
        label_noise = float(np.sqrt(noise * path.problem.n_outputs))
        closure = MomentClosure(LabelNoiseSGD(path.problem, label_noise, nesterov=extras.nesterov))
        tried = np.unique(np.minimum(question.closed_form.one_minus_beta(lr) * _GRID, 1.0))
        times = np.empty(len(tried))
        for i, delta in enumerate(tried):
            steps = np.unique(np.linspace(0, _LENGTH * float(path.expected_time(lr, delta, noise)), _RECORDS).astype(int))
            run = closure.solve(
                path.start,
                steps,
                lr=lr,
                momentum=1 - delta,
                metrics=[path.metric],
                workers=extras.workers,
                progress=extras.progress,
            )
            values = run[path.metric].values[0, 0]
            times[i] = convergence_time(np.where(np.isfinite(values), values, np.inf), steps, path.fraction)
        if not np.isfinite(times).any():
            raise InputError("target", path.fraction, "a target that the moment closure meets")
        return from_times(question, tried, times, TOLERANCE, "Gaussian moment closure")
