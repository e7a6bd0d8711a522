"""T7: the slowest decay rate at the flattest point in the critical limit, evaluated.

The rates y = -r solve f(y) = y^3 - 2 y^2 + a_1 y - a_0 = 0 with a_0 = kappa m, a_1 = 1 + kappa (m - g / 2). Cardano or Viete
start, Newton's method with a compensated residual finishes: the slowest rate is nearly a difference of large terms both for
small kappa m, where a real y is small, and at the stability edge, where the real part z / 2 of a pair is, z = 2 - y.

Where two roots are closer than 1e-5 of their size, Newton's method does not converge and the start is kept: there a
relative change of 1e-16 in an argument moves the root by up to 1e-8, and the error is up to that.
"""

from __future__ import annotations

import sympy as sp

from .critical_limit import cubic
from .formula import Derivation, Formula, Step, compensated, coupling, curvature, kappa

_r, _y, _z, _w = sp.symbols("r y z w")
_a1, _P, _Q, _D, _u, _angle = sp.symbols("a_1 P Q D u angle", real=True)
_a0, _root_of_D, _scale = sp.symbols("a_0 root_of_D scale", nonnegative=True)
_ITERATIONS = 3

_of_y = sp.expand(-2 * cubic.subs(_r, -_y))
_of_z = sp.expand(-_of_y.subs(_y, 2 - _z))
_third = sp.Rational(1, 3)
_cardano = _u - _P / (3 * _u)
_viete = -2 * sp.sqrt(-_P / 3) * sp.cos((_angle - sp.pi) / 3)  # the smallest of three


def _refined(start: sp.Expr, polynomial: sp.Expr, name: sp.Symbol, label: str) -> tuple[tuple[sp.Symbol, sp.Expr], ...]:
    """Newton's method from `start`, kept where the roots are too close."""
    lines = [(sp.Symbol(f"{label}_0", real=True), start)]
    for i in range(_ITERATIONS):
        before = lines[-1][0]
        value, slope = (compensated(p.subs(name, before)) for p in (polynomial, sp.expand(sp.diff(polynomial, name))))
        kept = sp.Piecewise((before - value / slope, sp.Abs(_D) > _scale * sp.Rational(1, 10**10)), (before, True))
        lines.append((sp.Symbol(f"{label}_{i + 1}", real=True), kept))
    return tuple(lines)


_start = sp.Piecewise((_cardano, _D > 0), (_viete, _P < 0), (sp.Integer(0), True)) + sp.Rational(2, 3)
_by_y = _refined(_start, _of_y, _y, "y")
_by_z = _refined(2 - _by_y[-1][0], _of_z, _z, "z")
_slowest = sp.Piecewise((sp.Min(_by_y[-1][0], _by_z[-1][0] / 2), _D > 0), (_by_y[-1][0], True))

_depressed = sp.expand((_y**3 - 2 * _y**2 + _a1 * _y - _a0).subs(_y, _w + sp.Rational(2, 3)))
_DEFINE_P = (_P, _a1 - sp.Rational(4, 3))
_DEFINE_Q = (_Q, _a1 * 2 / 3 - sp.Rational(16, 27) - _a0)
_DEFINE_D = (_D, _Q**2 / 4 + _P**3 / 27)
_DEFINE_U = (_u, -sp.sign(_Q) * sp.cbrt(sp.Abs(_Q) / 2 + _root_of_D))
_DEFINE_ANGLE = (_angle, sp.acos(sp.Max(-1, sp.Min(1, 3 * _Q / (2 * _P) * sp.sqrt(-3 / _P)))))
_t, _v = sp.symbols("t v", positive=True)

DERIVATION = Derivation(
    title="The slowest rate in the critical limit",
    section="T7",
    assumptions=("kappa, m > 0; the rate is negative beyond the stability edge",),
    steps=(
        Step(
            "twice the cubic in y = -r",
            _of_y,
            2 * (_y**3 - 2 * _y**2 + (1 + kappa * curvature - kappa * coupling / 2) * _y - kappa * curvature),
        ),
        Step(
            "the three rates add up to 2: a pair shares z = 2 - y; its equation ends in 2 (2 + kappa (m - g))",
            _of_z.subs(_z, 0),
            -2 * (2 + kappa * (curvature - coupling)),
        ),
        Step("y = w + 2/3 removes the square: w^3 + P w + Q", _depressed, (_w**3 + _P * _w + _Q).subs([_DEFINE_Q, _DEFINE_P])),
        Step(
            "Cardano solves it where D > 0 (here Q < 0)",
            (_w**3 + _P * _w + _Q)
            .subs(_w, _cardano)
            .subs(*_DEFINE_U)
            .subs(_root_of_D, sp.sqrt(_DEFINE_D[1]))
            .subs({_Q: -_v, _P: _t}),
            sp.Integer(0),
        ),
        Step(
            "Viete solves it where D < 0",
            (_w**3 + _P * _w + _Q).subs(_w, _viete).subs(*_DEFINE_ANGLE).subs({_P: -3 * _v**2, _Q: 2 * _v**3 * (2 * _t - 1)}),
            sp.Integer(0),
        ),
    ),
    formulas=(
        Formula(
            "critical_decay_rate",
            (kappa, curvature, coupling),
            _slowest,
            "min -Re r, (r^2 + r + kappa m) (r + 1) - kappa g r / 2 = 0",
            "Slowest decay rate at the flattest point, per unit of s = delta k; negative beyond the stability edge.",
            "T7",
            (
                (_a1, compensated(sp.expand(2 + 2 * kappa * curvature - kappa * coupling)) / 2),
                (_a0, kappa * curvature),
                _DEFINE_P,
                _DEFINE_Q,
                _DEFINE_D,
                (_scale, _Q**2 / 4 + sp.Abs(_P) ** 3 / 27),
                (_root_of_D, sp.sqrt(_D)),
                _DEFINE_U,
                _DEFINE_ANGLE,
                *_by_y,
                *_by_z,
            ),
        ),
    ),
)
