"""Theory's own answer: one momentum from what the ways without trials say together, and what makes it doubtful
[theory: Ways to predict]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from time import monotonic

import numpy as np

from ..core.errors import InputError
from ..dynamics.critical_course import critical_course
from ..geometry.manifold_point import ManifoldPoint
from ..theory import formulas
from .checks import assumptions
from .price import price_of_speed
from .ways.base import Answer, Question, Way
from .ways.closed_form import ByClosedForm
from .ways.critical_limit import ByCriticalLimit
from .ways.effective_loss import ByEffectiveLoss
from .ways.finite_lr import ByFiniteLr
from .ways.registry import WAYS
from .ways.transfer import Transfer
from .ways.trial import ByTrial

SECONDS = 120.0
"""Seconds that the ways may take together by their estimates, where no budget is given."""

_FIRST = (Transfer.name, ByClosedForm.name, ByEffectiveLoss.name, ByFiniteLr.name)
"""Ways that are given time first, in this order; then the others."""
_BESIDE = 0.25
"""Share of the time that the effective loss may take before the critical limit at finite lr."""

_FITS = 0.5
"""Largest stationary fluctuation, as a share of what the target allows: the mean of the metric then comes to rest well below."""
_RUNS = 8
"""Runs of the price of speed in a valley, 256 lanes each."""
_LESS, _LEAST_MOMENTUM = 1.1, 4.0
"""Factor by which 1 - beta grows until the fluctuations fit, and the largest in all."""
_APART = 1.5
"""Ways agree if their 1 - beta differ by at most this factor."""
_WIDE = 1.5
"""Largest ratio of the ends of a way's range of 1 - beta."""
_ERROR = 0.05
"""Largest relative standard error of the predicted time."""
_FAST = 3.0
"""Least frequency of a mode, in units of 1 - beta, that the critical limit may average [theory: Finite learning rate]."""

UNCHECKED = (
    "the tuned pair alone, moved as lr^(2/3): no momentum was tried or computed for this problem; trials (methods=None) try some"
)
"""What makes a transfer alone doubtful."""


def answers_of_theory(question: Question, seconds: float | None = None) -> tuple[dict[str, Answer], dict[str, str]]:
    """The answers of the ways without trials, and why the others give none.

    Args:
        question: the inputs
        seconds: computing time that the ways may take together, by an estimate made before each (None: 120)

    Returns:
        Name -> answer, from the cheapest to the most faithful, and name -> reason in words.

    Raises:
        InputError: where no drift along Gamma leads to the target, so that no way can answer.
    """
    limit = SECONDS if seconds is None else seconds
    _ = question.path.flow
    found, silent = dict[str, Answer](), dict[str, str]()
    for name in (*_FIRST, *(name for name in WAYS if name not in _FIRST)):
        way = WAYS[name]
        if not (way.describes(question.extras) and way.in_theory(question.problem, question.extras)):
            continue
        why = _too_slow(way, question, _BESIDE * limit if name == ByEffectiveLoss.name else limit)
        if why is not None:
            silent[name] = why
            continue
        began = monotonic()
        try:
            found[name] = way.answer(question)
        except (InputError, np.linalg.LinAlgError) as error:
            silent[name] = str(error)
        limit -= monotonic() - began
    if not found:
        raise InputError("methods", "theory", f"trials: no theory applies here ({'; '.join(silent.values())})")
    return {name: found[name] for name in WAYS if name in found}, silent


def _too_slow(way: Way, question: Question, limit: float) -> str | None:
    """Why a way is not taken: its estimated time exceeds the limit, or cannot be estimated; None where it is taken."""
    try:
        cost = way.seconds(question)
    except (InputError, np.linalg.LinAlgError) as error:
        return str(error)
    return f"would take about {cost:.0f} s, more than the {max(limit, 0):.0f} s that it may" if cost > limit else None


def combine(question: Question, answers: Mapping[str, Answer]) -> tuple[Answer, str, tuple[str, ...]]:
    """The answer of theory, the name of the way that it comes from, and what makes it doubtful; none where it is safe.

    The critical limit at finite lr decides where it has been computed (in a valley the limit itself, which needs no correction
    there), else the largest 1 - beta among the ways. Where the stationary fluctuations at that momentum exceed half of what the
    target allows, 1 - beta is raised until they fit.

    Args:
        question: the inputs
        answers: by the names of the ways, at least one; those of a transfer or of trials do not count

    Raises:
        InputError: without an answer.
    """
    theory = _of_theory(answers)
    if not theory:
        raise InputError("answers", ", ".join(answers) or "none", "at least one of theory's ways, such as 'closed form'")
    faithful = ByFiniteLr.name if _corrected(question) else ByCriticalLimit.name
    decides = faithful if faithful in theory else max(theory, key=lambda name: theory[name].one_minus_beta)
    answer, misfit = _fitted(question, theory[decides])
    return answer, decides, (*misfit, *doubts_of(question, {**theory, decides: answer}, decides))


def doubts_of(question: Question, answers: Mapping[str, Answer], decides: str) -> tuple[str, ...]:
    """What makes the answer of the way `decides` doubtful, beside theory's others; none where it is safe or by trials."""
    if decides == Transfer.name:
        return (UNCHECKED,)
    theory = _of_theory(answers)
    if decides not in theory:
        return ()
    return *_doubts_of_agreement(question, theory, decides), *_doubts_of_answer(question, theory[decides], decides)


def _of_theory(answers: Mapping[str, Answer]) -> dict[str, Answer]:
    """The answers that theory gives: not those of a tuned pair or of trials."""
    return {name: answer for name, answer in answers.items() if name not in (Transfer.name, ByTrial.name)}


def stationary_share(question: Question, one_minus_beta: float) -> float:
    """Stationary fluctuation at a momentum over what the target allows [theory: Price of speed, eq. 9.9].

    For tr H it is the price along and across Gamma over the target's distance from the least tr H, for other metrics, taken as
    quadratic, the mean square displacement along Gamma over that at the target. inf beyond the stability edge; NaN where the
    linearised stationary state does not apply: J loses rank, tr H has no minimum, or Gamma has too many dimensions. In a valley
    the price is simulated, and stands for any metric.
    """
    path, lr, noise = question.path, question.lr, question.noise
    if not _corrected(question):
        workers, allowed = question.extras.workers, path.arrived.trace_hessian - path.flattest.trace_hessian
        price = price_of_speed(path.flattest, lr, one_minus_beta, noise, n_seeds=_RUNS, workers=workers, progress=False)
        return float(price["excess"].values[0]) / allowed
    state = question.closed_form.state
    if state is None:
        return float("nan")
    kappa = float(formulas.critical_kappa(lr, one_minus_beta, noise))
    if kappa >= state.edge_kappa:
        return float("inf")
    if path.metric == "trace_hessian":
        first, last = path.values[[0, -1]]
        along = state.excess(kappa)
        return max(along, state.price(lr, one_minus_beta, noise)) / float(path.fraction * first - last)
    displacement = state.directions.T @ (path.start - path.flattest.w)
    return state.displacement(kappa) / (path.amplitude**2 * float(displacement @ displacement))


def _fitted(question: Question, answer: Answer) -> tuple[Answer, tuple[str, ...]]:
    """The answer with less momentum until the stationary fluctuations fit the target, and a doubt where they do not."""
    given = answer.one_minus_beta
    value, share = given, stationary_share(question, given)
    if np.isnan(share):
        return answer, ("the fluctuations after arrival cannot be computed: J loses rank or tr H has no minimum there",)
    while share > _FITS and value < min(1.0, _LEAST_MOMENTUM * given):
        value = min(1.0, value * _LESS)
        share = stationary_share(question, value)
    if value == given:
        return answer, ()
    high = None if answer.high is None else max(answer.high, value)
    basis = f"{answer.basis}; less momentum than its {1 - given:.6g}, so that the fluctuations fit the target"
    changed = replace(answer, one_minus_beta=value, high=high, time=_time_at(question, answer, value), basis=basis)
    if share > _FITS:
        return changed, (f"the target may never be met: the fluctuations take {100 * share:.0f} % of what it allows",)
    return changed, ("the target lies close above the fluctuations, which set the momentum",)


def _time_at(question: Question, answer: Answer, one_minus_beta: float) -> float | None:
    """Steps at another momentum: between the times tried, or else in proportion to a rough time; None where none is known."""
    met = np.isfinite(answer.times)
    tried, times = answer.tried[met], answer.times[met]
    if len(tried) > 1 and tried[0] <= one_minus_beta <= tried[-1]:
        return float(np.exp(np.interp(np.log(one_minus_beta), np.log(tried), np.log(times))))
    if answer.time is None:
        return None
    rough = question.path.expected_time(question.lr, np.array([one_minus_beta, answer.one_minus_beta]), question.noise)
    return float(answer.time * rough[0] / rough[1])


def _doubts_of_agreement(question: Question, theory: Mapping[str, Answer], decides: str) -> Iterator[str]:
    """What the ways together leave open."""
    values = {name: answer.one_minus_beta for name, answer in theory.items()}
    if len(values) == 1:
        yield "one way only: nothing to compare with"
    for name, value in values.items():
        factor = max(value / values[decides], values[decides] / value)
        if factor > _APART:
            yield f"{name} differs from {decides} by a factor of {factor:.2f}"
    if decides in (ByClosedForm.name, ByEffectiveLoss.name):
        yield f"{decides} decides, which does not see where fluctuations throw training off"
    if ByFiniteLr.name not in theory and _corrected(question):
        yield "not computed at finite lr, where turning eigenvectors and soft modes count"


def _doubts_of_answer(question: Question, answer: Answer, decides: str) -> Iterator[str]:
    """What the answer itself leaves open."""
    delta = answer.one_minus_beta
    limits = decides in (ByCriticalLimit.name, ByFiniteLr.name)
    for check in assumptions(question, answer):
        contained = check.name == "small coupling" and limits  # the limits contain the coupling
        # in a valley the fluctuations have been simulated, beyond the edge of the linearised state too
        contained |= check.name == "inside the stability edge" and limits and not _corrected(question)
        if not check.holds and not contained:
            yield f"{check.name} does not hold: {check.found}"
    if answer.time is None or not np.isfinite(answer.time):
        yield "the time to the target is not known"
    elif answer.time_se > _ERROR * answer.time:
        yield f"the predicted time is known to {100 * answer.time_se / answer.time:.0f} % only"
    if answer.low and answer.high and answer.high > _WIDE * answer.low and limits:
        yield f"1 - beta is known from {answer.low:.3g} to {answer.high:.3g} only"
    frequency = _least_frequency(question) / delta
    if decides != ByFiniteLr.name and frequency < _FAST:
        yield f"a mode swings at {frequency:.2g} (1 - beta): the limits take it as faster"
    if answer.cliff is not None and delta < 1.05 * answer.cliff:
        yield f"1 - beta lies close to the cliff at {answer.cliff:.3g}"


def _corrected(question: Question) -> bool:
    """Whether the problem's critical limit has a correction at finite lr: none is needed in a valley."""
    return critical_course(question.problem).corrected_at_finite_lr


def _least_frequency(question: Question) -> float:
    """sqrt(eta lambda) of the softest mode at the start and at the target, per step [theory: Finite learning rate, eq. 8.5]."""
    start = ManifoldPoint(question.problem, question.path.start)
    softest = min(float(point.eigenvalues[-1]) for point in (start, question.path.arrived))
    return float(np.sqrt(question.lr * softest))
