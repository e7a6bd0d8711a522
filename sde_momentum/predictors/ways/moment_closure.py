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
from .base import Answer, Extras, Floats, Question, Way, from_times, timed

_SMALL = 30
"""Largest number of parameters at which the way is among those of methods="theory"."""
_GRID = np.geomspace(0.6, 2.4, 7)
"""1 - beta tried, over that of the closed form."""
_LENGTH, _RECORDS = 2.5, 200
"""Length of a run in expected convergence times, and number of records of the metric."""

_PROBE = 20
"""Steps whose computing time is measured."""


class ByMomentClosure(Way):
    """Predicts from mean and covariance of (w, v), w taken as Gaussian: deterministic, at finite lr."""

    name: ClassVar[str] = "moment closure"
    cost: ClassVar[str] = "seven runs of a covariance matrix: seconds for few parameters"
    uses: ClassVar[frozenset[str]] = frozenset({"nesterov"})

    def in_theory(self, problem: Problem, extras: Extras) -> bool:
        return problem.n_parameters <= _SMALL

    def seconds(self, question: Question) -> float:
        path, lr = question.path, question.lr
        closure, tried = _closure(question), _tried(question)
        n_steps = _LENGTH * float(path.expected_time(lr, tried, question.noise).sum())

        def some_steps() -> None:
            closure.solve(path.start, [0, _PROBE], lr=lr, momentum=1 - tried[0], metrics=[path.metric], workers=1, progress=False)

        return timed(some_steps) * n_steps / _PROBE

    def answer(self, question: Question) -> Answer:
        path, lr, noise, extras = question.path, question.lr, question.noise, question.extras
        closure, tried = _closure(question), _tried(question)
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
            raise InputError("target", path.fraction, "a larger fraction: this way's mean never falls that far")
        return from_times(question, tried, times, TOLERANCE, "Gaussian moment closure")


def _closure(question: Question) -> MomentClosure:
    """The recursion for the label noise of the question."""
    label_noise = float(np.sqrt(question.noise * question.problem.n_outputs))
    return MomentClosure(LabelNoiseSGD(question.problem, label_noise, nesterov=question.extras.nesterov))


def _tried(question: Question) -> Floats:
    """1 - beta of the momenta tried, increasing."""
    return np.unique(np.minimum(question.closed_form.one_minus_beta(question.lr) * _GRID, 1.0))
