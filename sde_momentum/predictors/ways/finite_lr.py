"""The critical limit at finite lr, where modes have finite frequencies [theory: Finite learning rate]."""

from __future__ import annotations

from typing import ClassVar

from ...core.errors import InputError
from ...dynamics.critical_course import critical_course
from ...problems.problem import Problem
from .base import Answer, Extras, Question
from .critical_limit import ByCriticalLimit, from_curve, seconds_of_curve, simulated


class ByFiniteLr(ByCriticalLimit):
    """Predicts from simulation of the critical limit at this lr; pays where eigenvectors turn or eigenvalues get small."""

    name: ClassVar[str] = "critical limit at finite lr"
    cost: ClassVar[str] = "a universal curve for every lr: minutes"
    uses: ClassVar[frozenset[str]] = frozenset({"store"})

    def refusal(self, problem: Problem, extras: Extras) -> InputError | None:
        if critical_course(problem).corrected_at_finite_lr:
            return super().refusal(problem, extras)
        return InputError("methods", self.name, f"another for {problem.name}: its critical limit has no correction at finite lr")

    def by_default(self, problem: Problem, extras: Extras) -> bool:
        return False

    def seconds(self, question: Question) -> float:
        return seconds_of_curve(question, question.noise**2 * question.lr)

    def answer(self, question: Question) -> Answer:
        return from_curve(question, simulated(question, question.noise**2 * question.lr))
