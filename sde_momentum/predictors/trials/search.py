"""The search for the fastest momentum at one learning rate by trials, closing in from a wide range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from ...core.progress import note
from .choice import CONTENDER, GOAL, LATE, Choice, choose
from .courses import Courses
from .times import Course

Floats = NDArray[np.float64]

_STAGE = 1.5
"""Factor on the number of steps after which it is looked whether the mean has come back."""
_SLOWER, _DECIDED = 1.3, 1.12
"""A momentum is given up when it is this much slower than the fastest; from the second on it need not show that it holds."""
_SURE, _LIKELY = 2.0, 1.0
"""Standard errors by which the mean must be above the level for a momentum to be given up; late, for all with more momentum."""
_MEMORY = 0.1
"""(1 - beta) times the steps to the target below which more momentum changes nothing: the velocity forgets nothing on the way."""
_LESS = 2.0
"""Factor on the largest 1 - beta while no momentum meets the target."""
_GROWTH = 1.35
"""Factor on the number of steps from one comparison to the next."""
_SPACING = 1.04
"""Factor between neighbouring 1 - beta near the fastest, in the end."""
_APART, _REACH = 1.2, 3.0
"""Factors on the chosen 1 - beta between which other momenta show what less momentum costs."""
_FIRST, _MOST = 16, 1 << 14
"""Runs at each momentum: at first, and at most. Generated code steps 32 runs in the time of 16, and begins with twice as many."""
_MANY, _SPARE, _TRIES = 512, 0.2, 5
"""Runs that the recommended momentum gets in the end, if they take at most this part of the time left; how often another is
chosen where they show that it does not hold."""
_PATIENT, _YIELD, _LOOSEST = 0.15, 0.1, 1.06
"""From this part of the time on, the bound on the regret that ends a search rises, how much over the whole time, and up to what,
beyond which an answer is called doubtful: runs double at every comparison, and the last percent is not worth ten seconds."""


class OutOfTime(Exception):
    """The budget ended before any momentum was seen to meet the target."""


class Search:
    """Trials at one learning rate [theory: Ways to predict].

    Args:
        runs: of the training, none yet
        deadline: `time.monotonic` at which the search ends with what it has
        grace: seconds more that it takes where it has nothing yet
        patience: steps after which trials end if no mean is below the level
        longest: steps that no trial exceeds
        goal: bound on the recommendation's regret at which more runs end
    """

    def __init__(self, runs: Courses, deadline: float, grace: float, patience: float, longest: float, goal: float = GOAL) -> None:
        self.runs, self.deadline, self.grace, self.seed = runs, deadline, grace, runs.training.seed
        self.goal, self.exact, self.began = goal, False, monotonic()
        self.patience, self.longest, self.floor = patience, longest, 0.0
        kernels = runs.training.method.problem.kernels
        self.first = 2 * _FIRST if kernels is not None and kernels.by_sample else _FIRST

    @property
    def courses(self) -> list[Course]:
        """One for each momentum tried."""
        return self.runs.courses

    def find(self, guess: float, expected: float, around: tuple[float, int, int]) -> Choice:
        """The recommended momentum.

        Args:
            guess: 1 - beta around which to look
            expected: rough number of steps to the target
            around: the first momenta: factor between their 1 - beta, their number below and above the guess

        Raises:
            OutOfTime: if no momentum was seen to meet the target.
        """
        self.coarse, below, above = around
        first = np.unique(np.minimum(guess * self.coarse ** np.arange(-below, above + 1), 1.0))
        self._race(self._try(first, self.first), expected / 3)
        self._lengthen()
        self._prove()
        self._widen()
        spacing = self.coarse
        while spacing > _SPACING:
            spacing = max(_SPACING, spacing ** (1 / 3))
            self._refine(spacing)
            self._prove()
        if self._over():  # momenta between those tried may be faster
            return self._unassured(self._choose()[0])
        return self._decide()

    def go_on(self, choice: Choice, deadline: float, goal: float) -> Choice:
        """The recommended momentum after more runs, of a search that has found one; those that may yet hold the target count."""
        self.deadline, self.goal, self.exact = deadline, goal, True
        n = self.courses[self._fastest()].n_runs
        return self._decide() if self._cost(self._stale(n), n) <= self._left else choice

    def probe(self, delta: float, choice: Choice) -> None:
        """Try a momentum that theory recommends, until its fluctuations are stationary; not beyond the end of the time."""
        steps = min(Course(delta, 0.0).horizon(choice.time), self.longest)
        if self.first * steps * self.runs.seconds_per_run_step < self._left:
            (which,) = self._try([delta], self.first)
            self.runs.advance({which: steps})

    def slope(self, choice: Choice) -> float:
        """d ln(time) / d ln(1 - beta) from the choice to the momenta tried with up to three times its 1 - beta, 0 to 1."""
        less = [course for course in self.courses if _APART < course.one_minus_beta / choice.one_minus_beta < _REACH]
        x = np.log([course.one_minus_beta / choice.one_minus_beta for course in less])
        y = np.log([course.time() / choice.time for course in less])
        known = np.isfinite(y)
        return float(np.clip(x[known] @ y[known] / (x[known] @ x[known]), 0.0, 1.0)) if known.any() else 1.0

    # -- steps of the search ---------------------------------------------------------------------------

    def _try(self, deltas: Sequence[float] | Floats, n_seeds: int) -> list[int]:
        """Numbers of new courses at these 1 - beta."""
        first = len(self.courses)
        self.runs.add(deltas, n_seeds)
        note(f"trials at lr {self.runs.lr:.3g}: {len(self.courses)} momenta")
        return list(range(first, len(self.courses)))

    def _over(self) -> bool:
        return monotonic() > self.deadline

    def _race(self, which: Sequence[int], first: float) -> None:
        """Advance courses together until the fastest holds the target and the others are decided."""
        until = min(max(8.0, first), self.longest)
        while racing := self._racing(which):
            self.runs.advance(dict.fromkeys(racing, until))
            if until >= self.longest or (until >= self.patience and not self._met(which)):
                return
            if self._over():
                if np.isfinite(self._best()):
                    return
                if monotonic() > self.deadline + self.grace:
                    raise OutOfTime
            until = min(until * _GROWTH, self.longest)

    def _met(self, which: Sequence[int]) -> bool:
        """Whether the mean of some course is below the level now."""
        return any(np.isfinite(self.courses[i].time()) for i in which)

    def _racing(self, which: Sequence[int]) -> list[int]:
        """The courses that are still to be advanced: those that may be nearly as fast as the fastest seen so far.

        That one may yet rise above the level again: then the others go on.
        """
        best = min((self.courses[i].time() for i in {*which, *self._level()}), default=float("inf"))
        if not np.isfinite(best):
            return list(which)
        return [i for i in which if self._undecided(self.courses[i], best)]

    def _undecided(self, course: Course, best: float) -> bool:
        if course.decided(best) or course.last_above(_SURE) > _SLOWER * best:
            return False
        return not (course.time(_SURE) > _DECIDED * best and np.isfinite(course.time()))

    def _level(self) -> list[int]:
        """Courses that hold the target, with as many runs as any; where there are none, with fewer."""
        held = [i for i in self._open() if self.courses[i].end > 0 and self.courses[i].held(self.longest)]
        most = max((self.courses[i].n_runs for i in held), default=0)
        return [i for i in held if self.courses[i].n_runs == most]

    def _best(self) -> float:
        """Shortest time of a course that holds the target; inf for none."""
        return min((self.courses[i].time() for i in self._level()), default=float("inf"))

    def _fastest(self) -> int:
        """The course of the shortest time that holds the target."""
        if not (level := self._level()):
            raise OutOfTime
        return min(level, key=lambda i: self.courses[i].time())

    def _neighbours(self, i: int) -> tuple[float | None, float | None]:
        """The tried 1 - beta next below and above that of course i."""
        deltas = sorted(course.one_minus_beta for course in self.courses)
        at = deltas.index(self.courses[i].one_minus_beta)
        return deltas[at - 1] if at else None, deltas[at + 1] if at + 1 < len(deltas) else None

    def _lengthen(self) -> None:
        """Less momentum while none tried meets the target: its fluctuations are smaller, and the trials longer."""
        while not self._level() and not self._over():
            delta = max(course.one_minus_beta for course in self.courses)
            if delta >= 1:
                return
            self.patience, self.longest = _LESS * self.patience, _LESS * self.longest
            self._race(self._try([min(1.0, delta * _LESS)], self.first), self.patience / _LESS)

    def _widen(self) -> None:
        """More momenta beyond the range while the fastest lies at its end."""
        while not self._over():
            below, above = self._neighbours(i := self._fastest())
            delta = self.courses[i].one_minus_beta
            if below is None and delta * self._best() > _MEMORY:
                new = [delta / self.coarse, delta / self.coarse**2]
            elif below is not None and above is None and delta < 1:
                new = [min(1.0, delta * self.coarse), min(1.0, delta * self.coarse**2)]
            else:
                return
            self._race(self._try(np.unique(new), self.courses[i].n_runs), self._best())

    def _refine(self, spacing: float) -> None:
        """Momenta between the fastest and its neighbours, `spacing` apart; again while the fastest moves to a gap's side."""
        for _ in range(3):
            if self._over():
                return
            i = self._fastest()
            delta = self.courses[i].one_minus_beta
            new: list[float] = []
            for other in self._neighbours(i):
                if other is not None and abs(np.log(other / delta)) > 1.01 * np.log(spacing):
                    n = int(np.ceil(abs(np.log(other / delta)) / np.log(spacing) - 0.01))
                    new += [delta * (other / delta) ** (k / n) for k in range(1, n)]
            new = [value for value in new if value > self.floor]
            if not new:
                return
            self._race(self._try(sorted(new), self.courses[i].n_runs), self._best())

    def _decide(self) -> Choice:
        """The recommendation after as many runs as the goal needs and time allows."""
        choice = self._assured(self._settle())
        return choice if self._proven(choice) else self._unassured(choice)

    def _unassured(self, choice: Choice) -> Choice:
        """The choice where time has ended: without a bound; if it was not followed to the end, one of less momentum that was."""
        if self._proven(choice):
            return replace(choice, regret=float("inf"))
        less = [course for course in self.courses if course.one_minus_beta > choice.one_minus_beta and course.stays]
        if not less:
            return replace(choice, regret=float("inf"))
        best = min(less, key=lambda course: course.time())
        high = max(choice.high, best.one_minus_beta)
        time, time_se = best.time(), best.time_se(self.seed)
        return replace(choice, one_minus_beta=best.one_minus_beta, high=high, time=time, time_se=time_se, regret=float("inf"))

    def _settle(self) -> Choice:
        """More runs at the contenders until the recommendation's regret is bounded or time ends."""
        while True:
            n = self.courses[self._fastest()].n_runs
            stale = self._stale(n)
            if self._cost(stale, n) <= self._left:
                self._more(stale, n)
            choice, contenders = self._choose()
            spent = 2 * n > _MOST or self._cost(contenders, 2 * n) + self._cost_of_proof(choice, 2 * n) > self._left
            if spent or choice.regret <= self._enough:
                self._prove()
                if self._choose()[0].one_minus_beta == choice.one_minus_beta or self._over():
                    return self._choose()[0]
            else:
                self._more(contenders, 2 * n)
            self._refine(_SPACING)

    def _assured(self, choice: Choice) -> Choice:
        """The choice, after many more runs of it where they are cheap: rare runs that are thrown far off are seen by many alone.

        Where they show that it does not hold the target, it and all with more momentum are given up, and another is chosen; its
        regret is unknown where none is left.
        """
        for _ in range(_TRIES):
            which = self._chosen(choice)
            course = self.courses[which]
            n = min(_MANY, int(_SPARE * self._left / (self.runs.seconds_per_run_step * course.end)))
            if n < 2 * course.n_runs:
                return choice
            note(f"trials at lr {self.runs.lr:.3g}: {n} runs of the recommended momentum")
            self.runs.more([which], n)
            self.runs.advance({which: course.end})
            if course.safe and self._proven(choice):
                return replace(choice, time=course.time(), time_se=course.time_se(self.seed))
            self.floor = course.one_minus_beta
            self._race(self._open(), choice.time)
            if not self._level():
                break
            self._refine(_SPACING)
            self._prove()
            choice = self._settle()
        return self._unassured(choice)

    def _open(self) -> list[int]:
        """The courses of less momentum than those that have been seen not to hold the target."""
        return [i for i, course in enumerate(self.courses) if course.one_minus_beta > self.floor]

    @property
    def _enough(self) -> float:
        """Bound on the regret at which no more runs are made now: the goal, and more where the search has taken long.

        What is carried to a smaller learning rate is measured as well as the time allows.
        """
        if self.exact:
            return self.goal
        spent = (monotonic() - self.began) / max(self.deadline - self.began, 1e-3)
        return max(self.goal, min(self.goal + _YIELD * max(0.0, spent - _PATIENT), _LOOSEST))

    @property
    def _left(self) -> float:
        """Seconds to the deadline."""
        return self.deadline - monotonic()

    def _more(self, which: Sequence[int], n_runs: int) -> None:
        """Bring courses to this number of runs."""
        if not which:
            return
        note(f"trials at lr {self.runs.lr:.3g}: {len(which)} momenta, {n_runs} runs each")
        self.runs.more(which, n_runs)
        self.runs.advance({i: self.courses[i].end for i in which})
        self._race(which, self._best())

    def _contenders(self) -> list[int]:
        """Courses that may be the fastest, or nearly so."""
        best = self._best()
        return [i for i in self._open() if self.courses[i].time(_SURE) <= CONTENDER * best]

    def _stale(self, n_runs: int) -> list[int]:
        """Contenders with fewer runs than this."""
        return [i for i in self._contenders() if self.courses[i].n_runs < n_runs]

    def _cost(self, which: Sequence[int], n_runs: int) -> float:
        """Seconds that bringing courses to this number of runs would take."""
        steps = sum((n_runs - self.courses[i].n_runs) * self.courses[i].end for i in which)
        return float(steps * self.runs.seconds_per_run_step)

    def _cost_of_proof(self, choice: Choice, n_runs: int) -> float:
        """Seconds to see that so many runs of the chosen momentum hold the target until fluctuations are stationary."""
        course = self.courses[self._chosen(choice)]
        return n_runs * max(0.0, course.horizon(choice.time) - course.end) * self.runs.seconds_per_run_step

    # -- the choice --------------------------------------------------------------------------------------

    def _chosen(self, choice: Choice) -> int:
        """The number of the chosen course."""
        return next(i for i, course in enumerate(self.courses) if course.one_minus_beta == choice.one_minus_beta)

    def _proven(self, choice: Choice) -> bool:
        """Whether the chosen momentum has been followed until fluctuations are stationary."""
        course = self.courses[self._chosen(choice)]
        return course.end >= min(course.horizon(choice.time), self.longest)

    def _prove(self) -> None:
        """Follow the momentum that would be recommended until fluctuations are stationary; all race again if it comes back."""
        while not self._proven(choice := self._choose()[0]) and not self._over():
            which = self._chosen(choice)
            course = self.courses[which]
            self.runs.advance({which: min(course.horizon(choice.time), self.longest, _STAGE * course.end)})
            if not course.held(self.longest):
                if course.last_above(_LIKELY) > LATE * choice.time:  # so will those with more momentum
                    self.floor = max(self.floor, course.one_minus_beta)
                self._race(self._open(), choice.time)

    def _choose(self) -> tuple[Choice, list[int]]:
        """The recommendation from what is known now, and the courses that may be the fastest."""
        choice, contenders = choose(self._near(), self.courses, self.seed, exact=self.exact)
        return choice, [self.courses.index(course) for course in contenders]

    def _near(self) -> list[Course]:
        """Courses of as many runs as the fastest that have shown whether they hold the target, and are not much slower."""
        fastest = self.courses[self._fastest()]
        open_ = [self.courses[i] for i in self._open()]
        alike = [course for course in open_ if course.n_runs == fastest.n_runs and course.held(self.longest)]
        return [course for course in alike if course.time(_SURE) <= _SLOWER * fastest.time()]
