"""The contract of a way to predict: a `Way` answers a `Question` by an `Answer` [theory: Ways to predict]."""

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
    """Inputs of a prediction that only some ways use, and how it is computed.

    Attributes:
        reference: a tuned (lr, momentum)
        curve: an existing universal curve of the same problem, start and target
        store: folder that keeps universal curves between calls
        nesterov: Nesterov momentum in place of heavy ball
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
    """The inputs of a prediction: the best momentum for `lr` on a drift path to a target is sought.

    Attributes:
        path: the problem, and its drift along Gamma from the point where training reaches it to the target
        lr: eta > 0
        noise: c = sigma^2 / B > 0, in units of the loss
        first_phase: number of steps from the start of training to Gamma as a function of 1 - beta; None: a start on Gamma
        extras: inputs that only some ways use

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
        """The closed form on this path, from which several ways start."""
        return ClosedForm(self.path, self.noise)


@dataclass(frozen=True, eq=False)
class Answer:
    """The prediction of one way.

    Attributes:
        one_minus_beta: the recommended 1 - beta
        low, high: its uncertainty; None where the way gives none
        time: predicted number of steps to the target; None where the way gives none
        time_se: Monte Carlo standard error of `time`; 0 for a deterministic prediction
        tried, times: 1 - beta of all momenta tried, increasing, and their predicted times in steps, (n,)
        basis: what the prediction was computed from, in words
        cliff: 1 - beta below which the target is met much later or never; None where the way shows none
    """

    one_minus_beta: float
    low: float | None
    high: float | None
    time: float | None
    time_se: float
    tried: Floats
    times: Floats
    basis: str
    cliff: float | None = None


class Way(ABC):
    """A way to predict the best momentum. A new one is a subclass in a file of its own, listed in `registry.WAYS`."""

    name: ClassVar[str]
    """Name in `predict(methods=...)`, on the command line and in the printed answer."""
    cost: ClassVar[str]
    """Computing time, in words."""
    uses: ClassVar[frozenset[str]] = frozenset()
    """Fields of `Extras` that it uses; a field that no chosen way uses is refused."""

    def refusal(self, problem: Problem, extras: Extras) -> InputError | None:
        """The error that says why the way does not apply; None where it does."""
        return None

    def by_default(self, problem: Problem, extras: Extras) -> bool:
        """Whether the way is taken without being named: by default wherever it applies."""
        return self.refusal(problem, extras) is None

    @abstractmethod
    def answer(self, question: Question) -> Answer:
        """The prediction. Raises InputError where the way gives none."""


def from_times(question: Question, tried: Floats, times: Floats, tolerance: float, basis: str, error: float = 0.0) -> Answer:
    """The answer from times at many momenta, the first phase added if there is one [theory: Ways to predict, eq. 11.3].

    Args:
        question: the inputs
        tried, times: 1 - beta, increasing, and the number of steps from Gamma to the target, (n,)
        tolerance: epsilon; a recommended time is at most 1 + epsilon times the shortest
        basis: what the times were computed from, in words
        error: standard error of the recommended time, in steps
    """
    total = times if question.first_phase is None else times + question.first_phase(tried)
    value, time = largest_within(tried, total, (1 + tolerance) * float(total.min()))
    good = tried[total <= (1 + 2 * tolerance) * total.min()]
    return Answer(value, min(value, float(good.min())), max(value, float(good.max())), time, error, tried, total, basis)
