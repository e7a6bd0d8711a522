"""The best momentum for a learning rate by every way that applies, with uncertainty, checks and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import check_lr, check_one, check_positive
from ..core.threads import one_blas_thread
from ..problems.interpolation import descend_to_manifold
from ..problems.metrics import Metric
from ..problems.problem import Array, Problem, as_problem
from .checks import assumptions, verdict
from .curve.universal_curve import UniversalCurve
from .drift_path import DriftPath
from .first_phase import first_phase
from .prediction import Prediction
from .target import Target
from .ways.base import Extras, Question
from .ways.registry import chosen

_ON_MANIFOLD = 1e-6
"""|f(w) - y| / (1 + |y|) up to which a start counts as a point of Gamma."""


@one_blas_thread()
def predict(  # many keywords, so that the one call that most users need has no settings object
    problem: Problem,
    lr: float,
    *,
    noise: float,
    start: ArrayLike | None = None,
    target: Target | tuple[str | Metric, float] | None = None,
    methods: Sequence[str] | None = None,
    reference: tuple[float, float] | None = None,
    curve: UniversalCurve | None = None,
    store: str | Path | None = None,
    nesterov: bool = False,
    workers: int = -1,
    progress: bool | None = None,
) -> Prediction:
    """The best momentum for `lr`, by every way that applies [theory: Ways to predict].

    Args:
        problem: the training problem
        lr: eta > 0
        noise: c = sigma^2 / B > 0, in units of the loss
        start: initial parameters, (N,); from a start off Gamma the descent to it is counted (None: `interpolating_start()`)
        target: (metric, fraction) (None: the test error at a tenth of its start, or, for a problem without one, tr H after nine
            tenths of its fall)
        methods: names of ways, the keys of `WAYS` (None: those that apply, but the moment closure for small problems only, and
            not the slow critical limit at finite lr, which pays where eigenvectors turn along Gamma or eigenvalues get small)
        reference: a tuned (lr, momentum), for "transfer"
        curve: an existing universal curve of the same problem, start and target, for "critical limit"
        store: folder that keeps universal curves between calls
        nesterov: Nesterov momentum in place of heavy ball; the critical limit does not describe it
        workers: threads, -1 for all cores; the numbers do not depend on it
        progress: a bar with the time left; None: if standard error is a terminal and it takes over two seconds

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
    extras = Extras(reference, curve, store, bool(nesterov), workers, progress)
    ways = chosen(methods, problem, extras)
    begin = problem.interpolating_start() if start is None else problem.check_point(start)
    landing, off = _landing(problem, begin)
    if target is None:
        path = DriftPath.to_default_target(problem, landing)
        goal = Target(path.metric, path.fraction)
    else:
        goal = Target.of(target)
        path = DriftPath(problem, landing, problem.metric_name(goal.metric, "target"), goal.fraction)
    descent = first_phase(problem, begin, rate, nesterov=nesterov) if off else None
    question = Question(path, rate, c, descent, extras)
    answers = {way.name: way.answer(question) for way in ways}
    method = ways[-1].name
    checks = assumptions(question, answers[method])
    return Prediction(rate, c, goal, answers, method, checks, verdict(answers, method, checks))


def _landing(problem: Problem, start: Array) -> tuple[Array, bool]:
    """The point of Gamma where training arrives, (N,), and whether the start is off Gamma."""
    gap = float(np.linalg.norm(problem.residual(start)))
    if gap <= _ON_MANIFOLD * (1 + float(np.linalg.norm(problem.targets))):
        return start, False
    return descend_to_manifold(problem, start), True
