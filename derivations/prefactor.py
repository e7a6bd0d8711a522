"""The 1 - beta that makes training fastest, with its prefactor: critical damping of the motion along Gamma.

Along Gamma the mean follows theta'' + delta theta' + k(delta) theta = 0 (time in steps) with
k(delta) = eta h + eta^2 c mu / (4 delta). Its slowest rate is delta / 2 while delta^2 < 4 k, which grows with
delta, and 2 k / (delta + sqrt(delta^2 - 4 k)) beyond, which falls: it is largest where delta^2 = 4 k(delta).
"""

from __future__ import annotations

import sympy as sp

from .formula import Derivation, Formula, Step
from .sections import Equation, Section
from .symbols import (
    curvature,
    damping_ratio,
    explicit_curvature,
    exponent,
    lr,
    noise,
    one_minus_beta,
    reference_lr,
    reference_one_minus_beta,
    target,
)

delta, zeta = one_minus_beta, damping_ratio

# --- Stiffness along Gamma, critical damping, the target -------------------------------------------
stiffness = lr * explicit_curvature + lr**2 * noise * curvature / (4 * delta)
label_noise_rule = sp.cbrt(noise * curvature * zeta**2) * lr ** sp.Rational(2, 3)

# theta(0) = 1, theta'(0) = 0: the first overshoot, at half a period, is exp(-pi zeta / sqrt(1 - zeta^2)).
_overshoot = sp.exp(-sp.pi * zeta / sp.sqrt(1 - zeta**2))
ratio_of_target = -sp.log(target) / sp.sqrt(sp.pi**2 + sp.log(target) ** 2)

_time, _omega = sp.symbols("time omega", positive=True)
_decay, _frequency = zeta * _omega, _omega * sp.sqrt(1 - zeta**2)
_swing = sp.exp(-_decay * _time) * (sp.cos(_frequency * _time) + _decay / _frequency * sp.sin(_frequency * _time))

# --- Label noise and an explicit force: the cubic delta^3 = p delta + q ----------------------------
# delta = 2 zeta sqrt(k) gives delta^3 = 4 zeta^2 eta h delta + zeta^2 eta^2 c mu, with one positive root.
linear = 4 * zeta**2 * lr * explicit_curvature
constant = zeta**2 * lr**2 * noise * curvature
# By Cardano where r = (q/2) / (p/3)^(3/2) >= 1, by Viete below; all terms are positive: nothing cancels.
_p, _q = sp.symbols("p q", nonnegative=True)
_r, _u, _t = sp.symbols("r u t", positive=True)
_ratio = (_q / 2) / (_p / 3) ** sp.Rational(3, 2)
_cube_root = sp.cbrt(_q / 2 * (1 + sp.sqrt(1 - 1 / _r**2)))
_cardano = _u + _p / (3 * _u)
_viete = 2 * sp.sqrt(_p / 3) * sp.cos(sp.acos(_r) / 3)
WHERE_CRITICAL = ((_p, linear), (_q, constant), (_r, _ratio), (_u, _cube_root))
critical = sp.Piecewise((sp.Integer(0), _p + _q <= 0), (_cardano, _r >= 1), (_viete, True))

_cardano_full = _cardano.subs(_u, _cube_root).subs(_r, _ratio)
_viete_full = _viete.subs(_r, _ratio)


def _cubic(root: sp.Expr) -> sp.Expr:
    return root**3 - _p * root - _q


# The inverse: q is quadratic in eta; the positive root with the square root in the denominator.
_h = zeta**2 * explicit_curvature
inverse = delta**2 / (2 * _h + sp.sqrt(4 * _h**2 + zeta**2 * noise * curvature * delta))

power_law = reference_one_minus_beta * (lr / reference_lr) ** exponent
power_law_inverse = reference_lr * (one_minus_beta / reference_one_minus_beta) ** (1 / exponent)

_GEOMETRY = (noise, curvature, explicit_curvature, damping_ratio)
DERIVATION = Derivation(
    title="The prefactor",
    sections=(
        Section.EFFECTIVE_LOSS,
        Section.FORCES,
        Section.WAYS_TO_PREDICT,
    ),
    assumptions=(
        "k is small, so that the discrete update follows the differential equation (relative order sqrt(k))",
        "the normal modes are equilibrated and their energies average out",
    ),
    steps=(
        Step(
            "theta(t) solves theta'' + 2 zeta omega theta' + omega^2 theta = 0",
            sp.diff(_swing, _time, 2) + 2 * _decay * sp.diff(_swing, _time) + _omega**2 * _swing,
        ),
        Step(
            "half a period later it is at minus the overshoot",
            _swing.subs(_time, sp.pi / _frequency),
            -_overshoot,
        ),
        Step("there its velocity vanishes", sp.diff(_swing, _time).subs(_time, sp.pi / _frequency)),
        Step("zeta(x) overshoots by just x", _overshoot.subs(zeta, ratio_of_target), target),
        Step("x -> 0 is critical damping", sp.Limit(ratio_of_target, target, 0), sp.Integer(1)),
        Step(
            "delta = 2 zeta sqrt(k) is the cubic",
            (delta**2 - 4 * zeta**2 * stiffness) * delta,
            delta**3 - linear * delta - constant,
        ),
        Step("label noise alone: (c mu zeta^2)^(1/3) eta^(2/3)", label_noise_rule**3, constant),
        Step(
            "Cardano solves the cubic",
            _cubic(_cardano_full),
            sp.Integer(0),
            {_p: sp.cbrt(27 * _q**2 / 4) * _t},
        ),
        Step("Viete solves the cubic", _cubic(_viete_full), sp.Integer(0), {_q: sp.sqrt(4 * _p**3 / 27) * _t}),
        Step("without an explicit force it gives the closed form", _cardano_full.subs(_p, 0), sp.cbrt(_q)),
        Step("without noise it gives sqrt(p)", _viete_full.subs(_q, 0), sp.sqrt(_p)),
        Step("the inverse solves the cubic", (delta**3 - linear * delta - constant).subs(lr, inverse)),
        Step("the power law's inverse", power_law.subs(lr, power_law_inverse), delta),
    ),
    formulas=(
        Formula(
            "longitudinal_stiffness",
            (lr, one_minus_beta, noise, curvature, explicit_curvature),
            stiffness,
            "k(delta) = eta h + eta^2 c mu / (4 delta)",
            "Stiffness along Gamma in theta'' + delta theta' + k theta = 0, per step squared.",
            Equation(Section.FORCES, 1),
        ),
        Formula(
            "damping_ratio",
            (target,),
            ratio_of_target,
            "zeta(x) = |ln x| / sqrt(pi^2 + ln^2 x)",
            "The damping ratio whose overshoot is just the target fraction x.",
            Equation(Section.EFFECTIVE_LOSS, 6),
        ),
        Formula(
            "label_noise_one_minus_beta",
            (lr, noise, curvature, damping_ratio),
            label_noise_rule,
            "1 - beta* = (c mu zeta^2)^(1/3) eta^(2/3)",
            "The best 1 - beta under label noise alone.",
            Equation(Section.EFFECTIVE_LOSS, 5),
        ),
        Formula(
            "critical_one_minus_beta",
            (lr, *_GEOMETRY),
            critical,
            "delta^2 = 4 zeta^2 k(delta), that is delta^3 = 4 zeta^2 eta h delta + zeta^2 eta^2 c mu",
            "The best 1 - beta under label noise and an explicit force; 0 when both vanish.",
            Equation(Section.FORCES, 2),
            WHERE_CRITICAL,
        ),
        Formula(
            "critical_lr",
            (one_minus_beta, *_GEOMETRY),
            inverse,
            "eta = delta^2 / (2 zeta^2 h + sqrt(4 zeta^4 h^2 + zeta^2 c mu delta))",
            "The lr at which `critical_one_minus_beta` is the given one.",
            Equation(Section.FORCES, 3),
        ),
        Formula(
            "power_law_one_minus_beta",
            (lr, reference_lr, reference_one_minus_beta, exponent),
            power_law,
            "1 - beta = (1 - beta0) (eta / eta0)^gamma",
            "The 1 - beta transferred from a tuned pair; gamma = 2/3 in theory.",
            Equation(Section.WAYS_TO_PREDICT, 1),
        ),
        Formula(
            "power_law_lr",
            (one_minus_beta, reference_lr, reference_one_minus_beta, exponent),
            power_law_inverse,
            "eta = eta0 ((1 - beta) / (1 - beta0))^(1 / gamma)",
            "The lr at which `power_law_one_minus_beta` is the given one.",
            Equation(Section.WAYS_TO_PREDICT, 2),
        ),
    ),
    symbols={
        _time: "steps",
        _omega: "= sqrt(k), frequency of the motion along Gamma, per step",
        "theta": "displacement along Gamma over its start",
        "t": "time in steps; in the solved cubics a number in (0, 1)",
        "'": "derivative by time",
        _p: "= 4 zeta^2 eta h, the cubic's linear coefficient",
        _q: "= zeta^2 eta^2 c mu, the cubic's constant",
        "k": "k(delta) = eta h + eta^2 c mu / (4 delta), stiffness along Gamma, per step squared",
    },
)
