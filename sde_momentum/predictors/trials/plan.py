"""Which learning rates to try within a budget of time, and the answer from the trials [theory: Ways to predict, eq. 11.4]."""

from __future__ import annotations

from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import InputError, check_one, check_positive
from ...core.progress import track
from ...dynamics.label_noise_sgd import LabelNoiseSGD
from ...theory import formulas
from .carry import Carried, Found, Law, carry
from .choice import GOAL, Choice
from .courses import Clock, Courses, Training
from .result import LrTrials, Trials
from .search import OutOfTime, Search

if TYPE_CHECKING:
    from ..ways.base import Question

BUDGET = 20.0
"""Seconds, if none are given."""
_NEED = 1300
"""Updates of single runs that a search usually makes, in units of the steps to the target."""
_SHARE, _LEFT = 0.5, 0.6
"""Part of the budget that a search at the learning rate itself may be expected to take, beyond which the answer is carried; and
part of the time left for the next of several searches."""
_APART, _STRIDE = 2.5, 12.0
"""Least and largest factor from one learning rate of the trials to the next."""
_FAR = 8.0
"""Factor above lr of the largest learning rate of a trial from which on trials there are much cheaper."""
_PART = 0.25
"""Part of the time left that trials may take which only lead to smaller learning rates."""
_ROUGH = 1.1
"""Bound on the regret at which trials that are carried end at first: the rest of the time is for smaller learning rates."""
_NARROW, _USUAL, _WIDE = (1.25, 3, 2), (1.5, 3, 3), (2.0, 4, 4)
"""The first momenta around the guess of other trials, of theory, or of sizes alone: factor, number below and above."""
_DAMPING = 0.7
"""Damping ratio of the guess without theory: between that of fast targets and 1."""
_LARGEST = 1.0
"""Largest learning rate of a trial that only serves to be carried, times the largest eigenvalue at the start: of order 1 the
theory's small parameter is no longer small."""
_PATIENCE, _LONG = 15.0, 120.0
"""Longest trial, in units of the expected steps to the target: where no momentum meets it, and where one does."""
_SHORTEST = 20.0
"""Least number of steps that is expected: a trial of fewer shows nothing."""
_SELDOM, _COARSE = 100, 16
"""First records in the expected time, and records while the steps grow by a factor e, where a metric is expensive."""
_PILOT = 64
"""Steps whose speed is measured before the plan is made."""


class Plan:
    """Trials for a question, and their answer.

    Args:
        question: the inputs of a prediction
    """

    def __init__(self, question: Question) -> None:
        self.question, extras = question, question.extras
        self.began = monotonic()
        self.budget = BUDGET if extras.budget is None else check_one(check_positive, extras.budget, "budget")
        problem = question.problem
        sigma = float(np.sqrt(question.noise * problem.n_outputs))
        self.training = Training(
            LabelNoiseSGD(problem, sigma, nesterov=extras.nesterov, weight_decay=extras.weight_decay or 0.0),
            question.begin,
            problem.find_metric(question.target.metric, "target"),
            question.level,
            0 if extras.seed is None else extras.seed,
            extras.workers,
        )

    def answer(self) -> tuple[Choice, Trials, str]:
        """The answer, what was simulated, and on what it rests in words."""
        self.found: list[tuple[float, Choice, Search]] = []
        with track("trials", self.budget, self.question.extras.progress) as self._tick:
            return self._answer()

    def _answer(self) -> tuple[Choice, Trials, str]:
        self._search_all()
        lr, choice, carried = self.question.lr, self.found[-1][1], not self._there
        at = tuple(_summary(*each) for each in reversed(self.found))
        trials = Trials(at, choice.regret, carried, monotonic() - self.began, self.budget)
        if not carried:
            return choice, trials, "trials at this learning rate"
        there = self._carry(lr)
        edge = None if choice.edge is None else choice.edge * there.one_minus_beta / choice.one_minus_beta
        values = there.one_minus_beta, there.low, there.high, there.time, there.time_se
        names = ", ".join(f"{r:.3g}" for r, _, _ in self.found)
        return Choice(*values, choice.regret, edge), trials, f"trials at lr {names}, carried by the law"

    # -- which learning rates ----------------------------------------------------------------------------

    def _search_all(self) -> None:
        """Search at the learning rate itself where it fits; else at a large one, at the least that fits, and between."""
        lr, least = self.question.lr, self.question.extras.smallest_trial_lr or 0.0
        fits = self._top < _FAR * lr or _NEED * self._guess(lr)[1] * self._speed <= _SHARE * self.budget
        if lr >= least and fits:
            self._search(lr, 1.0, GOAL)
            return
        least = max(lr, least)
        self._search(max(self._top, least), _PART, _ROUGH)
        while (last := self.found[-1][0]) > least:
            goal = max(self._affordable(lr), least)
            if goal > last / _APART:  # so near, it would say nothing of the correction
                break
            strides = int(np.ceil(np.log(last / goal) / np.log(_STRIDE)))
            rate = goal if strides == 1 else float(last * (goal / last) ** (1 / strides))
            self._search(rate, 1.0 if rate == goal else _PART, _ROUGH)
            if self.found[-1][0] == last:  # it came to no end: not so far
                least = float(np.sqrt(last * rate))
        self._sharpen()

    def _sharpen(self) -> None:
        """More runs in what is left of the budget, first at the least learning rate, which says most; only there if it is lr."""
        for k, (rate, choice, search) in reversed(list(enumerate(self.found))):
            if monotonic() < self._deadline(1.0) and (rate == self.found[-1][0] or not self._there):
                self.found[k] = rate, search.go_on(choice, self._deadline(1.0), GOAL), search

    @property
    def _there(self) -> bool:
        """Whether trials were made at the learning rate asked for."""
        return self.found[-1][0] == self.question.lr

    def _affordable(self, lr: float) -> float:
        """The least learning rate, from `lr` on, at which a search fits into what is left of the budget.

        Its cost is that of the last search, or the usual one if that took longer, in units of the steps to the target, which grow
        as lr^(-2/3).
        """
        _, choice, search = self.found[-1]
        usual = _NEED * search.runs.seconds_per_run_step
        seconds = min(search.runs.seconds / choice.time, usual) * self._carry(lr).time
        left = _LEFT * (self.budget - (monotonic() - self.began))
        return lr * max(1.0, seconds / max(left, 1e-3)) ** 1.5

    @property
    def _top(self) -> float:
        return _LARGEST / self._largest_eigenvalue

    @property
    def _largest_eigenvalue(self) -> float:
        problem, w = self.question.problem, self.question.landing
        j = problem.jacobian(w)
        return float(np.linalg.norm(j, 2) ** 2 / problem.n_outputs)

    @cached_property
    def _law(self) -> Law:
        """The law by which an answer is carried: of heavy ball or Nesterov momentum, with or without weight decay."""
        question, problem = self.question, self.question.problem
        damping, decay = 0.0, 4 * _DAMPING**2 * (question.extras.weight_decay or 0.0)
        if question.extras.nesterov:
            damping = float(problem.trace_hessian(question.landing)) / min(problem.n_outputs, problem.n_parameters)
        return Law(damping, question.noise * self._curvature * _DAMPING**2, decay)

    @cached_property
    def _curvature(self) -> float:
        """mu of the drift path; where theory does not apply, of the size of tr H over |w|^2."""
        if self.question.theory is not None:
            return float(self.question.theory.path.curvature)
        problem, w = self.question.problem, self.question.landing
        return 2 * float(problem.trace_hessian(w)) / float(w @ w)

    @cached_property
    def _speed(self) -> float:
        """Seconds for an update of one run, measured."""
        delta, time = self._guess(self.question.lr)
        pilot = Courses(self.training, self.question.lr, self._clock(time))
        pilot.add(np.full(4, delta), 16)
        pilot.advance(dict.fromkeys(range(4), 1))  # compiles
        pilot.run_steps, pilot.seconds = 0, 0.0
        pilot.advance(dict.fromkeys(range(4), _PILOT))
        return pilot.seconds_per_run_step

    def _clock(self, time: float) -> Clock:
        """Records often where the metric is compiled, and seldom where it takes as long as many steps."""
        problem = self.training.method.problem
        if problem.kernels is None:
            return Clock(max(1, int(time / _SELDOM)), _COARSE)
        return Clock() if problem.compiled_metric(self.training.metric) is not None else Clock(1, 2 * _COARSE)

    def _guess(self, lr: float) -> tuple[float, float]:
        """Rough 1 - beta and steps to the target: by the closed form, or from the sizes of tr H and w alone."""
        form = self.question.theory
        if form is not None:
            delta = form.one_minus_beta(lr)
            time = form.time(lr, delta)
        else:
            forces = self.question.noise, self._curvature, self.question.extras.weight_decay or 0.0
            delta = min(1.0, float(formulas.critical_one_minus_beta(lr, *forces, _DAMPING)))
            time = 4 / delta
        if self.question.first_phase is not None:
            time += float(np.nan_to_num(self.question.first_phase([delta])[0], posinf=0.0))
        return delta, time

    # -- the trials --------------------------------------------------------------------------------------

    def _search(self, lr: float, share: float, goal: float) -> None:
        """The search at one learning rate, within a share of the time left; it begins where larger learning rates point to.

        It ends as soon as the regret's bound is `goal`.
        """
        deadline = self._deadline(share)
        if self.found:
            there = self._carry(lr)
            delta, time, known = there.one_minus_beta, there.time, True
        else:
            (delta, time), known = self._guess(lr), self.question.theory is not None
        time = max(time, _SHORTEST)
        runs = Courses(self.training, lr, self._clock(time), self._tick)
        search = Search(runs, deadline, 0.5 * self.budget, _PATIENCE * time, _LONG * time, goal)
        around = _NARROW if self.found else _USUAL if known else _WIDE
        try:
            choice = search.find(delta, time, around)
            theirs = None if self.question.theory is None else self.question.theory.one_minus_beta(lr)
            if lr == self.question.lr and theirs is not None and theirs < choice.one_minus_beta:
                search.probe(theirs, choice)
            if not self.found or np.isfinite(choice.regret):  # else unfinished: the law says more
                self.found.append((lr, choice, search))
        except OutOfTime:
            if not self.found:  # at larger learning rates the target was met: the law says more
                raise self._unmet(search) from None

    def _deadline(self, share: float) -> float:
        """`time.monotonic` at which this share of the time left is spent."""
        return monotonic() + share * max(0.0, self.budget - (monotonic() - self.began))

    def _carry(self, lr: float) -> Carried:
        points = [Found(r, c.one_minus_beta, c.low, c.high, c.time, c.time_se, s.slope(c)) for r, c, s in self.found]
        return carry(points, lr, self._law)

    def _unmet(self, search: Search) -> InputError:
        """What to say where no momentum met the target."""
        target = self.question.target
        ends: list[tuple[float, float, int]] = []
        start = self.question.level / target.fraction
        for course in search.courses:
            late = float(np.max(course.mean[len(course.mean) // 2 :]))
            ends.append((late / start, course.one_minus_beta, course.end))
        share, delta, steps = min(ends, key=lambda end: end[0])
        if not np.isfinite(share):
            return InputError("lr", search.runs.lr, "a smaller learning rate: runs diverge at every momentum tried")
        if share >= 1 and monotonic() > search.deadline:
            return InputError("budget", f"{self.budget:g} s", f"more: in {steps} steps no mean came below its start")
        best = f"the mean stays below {share:.4g} at best, at momentum {1 - delta:.4g} up to step {steps}"
        found = f"at lr {search.runs.lr:.3g} {best}"
        why = "a smaller lr may meet it, whose fluctuations are smaller"
        if self.question.theory_error is not None:
            why = f"theory: {self.question.theory_error}"
        elif search.runs.lr > self.question.lr:
            limit = self.question.extras.smallest_trial_lr or 0.0
            how = "a smaller smallest_trial_lr" if limit > self.question.lr else "a larger budget"
            why = f"trials at lr {self.question.lr:.3g} itself, which {how} allows, may meet it"
        elif monotonic() > search.deadline:
            why = "a larger budget may show it"
        return InputError("target", f"{target.metric} below {target.fraction:.6g}", f"more than that: {found}; {why}")


def _summary(lr: float, choice: Choice, search: Search) -> LrTrials:
    """The trials of one learning rate in numbers."""
    courses = sorted(search.courses, key=lambda course: course.one_minus_beta)
    return LrTrials(
        lr,
        np.array([course.one_minus_beta for course in courses]),
        np.array([course.time() for course in courses]),
        np.array([course.time_se(search.seed) for course in courses]),
        np.array([course.n_runs for course in courses]),
        np.array([course.end for course in courses]),
        np.array([course.lost for course in courses]),
        np.array([course.stays for course in courses]),
        choice.one_minus_beta,
    )
