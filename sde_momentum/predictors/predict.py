"""The best momentum for a learning rate: by trials, with theory beside them, or by theory alone; with checks and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..core.arguments import by_annotations
from ..core.errors import InputError, check_integer, check_lr, check_non_negative, check_one, check_positive
from ..core.threads import one_blas_thread
from ..problems.interpolation import descend_to_manifold
from ..problems.metrics import Metric
from ..problems.problem import Array, Problem, as_problem
from .checks import assumptions
from .curve.universal_curve import UniversalCurve
from .drift_path import DriftPath
from .prediction import Prediction
from .target import Target
from .theory_answer import answers_of_theory, combine, doubts_of
from .ways.base import Answer, Extras, Question, Way
from .ways.registry import THEORY, chosen
from .ways.trial import ByTrial

_ON_MANIFOLD = 1e-6
"""|f(w) - y| / (1 + |y|) up to which a start counts as a point of Gamma."""
_LARGEST_SEED = 2**32 - 1


@one_blas_thread()
@by_annotations
def predict(  # many keywords, so that the one call that most users need has no settings object
    problem: Problem,
    lr: float,
    *,
    noise: float,
    start: ArrayLike | None = None,
    target: Target | tuple[str | Metric, float] | None = None,
    methods: Sequence[str] | str | None = None,
    budget: float | None = None,
    smallest_trial_lr: float | None = None,
    seed: int | None = None,
    reference: tuple[float, float] | None = None,
    curve: UniversalCurve | None = None,
    store: str | Path | None = None,
    nesterov: bool = False,
    weight_decay: float | None = None,
    workers: int = -1,
    progress: bool | None = None,
) -> Prediction:
    """The best momentum for `lr`: by short runs of the training itself, with theory beside them [theory: Ways to predict].

    Args:
        problem: the training problem
        lr: eta > 0
        noise: c = sigma^2 / B > 0, in units of the loss
        start: initial parameters, (N,); from a start off Gamma the descent to it is counted (None: `interpolating_start()`)
        target: (metric, fraction) (None: the test error at a tenth of its start, or, for a problem without one, tr H after nine
            tenths of its fall)
        methods: names of ways, the keys of `WAYS` (None: "trial", with the closed form beside it, and what the other arguments
            ask for); "theory": those without trials
        budget: seconds that the trials may take (None: 20); a smaller one may carry the answer from larger learning rates.
            With methods="theory" those of its ways together, by estimates made before each (None: 120)
        smallest_trial_lr: no trial is made at a smaller learning rate (None: the trials choose)
        seed: of the trials' noise, a whole number (None: 0)
        reference: a tuned (lr, momentum), for "transfer"
        curve: an existing universal curve of the same problem, start and target, for "critical limit"
        store: folder that keeps universal curves between calls
        nesterov: Nesterov momentum in place of heavy ball; the critical limit does not describe it
        weight_decay: h >= 0, in units of the Hessian, as in `torch.optim.SGD` (None: 0); trials and the closed form describe it
        workers: threads, -1 for all cores; the trials' numbers do not depend on it, but their speed decides what fits the budget
        progress: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten

    Raises:
        InputError: for a value out of range, or a target that is not met.

    >>> import sde_momentum as sm
    >>> problem = sm.MatrixSensing(6, 1, 20)
    >>> answer = sm.predict(problem, 0.01, noise=5e-4, methods=["closed form"])
    >>> answer.method, bool(0.9 < answer.momentum < 1)
    ('closed form', True)
    """
    problem = as_problem(problem)
    rate, c = check_one(check_lr, lr, "lr"), check_one(check_positive, noise, "noise")
    for name, number in (("budget", budget), ("smallest_trial_lr", smallest_trial_lr)):
        if number is not None:
            check_one(check_positive, number, name)
    if weight_decay is not None:
        check_one(check_non_negative, weight_decay, "weight_decay")
    if seed is not None and check_integer(seed, "seed", 0) > _LARGEST_SEED:
        raise InputError("seed", seed, f"a whole number from 0 to {_LARGEST_SEED}")
    if not isinstance(nesterov, bool | np.bool_):
        raise InputError("nesterov", nesterov, "True or False")
    if reference is not None and np.shape(reference) != (2,):
        raise InputError("reference", reference, "a tuned pair (lr, momentum)")
    extras = Extras(
        reference, curve, store, bool(nesterov), workers, progress,
        budget=budget, smallest_trial_lr=smallest_trial_lr, seed=seed, weight_decay=weight_decay,
    )  # fmt: skip
    ways = chosen(methods, problem, extras)
    begin = problem.interpolating_start() if start is None else problem.check_point(start)
    landing = _landing(problem, begin)
    path = None
    if target is None:
        path = DriftPath.to_default_target(problem, landing)
        target = Target(path.metric, path.fraction)
    goal = Target.of(target)
    _check_metric(problem, goal, landing)
    question = Question(problem, begin, landing, goal, rate, c, extras)
    if path is not None:
        question.__dict__["path"] = path  # with its drift flow, which need not be computed again
    if isinstance(methods, str) and methods == THEORY:
        answers, silent = answers_of_theory(question, budget)
        answer, method, doubts = combine(question, answers)
        answers[method] = answer
    else:
        answers, silent = _answers(ways, question, forgive=methods is None)
        method = ways[-1].name
        doubts = doubts_of(question, answers, method)
    checks = assumptions(question, answers[method]) if question.theory is not None or method != ByTrial.name else ()
    return Prediction(rate, c, goal, answers, method, checks, silent, doubts)


def _answers(ways: Sequence[Way], question: Question, forgive: bool) -> tuple[dict[str, Answer], dict[str, str]]:
    """Answers by name, and why others gave none: that ends the prediction unless `forgive`, but for the last way."""
    answers, silent = dict[str, Answer](), dict[str, str]()
    for way in ways:
        try:
            answers[way.name] = way.answer(question)
        except InputError as error:
            nothing_drifts = error.argument == "problem" and question.target.metric == "trace_hessian"
            if not forgive or way is ways[-1] or nothing_drifts:
                raise
            silent[way.name] = str(error)
    return answers, silent


def _check_metric(problem: Problem, target: Target, start: Array) -> None:
    """InputError unless the target's metric is one number > 0 at the start."""
    metric, allowed = problem.find_metric(target.metric, "target"), "a metric that is one number > 0 there"
    try:
        value = np.asarray(problem.metric(metric, start), dtype=np.float64)
    except Exception as error:  # the user's own function
        raise InputError("target", f"{metric.name}, which raises {type(error).__name__}: {error}", allowed) from error
    if value.size != 1 or not (np.isfinite(value) & (value > 0)).all():
        raise InputError("target", f"{metric.name} = {value.tolist()} at the start", allowed)


def _landing(problem: Problem, start: Array) -> Array:
    """The point of Gamma where training arrives, (N,): `start` itself where that lies on Gamma."""
    gap = float(np.linalg.norm(problem.residual(start)))
    if gap <= _ON_MANIFOLD * (1 + float(np.linalg.norm(problem.targets))):
        return start
    return descend_to_manifold(problem, start)
