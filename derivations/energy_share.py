"""How full of noise a normal mode is while w moves: the share of its stationary variance that is there.

Noise fills a mode at twice its amplitude's relaxation rate. An underdamped mode whose eigenvalue changes slowly keeps
its action sqrt(lambda) E x^2 (adiabatic invariance), whereas its stationary variance s does not depend on lambda
for small eta lambda. The share b = E x^2 / s therefore obeys

    db/dk = r (1 - b) - (rho / 2) b,   r = 2 / tau_perp,   rho = d ln lambda / dk.

At rest this is b(k) = 1 - exp(-delta k). While w slides to flatter points rho < 0: the modes are fuller than at rest
and push harder, so that training is faster than with the plain build-up (the critical limit's energies, averaged).
"""

from __future__ import annotations

import sympy as sp
from sympy.codegen.cfunctions import expm1

from .formula import Derivation, Formula, Step
from .sections import Equation, Section
from .symbols import eigenvalue, eigenvalue_growth, energy_share, lr, n_steps, relaxation_time

_b, _rho, _k = energy_share, eigenvalue_growth, n_steps
rate = 2 / relaxation_time

# --- Adiabatic invariance --------------------------------------------------------------------------------
# x'' + omega^2 x = 0 with omega, omega', omega'' as independent symbols: x = omega^(-1/2) exp(i int omega) has the
# logarithmic derivative u, and x''/x = u' + u^2.
_omega, _omega1, _omega2 = sp.symbols("omega omega1 omega2", positive=True)
_u = sp.I * _omega - _omega1 / (2 * _omega)
_second = sp.diff(_u, _omega) * _omega1 + sp.diff(_u, _omega1) * _omega2 + _u**2
_missed = sp.Rational(3, 4) * (_omega1 / _omega) ** 2 - _omega2 / (2 * _omega)
# d ln |x|^2 / dk = 2 Re u, with omega = sqrt(eta lambda)
_frequency = sp.sqrt(lr * eigenvalue)
_moving = {_omega1: sp.diff(_frequency, eigenvalue) * _rho * eigenvalue, _omega: _frequency}
_transport = (2 * (_u - sp.I * _omega)).subs(_moving)

# --- The share after k steps at constant r and rho -------------------------------------------------------
_total = rate + _rho / 2
share = _b * sp.exp(-_total * _k) - rate * expm1(-_total * _k) / _total
_plain = share.rewrite(sp.exp)

DERIVATION = Derivation(
    title="Energy of the normal modes while w moves",
    sections=(
        Section.EFFECTIVE_LOSS,
        Section.CRITICAL_LIMIT,
    ),
    assumptions=(
        "eigenvalues change slowly: by little in a period of their mode",
        "the mode is underdamped (an overdamped one follows at once: rho = 0)",
    ),
    steps=(
        Step("x = omega^(-1/2) exp(i int omega) misses x'' + omega^2 x = 0 by second order only", _second + _omega**2, _missed),
        Step("so E x^2 changes by -rho / 2 per step and unit", _transport, -_rho / 2),
        Step("the share solves db/dk = r (1 - b) - (rho / 2) b", sp.diff(_plain, _k), rate * (1 - _plain) - _rho / 2 * _plain),
        Step("it starts from b", _plain.subs(_k, 0), _b),
        Step(
            "at rest and from an empty mode: b(k) = 1 - exp(-2 k / tau), which is 1 - beta^k if underdamped",
            _plain.subs({_rho: 0, _b: 0}),
            1 - sp.exp(-2 * _k / relaxation_time),
        ),
    ),
    formulas=(
        Formula(
            "energy_share_after",
            (energy_share, relaxation_time, eigenvalue_growth, n_steps),
            sp.Piecewise((_b + rate * _k, sp.Eq(_total, 0)), (share, True)),
            "db/dk = r (1 - b) - (rho / 2) b, r = 2 / tau_perp, rho = d ln lambda / dk",
            "Share of a mode's stationary variance after n_steps at constant r and rho.",
            Equation(Section.EFFECTIVE_LOSS, 2),
        ),
    ),
    symbols={
        "x": "displacement of the mode",
        "'": "derivative by k",
        _omega1: "omega', its rate of change",
        _omega2: "omega'', the rate of change of that",
        "r": "= 2 / tau_perp, rate at which noise fills the mode, per step",
        "tau": "tau_perp",
    },
)
