"""Checks of the theory's assumptions for one prediction, and whether the ways to predict agree [theory: Ways to predict]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..geometry.manifold_point import ManifoldPoint
from ..theory import formulas
from .ways.base import Answer, Question

_AGREE = 1.5
"""Ways agree if their 1 - beta differ by at most this factor: the time changes by some 10 % over a factor of 2."""

_BEND = 0.25
"""Largest change of an eigenvalue, relative to it, by one standard deviation of the fluctuations across Gamma."""
_SOFTEST = 32
"""Number of modes, those of the smallest eigenvalues, for which that change is computed."""
_FILLED = 0.5
"""Least time to the target in units of 1 / (1 - beta), in which the energies of the modes fill."""


@dataclass(frozen=True)
class Check:
    """The check of one assumption of the theory.

    Attributes:
        name: the assumption
        holds: whether it holds
        found: the numbers that decided, in words

    >>> print(Check("the start interpolates", True, "|f - y| = 1e-12").found)
    |f - y| = 1e-12
    """

    name: str
    holds: bool
    found: str


def assumptions(question: Question, answer: Answer) -> tuple[Check, ...]:
    """The checks at the momentum of `answer`."""
    path, problem, flattest = question.path, question.problem, question.path.flattest
    lr, delta, noise = question.lr, answer.one_minus_beta, question.noise
    top = float(np.linalg.eigvalsh(problem.jacobian(path.start) @ problem.jacobian(path.start).T)[-1]) / problem.n_outputs
    limit = float(formulas.heavy_ball_stability_limit(delta)) / top
    slow = path.overdamped_share(lr, delta)
    kappa = float(formulas.critical_kappa(lr, delta, noise))
    coupling = flattest.coupling(path.arrival) / max(flattest.curvature(path.arrival), np.finfo(float).tiny)
    vanishing = problem.n_outputs - flattest.rank
    bend = max(_bend(point, lr, delta, noise) for point in (ManifoldPoint(problem, path.start), path.arrived))
    drift = float(path.expected_time(lr, delta, noise))  # rough, and too long for a target that is met at once
    spent = delta * (drift if answer.time is None else min(drift, answer.time))
    rank = f"{vanishing} of {problem.n_outputs} modes vanish" if vanishing else "J has full rank"
    begins = "the start is on Gamma" if question.first_phase is None else "the start is off Gamma; the descent to it is counted"
    found = [
        Check("interpolating", True, begins),
        Check("normal modes stable", lr < 0.9 * limit, f"lr is {lr / limit:.2g} of the limit at the start"),
        Check("normal modes underdamped", slow < 0.1, f"{100 * slow:.2g} % of the force comes from overdamped modes"),
        Check("J of full rank", not vanishing, f"{rank} at the flattest point"),
        Check("the drift comes to rest", path.flow.at_rest, "it does" if path.flow.at_rest else "tr H still falls slowly"),
        Check("clear of singular points", bend < _BEND, f"fluctuations change an eigenvalue by up to {100 * bend:.2g} %"),
        Check("the modes fill before the target", spent >= _FILLED, f"it takes {spent:.2g} / (1 - beta) steps"),
        Check(
            "small coupling",
            coupling < 1,
            f"g / m = {coupling:.2g}; closed form and effective loss assume below 1",
        ),
    ]
    if question.closed_form.state is not None:
        bound = question.closed_form.state.edge_kappa
        found.append(Check("inside the stability edge", kappa < bound, f"kappa = {kappa:.3g}, edge {bound:.3g}"))
    elif answer.cliff is not None:
        found.append(Check("clear of the cliff", delta > answer.cliff, f"1 - beta = {delta:.3g}, cliff {answer.cliff:.3g}"))
    return tuple(found)


def _bend(point: ManifoldPoint, lr: float, one_minus_beta: float, noise: float) -> float:
    """The largest sqrt(s_j) |grad lambda_j| / lambda_j of the softest modes, s_j the stationary variance: near a point where
    lambda_j vanishes, twice the fluctuations over the distance from there [theory: Relaxation, eq. 2.10]."""
    softest = np.arange(point.rank)[-_SOFTEST:]
    eigenvalues = point.eigenvalues[softest]
    slopes = np.linalg.norm(point.slopes_of(softest), axis=1)
    variance = formulas.heavy_ball_stationary_variance(lr, eigenvalues, one_minus_beta, noise)
    return float((np.sqrt(variance) * slopes / eigenvalues).max())


def verdict(answers: Mapping[str, Answer], method: str, checks: Sequence[Check]) -> str:
    """Whether the answers agree with that of `method`, and which assumptions are broken, in one line."""
    values = np.array([answer.one_minus_beta for answer in answers.values()])
    broken = ", ".join(check.name for check in checks if not check.holds)
    if len(values) == 1:
        return "one way only: nothing to compare with" + (f"; broken: {broken}" if broken else "")
    spread = float(values.max() / values.min())
    if spread <= _AGREE:
        return f"the ways agree: 1 - beta within a factor of {spread:.2f}" + (f"; broken: {broken}" if broken else "")
    furthest = max(answers, key=lambda name: abs(np.log(answers[name].one_minus_beta / answers[method].one_minus_beta)))
    why = f"broken: {broken}" if broken else "no assumption that was checked is broken"
    return f"the ways differ by a factor of {spread:.2f}, {furthest} most from {method}: {why}"
