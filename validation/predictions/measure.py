"""One learning rate of one case: the default answer of `predict`, and its regret in a sweep of momenta on other seeds.

With `theory` also the answer of the ways without trials; with `carried` the answer at a learning rate far below every trial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sde_momentum as sm
from sde_momentum.core.errors import InputError
from sde_momentum.core.files import json_value
from sde_momentum.core.progress import note
from sde_momentum.predictors.drift_path import DriftPath
from sde_momentum.problems.problem import Problem

from ..cases import CASES, UNSEEN, Case
from .sweep import GROUPS, Sweep, Training, sweep

Floats = NDArray[np.float64]

DEFAULT, THEORY = "default", "theory"
CARRIED = 30.0
"""A carried answer is asked for at the case's smallest learning rate over this; trials are run at that rate and above."""
_SHARE = 0.125
"""Of a case's runs, to begin with."""
_OWN_SEEDS = 2**40
"""Seeds of sweeps begin here, far from those of trials."""


@dataclass(frozen=True)
class Work:
    """One learning rate of one case.

    Attributes:
        case: problem and target
        lr: eta
        n_seeds: number of runs of each momentum of the sweep, to begin with
        seed: of `predict`, and of the sweep
        doublings: most doublings of the sweep's runs once the regret's error tells
        theory: ask the ways without trials too
        smallest_trial_lr: trials are run at learning rates from this on; None: without a limit
    """

    case: Case
    lr: float
    n_seeds: int
    seed: int
    doublings: int
    theory: bool = False
    smallest_trial_lr: float | None = None

    @property
    def file(self) -> str:
        """Name of its results."""
        words = "".join(letter if letter.isalnum() else "-" for letter in self.case.name)
        return f"{words}-lr{self.lr:.3g}{'' if self.smallest_trial_lr is None else '-carried'}.json"

    @cached_property
    def _made(self) -> tuple[Problem, Floats]:
        return self.case.make()

    @property
    def problem(self) -> Problem:
        """The training problem."""
        return self._made[0]

    @property
    def start(self) -> Floats:
        """A point of Gamma, (N,)."""
        return self._made[1]

    @property
    def method(self) -> sm.LabelNoiseSGD:
        """Training with the case's label noise."""
        return sm.LabelNoiseSGD(self.problem, self.case.label_noise)

    def training(self, workers: int) -> Training:
        """What the sweep runs: the case's problem, or its formula in machine code."""
        first_seed = _OWN_SEEDS * (1 + self.seed)
        problem = self.problem if self.case.compiled is None else self.case.compiled()
        method, case = sm.LabelNoiseSGD(problem, self.case.label_noise), self.case
        return Training(
            method, self.start, case.metric, case.fraction, self.lr, first_seed, self.n_seeds, workers, self.doublings
        )  # fmt: skip


def works(
    n_lr: int, doublings: int, names: Sequence[str] | None, seed: int, *, theory: bool = False, carry: bool = False
) -> list[Work]:
    """Up to `n_lr` learning rates of each case of these names (None: of all), with so many `doublings`."""
    found = []
    for case in (*CASES, *UNSEEN):
        if names and case.name not in names:
            continue
        n_seeds, rates = GROUPS * max(1, round(_SHARE * case.n_seeds / GROUPS)), case.rates(n_lr)
        found += [Work(case, lr, n_seeds, seed, doublings, theory) for lr in rates]
        if carry:
            found.append(Work(case, float(f"{rates[0] / CARRIED:.3g}"), n_seeds, seed, doublings, smallest_trial_lr=rates[0]))
    return found


def measure(work: Work, workers: int, report: Callable[[float], object]) -> dict[str, Any]:
    """The answers with their wall times, and the regret of each in a sweep.

    Args:
        work: the learning rate and the case
        workers: threads; -1: every core
        report: called with shares of the work, of sum 1
    """
    training = work.training(workers)
    note(f"{work.case.name}, lr {work.lr:.3g}")
    training.courses(0.5, np.arange(3), range(GROUPS), 1)  # compiled code is made, or loaded, before a clock runs
    answers = {DEFAULT: _ask(work, workers, seed=work.seed)}
    if work.theory:
        answers[THEORY] = _ask(work, workers, methods="theory")
    report(0.2)
    note(f"{work.case.name}, lr {work.lr:.3g}: sweep of momenta")
    asked = [answer["one_minus_beta"] for answer in answers.values() if "refused" not in answer]
    asked += [row["one_minus_beta"] for answer in answers.values() for row in answer.get("ways", {}).values()]
    times = [answer["time"] for answer in answers.values() if answer.get("time")]
    if "refused" in answers[DEFAULT]:  # is there a momentum after all?
        asked, times = [_guess(work), *asked], []
    found = sweep(training, asked, times[0] if times else _rough_time(work, asked[0]))
    for answer in answers.values():
        _compare(answer, found)
    return {
        "case": work.case.name,
        "unseen": work.case.unseen,
        "lr": work.lr,
        "smallest_trial_lr": work.smallest_trial_lr,
        "n_runs": found.n_runs,
        "one_minus_beta": found.one_minus_beta.tolist(),
        "times": json_value(found.time),
        "times_se": [json_value(found.at(delta)[1]) for delta in found.one_minus_beta],
        "came_back": found.came_back,
        "fastest": found.fastest if np.isfinite(found.time).any() else None,
        "answers": answers,
    }


def _ask(work: Work, workers: int, **how: Any) -> dict[str, Any]:
    """What `predict` says, as plain data, and how long it took."""
    if work.smallest_trial_lr is not None:
        how["smallest_trial_lr"] = work.smallest_trial_lr
    begin = perf_counter()
    try:
        found = sm.predict(
            work.problem,
            work.lr,
            noise=work.method.noise,
            start=work.start,
            target=(work.case.metric, work.case.fraction),
            workers=workers,
            progress=False,
            **how,
        )
    except InputError as error:
        return {"refused": str(error), "seconds": perf_counter() - begin, "ways": {}}
    trials = found.trials
    return {
        "seconds": perf_counter() - begin,
        "method": found.method,
        "one_minus_beta": found.one_minus_beta,
        "low": json_value(found.low),
        "high": json_value(found.high),
        "time": json_value(found.time),
        "time_se": json_value(found.time_se),
        "safe": found.safe,
        "doubts": list(found.doubts),
        "trials": None if trials is None else {"regret": json_value(trials.regret), "carried": trials.carried},
        "ways": {
            name: {"one_minus_beta": way.one_minus_beta, "says": found.agreement.get(name, "")}
            for name, way in found.ways.items()
            if name != found.method
        },
    }


def _compare(answer: dict[str, Any], found: Sweep) -> None:
    """Put the sweep's regret and time of an answer, and the regrets of its ways, into it."""
    for row in (answer, *answer["ways"].values()):
        if "one_minus_beta" not in row:
            continue
        delta = row["one_minus_beta"]
        (time, time_se), (regret, regret_se) = found.at(delta), found.regret(delta)
        if row is answer and not np.isfinite(time) and np.isfinite(found.late):
            time, regret = found.late, found.late / found.shortest
        row |= {"regret": json_value(regret), "regret_se": json_value(regret_se)}
        row |= {"measured_time": json_value(time), "measured_time_se": json_value(time_se)}


def _path(work: Work) -> DriftPath:
    return DriftPath(work.problem, work.start, work.case.metric, work.case.fraction)


def _guess(work: Work) -> float:
    """The crossing's 1 - beta = (c mu lr^2)^(1/3) [theory: Effective loss, eq. 5.5]; 0.1 where there is none."""
    try:
        return float(np.clip((work.method.noise * _path(work).curvature * work.lr**2) ** (1 / 3), 1e-4, 1.0))
    except InputError:
        return 0.1


def _rough_time(work: Work, delta: float) -> float:
    try:
        return float(_path(work).expected_time(work.lr, delta, work.method.noise))
    except InputError:
        return 1_000.0
