"""The contract of a way to predict: a `Way` answers a `Question` by an `Answer` [theory: Ways to predict]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...core.errors import InputError
from ...problems.problem import Array, Problem
from ..closed_form import ClosedForm
from ..curve.universal_curve import UniversalCurve
from ..drift_path import DriftPath
from ..first_phase import first_phase
from ..recommendation import largest_within
from ..target import Target
from ..trials.result import Trials

Floats = NDArray[np.float64]

_DRIFT_STEPS, _PATIENCE = 2000, 10.0
"""Derivatives of tr H that a drift flow usually takes, and seconds that it may take beside trials."""


@dataclass(frozen=True, eq=False)
class Extras:
    """Inputs of a prediction that only some ways use, and how it is computed.

    Attributes:
        reference: a tuned (lr, momentum)
        curve: an existing universal curve of the same problem, start and target
        store: folder that keeps universal curves between calls
        nesterov: Nesterov momentum in place of heavy ball
        workers: threads, -1 for all cores
        progress: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten
        budget: seconds that the trials may take; None: 20
        smallest_trial_lr: no trial is made at a smaller learning rate; None: the trials choose
        seed: of the trials' noise; None: 0
        weight_decay: h >= 0, in units of the Hessian, as in `torch.optim.SGD`; None: 0
    """

    reference: tuple[float, float] | None = None
    curve: UniversalCurve | None = None
    store: str | Path | None = None
    nesterov: bool = False
    workers: int = -1
    progress: bool | None = None
    budget: float | None = None
    smallest_trial_lr: float | None = None
    seed: int | None = None
    weight_decay: float | None = None


@dataclass(frozen=True, eq=False)
class Question:
    """The inputs of a prediction: the best momentum for `lr` on the way from a start to a target is sought.

    Attributes:
        problem: the training problem
        begin: parameters where training starts, (N,)
        landing: where training reaches Gamma, (N,); `begin` itself where that lies on Gamma
        target: metric and fraction of its value at `landing`
        lr: eta > 0
        noise: c = sigma^2 / B > 0, in units of the loss
        extras: inputs that only some ways use

    Raises:
        InputError: for a universal curve of another problem, start or target.
    """

    problem: Problem
    begin: Array
    landing: Array
    target: Target
    lr: float
    noise: float
    extras: Extras

    def __post_init__(self) -> None:
        curve = self.extras.curve
        if curve is not None and not curve.path.same_as(self.path):
            raise InputError("curve", curve.path.problem.name, "the curve of this problem, start and target")

    @property
    def off_manifold(self) -> bool:
        """Whether training starts off Gamma."""
        return self.begin is not self.landing

    @cached_property
    def first_phase(self) -> Callable[[ArrayLike], Floats] | None:
        """Number of steps from the start of training to Gamma as a function of 1 - beta; None: a start on Gamma."""
        if not self.off_manifold:
            return None
        return first_phase(self.problem, self.begin, self.lr, nesterov=self.extras.nesterov)

    @cached_property
    def path(self) -> DriftPath:
        """The drift along Gamma from `landing` to the target."""
        return DriftPath(self.problem, self.landing, self.problem.metric_name(self.target.metric, "target"), self.target.fraction)

    @cached_property
    def level(self) -> float:
        """Value below which the mean of the target's metric must stay."""
        return self.target.fraction * float(self.problem.metric(self.target.metric, self.landing))

    @cached_property
    def closed_form(self) -> ClosedForm:
        """The closed form on this path, from which several ways start."""
        return ClosedForm(self.path, self.noise, self.extras.weight_decay or 0.0)

    @cached_property
    def theory_error(self) -> str | None:
        """Why the closed form does not apply; None where it does."""
        cost = self._cost_of_drift
        if cost > _PATIENCE:
            return f"the drift along the manifold would take about {cost:.0f} s to compute; methods='theory' does"
        try:
            self.closed_form.one_minus_beta(self.lr)
        except (InputError, np.linalg.LinAlgError) as error:
            return str(error)
        return None

    @property
    def theory(self) -> ClosedForm | None:
        """The closed form where it applies and takes seconds; None elsewhere."""
        return self.closed_form if self.theory_error is None else None

    @cached_property
    def _cost_of_drift(self) -> float:
        """Expected seconds for the drift flow: the measured time of its derivatives, a few hundred times."""
        began = monotonic()
        for _ in range(2):  # a first call may compile
            began, _ = monotonic(), self.problem.trace_hessian_gradient(self.landing)
        return _DRIFT_STEPS * (monotonic() - began)


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
        trials: what was simulated; None for a way without trials
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
    trials: Trials | None = None


SHARED = frozenset({"nesterov", "workers", "progress", "weight_decay"})
"""Fields of `Extras` that do not ask for a way."""


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

    def describes(self, extras: Extras) -> bool:
        """Whether the way describes the weight decay, if there is any."""
        return not extras.weight_decay or "weight_decay" in self.uses

    def by_default(self, problem: Problem, extras: Extras) -> bool:
        """Whether the way is taken without being named: here if an input that only it uses is given."""
        asked = any(getattr(extras, name) is not None for name in self.uses - SHARED)
        return asked and self.refusal(problem, extras) is None

    def in_theory(self, problem: Problem, extras: Extras) -> bool:
        """Whether the way is among those of methods="theory": wherever it applies."""
        return self.refusal(problem, extras) is None

    def seconds(self, question: Question) -> float:
        """Estimated computing time, from a small part of the work; 0 where it is always small."""
        return 0.0

    @abstractmethod
    def answer(self, question: Question) -> Answer:
        """The prediction. Raises InputError where the way gives none."""


def timed(work: Callable[[], object]) -> float:
    """Seconds that a piece of work takes when it has been done once before, and is compiled."""
    work()
    began = monotonic()
    work()
    return monotonic() - began


def from_times(question: Question, tried: Floats, times: Floats, tolerance: float, basis: str, error: float = 0.0) -> Answer:
    """The answer from times at many momenta, the first phase added if there is one [theory: Ways to predict, eq. 11.3].

    Args:
        question: the inputs
        tried, times: 1 - beta, increasing, and the number of steps from Gamma to the target, (n,)
        tolerance: epsilon; a recommended time is at most 1 + epsilon times the shortest
        basis: what the times were computed from, in words
        error: standard error of the recommended time, in steps
    """
    total = times if question.first_phase is None else times + question.first_phase(np.minimum(tried, 1.0))
    value, time = largest_within(tried, total, (1 + tolerance) * float(total.min()))
    good = tried[total <= (1 + 2 * tolerance) * total.min()]
    return Answer(value, min(value, float(good.min())), max(value, float(good.max())), time, error, tried, total, basis)
