"""The contract of a way to predict: a `Way` takes one `Question` and gives one `Answer` [theory: Ways to predict]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...core.errors import InputError
from ...problems.problem import Problem
from ..closed_form import ClosedForm
from ..curve.universal_curve import UniversalCurve
from ..drift_path import DriftPath
from ..recommendation import largest_within

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Extras:
    """What only some ways use, and how a prediction is computed.

    Attributes:
        reference: a tuned (lr, momentum)
        curve: a universal curve made before, of the same problem, start and target
        store: a folder where universal curves are kept and found again
        nesterov: the look-ahead update
        workers: threads, -1 for all cores
        progress: a bar with the time left; None: if standard error is a terminal and it takes over two seconds
    """

    reference: tuple[float, float] | None = None
    curve: UniversalCurve | None = None
    store: str | Path | None = None
    nesterov: bool = False
    workers: int = -1
    progress: bool | None = None


@dataclass(frozen=True, eq=False)
class Question:
    """What every way is asked: the best momentum for `lr` on a drift along Gamma to a target.

    Attributes:
        path: the drift along Gamma, from where training comes down to it, to the target; it has the problem
        lr: eta > 0
        noise: c = sigma^2 / B > 0, in units of the loss
        first_phase: steps from the start of training down to Gamma, as a function of 1 - beta; None for a start on Gamma
        extras: what only some ways use

    Raises:
        InputError: for a universal curve of another problem, start or target.
    """

    path: DriftPath
    lr: float
    noise: float
    first_phase: Callable[[ArrayLike], Floats] | None
    extras: Extras

    def __post_init__(self) -> None:
        curve = self.extras.curve
        if curve is not None and not curve.path.same_as(self.path):
            raise InputError("curve", curve.path.problem.name, "the curve of this problem, start and target")

    @property
    def problem(self) -> Problem:
        """The training problem."""
        return self.path.problem

    @cached_property
    def closed_form(self) -> ClosedForm:
        """The closed form of this path, which several ways start from."""
        return ClosedForm(self.path, self.noise)


@dataclass(frozen=True, eq=False)
class Answer:
    """What one way predicts.

    Attributes:
        one_minus_beta: its 1 - beta
        low, high: its uncertainty (None where it has none to state)
        time: predicted steps to the target, None where it predicts none
        time_se: standard error of it from the noise drawn, 0 where none was
        tried, times: 1 - beta of all momenta tried, increasing, and their times, (n,)
        basis: what it rests on
        edge: 1 - beta below which the target is met much later or never; None where it saw none
    """

    one_minus_beta: float
    low: float | None
    high: float | None
    time: float | None
    time_se: float
    tried: Floats
    times: Floats
    basis: str
    edge: float | None = None


class Way(ABC):
    """One way to predict the best momentum. A new one is a class in a file of its own, listed in `registry.WAYS`."""

    name: ClassVar[str]
    """As `predict(methods=...)`, the command line and the printed answer have it."""
    cost: ClassVar[str]
    """How long it takes, in words."""
    uses: ClassVar[frozenset[str]] = frozenset()
    """Fields of `Extras` that change its answer or its cost; one that no chosen way uses is refused."""

    def refusal(self, problem: Problem, extras: Extras) -> InputError | None:
        """The error where the way does not apply; None where it does."""
        return None

    def by_default(self, problem: Problem, extras: Extras) -> bool:
        """Whether it is taken without being asked for: wherever it applies, unless a way says otherwise."""
        return self.refusal(problem, extras) is None

    @abstractmethod
    def answer(self, question: Question) -> Answer:
        """The prediction. Raises InputError where there is none."""


def from_times(question: Question, tried: Floats, times: Floats, tolerance: float, basis: str, error: float = 0.0) -> Answer:
    """The answer from a curve of times, the first phase added where there is one.

    Args:
        question: what was asked
        tried, times: 1 - beta, increasing, and the steps from Gamma to the target, (n,)
        tolerance: how much more than the shortest time the recommendation may take
        basis: what the times rest on
        error: standard error of the recommended time
    """
    total = times if question.first_phase is None else times + question.first_phase(tried)
    value, time = largest_within(tried, total, (1 + tolerance) * float(total.min()))
    good = tried[total <= (1 + 2 * tolerance) * total.min()]
    return Answer(value, float(good.min()), float(good.max()), time, error, tried, total, basis)
