"""The exponent gamma in 1 - beta ~ eta^gamma at which training is fastest: where the two timescales meet.

Training waits for the slower of the two timescales. With delta = C eta^gamma the transverse one is delta / a, so
eta^(gamma - 1), while modes are overdamped (gamma < 1/2) and 2 / delta, so eta^(-gamma), when they are underdamped
(gamma > 1/2): it is shortest at gamma = 1/2. A stiffness k ~ eta^i delta^-j along Gamma makes the longitudinal
one delta / k, so eta^((1 + j) gamma - i), which shrinks as gamma grows. Where they are equal and gamma > 1/2, training is
fastest; where they are equal only below 1/2, more momentum still helps, up to gamma = 1/2.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from .drift import longitudinal_time
from .formula import Derivation, Formula, Step
from .prefactor import stiffness
from .sections import Equation, Section
from .symbols import curvature, eigenvalue, explicit_curvature, lr, noise, noise_power, one_minus_beta

delta = one_minus_beta
_gamma = sp.Symbol("gamma", real=True)
_constant, _variance = sp.symbols("constant variance", positive=True)
HALF = sp.Rational(1, 2)

# --- Forces along Gamma, each by its stiffness k(eta, delta) ------------------------------------------
LABEL_NOISE = stiffness.subs(explicit_curvature, 0)
EXPLICIT_FORCE = stiffness.subs(noise, 0)
# A gradient taken at w + s xi sees L + (s^2 / 2) tr H, whose curvature along Gamma is h = s^2 mu / 2.
PARAMETER_NOISE = EXPLICIT_FORCE.subs(explicit_curvature, _variance * curvature / 2)


def scaled_label_noise(power: sp.Expr) -> sp.Expr:
    """Label noise whose strength c scales as eta^power."""
    return LABEL_NOISE.subs(noise, noise * lr**power)


# --- Powers of eta ------------------------------------------------------------------------------------
def power_of_lr(time: sp.Expr) -> sp.Expr:
    """The power of eta in a product of powers of eta and delta, at delta = constant eta^gamma: linear in gamma."""
    at_rule = sp.log(time.subs(delta, _constant * lr**_gamma))
    return sp.expand(sp.simplify(sp.diff(sp.expand_log(at_rule, force=True), lr) * lr))


OVERDAMPED = power_of_lr(delta / (lr * eigenvalue))
UNDERDAMPED = power_of_lr(2 / delta)


def longitudinal_power(force: sp.Expr) -> sp.Expr:
    """Of tau_par = delta / k."""
    return power_of_lr(delta / force)


@dataclass(frozen=True)
class Crossing:
    """`gamma` is where training is fastest; there it takes eta^`time_power`.

    `equal` lists the gammas at which the timescales scale alike, as points, or as the branch's interval where
    they do so throughout.
    """

    gamma: sp.Rational
    time_power: sp.Rational
    equal: tuple[sp.Set, ...]


_BRANCHES = ((sp.Interval(0, HALF), OVERDAMPED), (sp.Interval(HALF, sp.oo), UNDERDAMPED))


def crossing(*forces: sp.Expr) -> Crossing:
    """The critical gamma under forces along Gamma of the given stiffnesses, products of powers of `lr` and `one_minus_beta`.

    Of several forces the stiffest counts. gamma >= 0, for 1 - beta may not exceed 1. Of equally good ones the smallest.

    >>> crossing(LABEL_NOISE).gamma, crossing(EXPLICIT_FORCE).gamma, crossing(LABEL_NOISE, EXPLICIT_FORCE).gamma
    (2/3, 1/2, 1/2)
    """
    powers = [longitudinal_power(force) for force in forces]
    if not powers or any(power.diff(_gamma).is_positive is not True for power in powers):
        raise ValueError(
            f"tau_par must fall with gamma, as for one or more forces k ~ eta^p delta^-m with m > -1; given {forces}"
        )
    equal: list[sp.Set] = []
    for branch, transverse in _BRANCHES:
        for power in powers:
            where = sp.solveset(transverse - power, _gamma, domain=branch)
            if where is not sp.S.EmptySet and where not in equal:
                equal.append(where)
    # The exponents are piecewise linear in gamma, so the best one is where two pieces meet.
    meeting = {point for pieces in equal if isinstance(pieces, sp.FiniteSet) for point in pieces}
    candidates = sorted({sp.Integer(0), HALF} | meeting)
    best = max(candidates, key=lambda gamma: (_slower(gamma, powers), -gamma))
    return Crossing(best, _slower(best, powers), tuple(equal))


def _slower(gamma: sp.Expr, powers: list[sp.Expr]) -> sp.Expr:
    """The power of eta of the slower timescale: the smaller power, as eta < 1."""
    transverse = OVERDAMPED if gamma <= HALF else UNDERDAMPED
    return sp.Min(transverse.subs(_gamma, gamma), sp.Max(*(power.subs(_gamma, gamma) for power in powers)))


_scaled_power = longitudinal_power(scaled_label_noise(noise_power))
_above, _below = (sp.solve(branch - _scaled_power, _gamma)[0] for branch in (UNDERDAMPED, OVERDAMPED))
critical_exponent = sp.Max(HALF, (2 + noise_power) / 3)

DERIVATION = Derivation(
    title="Where the timescales meet",
    sections=(
        Section.CROSSING,
        Section.FORCES,
    ),
    assumptions=(
        "eta is small, and training lasts as long as the slower of the two timescales",
        "gamma < 1, so that a is far below delta and Nesterov's effective damping delta + a is delta",
    ),
    steps=(
        Step("gamma < 1/2: tau_perp ~ eta^(gamma - 1)", OVERDAMPED, _gamma - 1),
        Step("gamma > 1/2: tau_perp ~ eta^(-gamma)", UNDERDAMPED, -_gamma),
        Step("tau_par = delta / k is that of the drift", delta / LABEL_NOISE, longitudinal_time),
        Step("label noise: tau_par ~ eta^(2 gamma - 2)", longitudinal_power(LABEL_NOISE), 2 * _gamma - 2),
        Step("label noise: fastest at gamma = 2/3", crossing(LABEL_NOISE).gamma, sp.Rational(2, 3)),
        Step("label noise: training then takes eta^(-2/3)", crossing(LABEL_NOISE).time_power, -sp.Rational(2, 3)),
        Step("explicit force: tau_par ~ eta^(gamma - 1), as tau_perp below 1/2", longitudinal_power(EXPLICIT_FORCE), OVERDAMPED),
        Step("explicit force: fastest at gamma = 1/2", crossing(EXPLICIT_FORCE).gamma, HALF),
        Step("parameter noise: fastest at gamma = 1/2", crossing(PARAMETER_NOISE).gamma, HALF),
        Step("both forces: the explicit one is stiffer, gamma = 1/2", crossing(LABEL_NOISE, EXPLICIT_FORCE).gamma, HALF),
        Step("noise c ~ eta^p: equal above 1/2 at gamma = (2 + p) / 3", _above, (2 + noise_power) / 3),
        Step("noise c ~ eta^p: equal below 1/2 at gamma = 1 + p", _below, 1 + noise_power),
        Step("they meet at p = -1/2 and gamma = 1/2", (_above - _below).subs(noise_power, -HALF)),
        *(
            Step(
                f"noise c ~ eta^({p}): fastest at gamma = max(1/2, (2 + p) / 3)",
                crossing(scaled_label_noise(p)).gamma,
                critical_exponent.subs(noise_power, p),
            )
            for p in (-sp.Rational(3, 4), -HALF, -sp.Rational(1, 4), HALF)
        ),
    ),
    formulas=(
        Formula(
            "critical_exponent",
            (noise_power,),
            critical_exponent,
            "gamma = max(1/2, (2 + p) / 3)",
            "The gamma in 1 - beta ~ lr^gamma at which training is fastest, for noise of strength c ~ lr^p; p < 1.",
            Equation(Section.CROSSING, 4),
        ),
    ),
    symbols={
        "k": "stiffness of the force along Gamma, per step squared",
        _gamma: "exponent in delta = C eta^gamma",
    },
)
